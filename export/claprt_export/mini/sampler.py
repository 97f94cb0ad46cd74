"""Batches: which sounds and which captions a training step sees, drawn from a store by a plan."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from claprt_export.mini.augment import FLOOR_DB, cropped, mixed, varied
from claprt_export.mini.dataset import Clip, Store
from claprt_export.mini.model import LENGTHS
from claprt_export.synthesis.captions import alike, caption
from claprt_export.synthesis.signals import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Steps at one length. `batch` is of one process."""

    bands: int
    steps: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that decides what a run gives."""

    seed: int = 0
    folds: tuple[str, ...] = ("1", "2", "3")
    """Folds of ESC-10 to train on."""
    everything: bool = False
    """Whether the recordings that are otherwise held out are trained on as well."""
    phases: tuple[Phase, ...] = (
        Phase(bands=1, steps=1000, batch=112),
        Phase(bands=2, steps=450, batch=56),
        Phase(bands=4, steps=800, batch=36),
    )
    muon_rate: float = 5e-3
    adam_rate: float = 2.5e-3
    weight_decay: float = 0.05
    warm_up: int = 60
    average: float = 0.998
    shares: tuple[float, float, float] = (0.36, 0.34, 0.30)
    """Of ESC-10, of named recordings, of synthesised sounds in a batch."""
    extra_captions: int = 96
    text_steps: int = 3500
    """Of the second training of the text tower, against fixed vectors of sounds."""

    @property
    def steps(self) -> int:
        """Of all phases."""
        return sum(phase.steps for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """The phase that a step belongs to."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]


def used(clip: Clip, plan: Plan) -> bool:
    """Whether a run trains on a clip."""
    if clip.source == "esc10":
        return clip.part in plan.folds
    if clip.source == "synthesised":
        return clip.part == "train"
    return clip.part == "train" or plan.everything


@dataclass(slots=True)
class Supply:
    """Batches drawn from a store."""

    store: Store
    plan: Plan
    concepts: list[str] = field(init=False)
    families: list[list[list[list[Clip]]]] = field(init=False)
    """By source, by concept, by recording: its speeds."""
    relation: Tensor = field(init=False)
    """[concepts, concepts]: 1 the same, -1 too alike to be told apart, 0 otherwise."""

    def __post_init__(self) -> None:
        clips = [clip for clip in self.store.clips if used(clip, self.plan)]
        self.concepts = sorted({clip.concept for clip in clips})
        self.families = []
        for sources in (("esc10",), ("berklee", "sonicpi"), ("synthesised",)):
            grouped: dict[str, dict[int, list[Clip]]] = {}
            for clip in clips:
                if clip.source in sources:
                    grouped.setdefault(clip.concept, {}).setdefault(clip.recording, []).append(clip)
            self.families.append([list(recordings.values()) for recordings in grouped.values()])
        count = len(self.concepts)
        self.relation = torch.zeros(count, count)
        for first, one in enumerate(self.concepts):
            for second, other in enumerate(self.concepts):
                self.relation[first, second] = 1.0 if first == second else -1.0 if alike(one, other) else 0.0

    def number(self, concept: str) -> int:
        """Row of `relation`."""
        return self.concepts.index(concept)

    def draw(self, random: Random) -> Clip:
        """One clip: the source by its share, the concept evenly (of named recordings rather by their number)."""
        shares = np.array([share if family else 0.0 for share, family in zip(self.plan.shares, self.families, strict=True)])
        family = self.families[int(random.choice(len(shares), p=shares / shares.sum()))]
        if family is self.families[1] and random.random() < 0.5:
            sizes = np.array([len(recordings) for recordings in family], float)
            recordings = family[int(random.choice(len(family), p=sizes / sizes.sum()))]
        else:
            recordings = family[int(random.integers(len(family)))]
        speeds = recordings[int(random.integers(len(recordings)))]
        return speeds[0] if random.random() < 0.4 else speeds[int(random.integers(len(speeds)))]

    def batch(self, random: Random, phase: Phase) -> tuple[Tensor, Tensor, list[str], Tensor]:
        """Log-mels [batch, frames, mels], their concepts as shares [batch, concepts], captions, concepts of captions."""
        frames, count = LENGTHS[phase.bands], phase.batch
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        clips = [self.draw(random) for _ in range(count)]
        images = torch.from_numpy(np.stack([cropped(random, self.store.of(clip), frames) for clip in clips])).float()
        other = torch.from_numpy(random.permutation(count))
        weight = torch.from_numpy(np.where(random.random(count) < 0.45, random.beta(0.6, 0.6, count), 1.0)).float()
        weight = torch.maximum(weight, 1 - weight)
        silent = images.amax((1, 2)) < FLOOR_DB + 5
        weight = torch.where(silent | silent[other], 1.0, weight)  # a mixture with silence is not a mixture
        numbers = torch.tensor([self.number(clip.concept) for clip in clips])
        shares = F.one_hot(numbers, len(self.concepts)) * weight[:, None]
        shares = shares + F.one_hot(numbers[other], len(self.concepts)) * (1 - weight)[:, None]
        images = varied(mixed(images, images[other], weight), generator)
        captions = [caption(random, self.store.wordings(clip.concept)) for clip in clips]
        extra = [self.concepts[int(random.integers(len(self.concepts)))] for _ in range(self.plan.extra_captions)]
        captions += [caption(random, self.store.wordings(concept)) for concept in extra]
        said = torch.cat([numbers, torch.tensor([self.number(concept) for concept in extra], dtype=torch.long)])
        return images, shares, captions, said


def statistics(supply: Supply) -> tuple[Tensor, Tensor]:
    """Mean and variance [mels] of log-mels in dB over a thousand training clips."""
    random = np.random.default_rng(0)
    mels = np.concatenate([supply.store.of(supply.draw(random)) for _ in range(1000)]).astype(np.float32)
    return torch.from_numpy(mels.mean(0) - 8), torch.from_numpy(mels.var(0))
