"""Triplets to train on and triplets to judge by, of sounds that training never saw.

A projection that has merely learnt its sounds by heart would pass on new triplets of the same sounds, so sounds are held
out, not triplets. Where nobody has judged, neighbours in the embedding stand in for judgements, as in kromosynth-evaluate:
the positive is one of the `neighbours` nearest sounds by cosine, the negative any sound that is no nearer than the median.
Copies of a sound would be its nearest neighbours and teach nothing; of each, only the first is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.errors import DatasetError, OptionError
from claprt_export.projection.training_data import Material, Rows

HELD_OUT = 0.2
"""Share of the sounds (where neighbours judge), or of the triplets (where people did), that are kept from training."""

_JUDGED_BY = 4000
_FEWEST_HELD_OUT = 5
_CELLS = 2**23
"""Cosines that are held at a time: 64 MB of them."""
_ROUNDING = 1e-6

Draw = Callable[[int, np.random.Generator], Rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Triplets:
    """What to train on and what to judge by."""

    draw: Draw
    """That many triplets [n, 3] of sounds to train on."""
    held_out: Rows
    """Triplets [n, 3] to judge by: all of their sounds held out, or where people judged at least one."""
    sounds: Rows
    """The sounds that were held out."""
    about: str
    """How they came about, in a sentence."""


class Neighbourhoods:
    """Which sounds are near each sound of a set, and from where on they are far."""

    def __init__(self, embeddings: NDArray[np.float32], rows: Rows, neighbours: int) -> None:
        """Find the nearest neighbours of embeddings [n, dim] within some of their rows.

        Args:
            embeddings: [n, dim] float32.
            rows: numbers of the rows, more than twice as many as `neighbours`.
            neighbours: of each row.
        """
        self._rows = rows
        unit = embeddings[rows].astype(np.float64)
        self._unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        self._nearest = np.empty((len(rows), neighbours), np.int64)
        self._median = np.empty(len(rows))
        size = max(1, _CELLS // len(rows))
        for start in range(0, len(rows), size):
            block = slice(start, min(start + size, len(rows)))
            cosines = self._unit[block] @ self._unit.T
            own = np.arange(len(cosines))
            others = np.delete(cosines.reshape(-1), own * len(rows) + own + start).reshape(len(cosines), -1)
            self._median[block] = np.median(others, axis=1)
            cosines[own, own + start] = -np.inf
            self._nearest[block] = np.argpartition(-cosines, neighbours - 1, axis=1)[:, :neighbours]

    def draw(self, count: int, random: np.random.Generator) -> Rows:
        """Triplets [count, 3], in rows of the embeddings."""
        sounds, neighbours = self._nearest.shape
        anchors = random.integers(sounds, size=count)
        positives = self._nearest[anchors, random.integers(neighbours, size=count)]
        negatives = np.empty(count, np.int64)
        pending = np.arange(count)
        while len(pending):
            negatives[pending] = random.integers(sounds, size=len(pending))
            pending = pending[~self._far(anchors[pending], positives[pending], negatives[pending])]
        return self._rows[np.stack([anchors, positives, negatives], axis=1)]

    def _far(self, anchors: Rows, positives: Rows, negatives: Rows) -> NDArray[np.bool_]:
        cosines = np.einsum("ij,ij->i", self._unit[anchors], self._unit[negatives])
        beyond = cosines <= self._median[anchors] + _ROUNDING  # which half of the sounds are, even if all are equally far
        return beyond & (negatives != anchors) & (negatives != positives)


def proxy_triplets(material: Material, *, neighbours: int = 10, seed: int = 0) -> Triplets:
    """Triplets in which cosines stand in for judgements.

    Raises:
        OptionError: `neighbours` is less than 1.
        DatasetError: there are too few sounds for so many neighbours.
    """
    if neighbours < 1:
        raise OptionError(f"neighbours={neighbours} is not possible; give 1 or more.")
    sounds = material.distinct
    aside = max(_FEWEST_HELD_OUT, round(HELD_OUT * len(sounds)))
    if len(sounds) - aside < 2 * neighbours + 1:
        raise DatasetError(
            f"{material.name} holds {len(sounds)} different sounds, of which {aside} are held out; {neighbours} neighbours "
            f"ask for {2 * neighbours + 1} to train on. Embed more sounds, or take fewer neighbours (--neighbours)."
        )
    random = np.random.default_rng([seed, 1])
    mixed = random.permutation(sounds)
    held, kept = np.sort(mixed[:aside]), np.sort(mixed[aside:])
    fewer = min(max(1, round(neighbours * len(held) / len(kept))), (len(held) - 1) // 2)  # as near as in the larger set
    train = Neighbourhoods(material.embeddings, kept, neighbours)
    judge = Neighbourhoods(material.embeddings, held, fewer)
    copies = len(material.first) - len(sounds)
    return Triplets(
        draw=train.draw,
        held_out=judge.draw(_JUDGED_BY, random),
        sounds=held,
        about=f"{len(kept)} sounds to train on and {len(held)} held out{f', {copies} copies left out' if copies else ''}; "
        f"the {neighbours} nearest are alike (of those held out the {fewer} nearest), whatever is beyond the median is not",
    )


def given_triplets(material: Material, triplets: Rows, *, seed: int = 0) -> Triplets:
    """Triplets that somebody judged. Those with a held-out sound are judged by, all others trained on.

    As many sounds are held out as leave about a fifth of the triplets to judge by: a fourteenth, each having three.

    Raises:
        DatasetError: too few triplets are left on either side.
    """
    named = material.first[triplets]
    anchor, positive, negative = named.T
    usable = named[(anchor != positive) & (anchor != negative) & (positive != negative)]
    random = np.random.default_rng([seed, 2])
    sounds = random.permutation(np.unique(usable))
    aside = max(1, round((1 - (1 - HELD_OUT) ** (1 / 3)) * len(sounds)))
    held = np.sort(sounds[:aside])
    judging = np.isin(usable, held).any(axis=1)
    train, judge = usable[~judging], usable[judging]
    if min(len(train), len(judge)) < _FEWEST_HELD_OUT:
        raise DatasetError(
            f"{len(usable)} usable triplets of {len(sounds)} sounds leave {len(train)} to train on and {len(judge)} to "
            f"judge by; {_FEWEST_HELD_OUT} of each are the least. Collect more, of more sounds."
        )

    def draw(count: int, random: np.random.Generator) -> Rows:
        rounds = -(-count // len(train))
        return np.concatenate([random.permutation(train) for _ in range(rounds)])[:count]

    copies = len(triplets) - len(usable)
    return Triplets(
        draw=draw,
        held_out=judge,
        sounds=held,
        about=f"{len(train)} triplets to train on, {len(judge)} with one of {len(held)} held-out sounds to judge by"
        f"{f', {copies} left out that compare a sound with its copy' if copies else ''}",
    )
