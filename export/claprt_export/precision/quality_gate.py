"""The judge: whether a lowered precision is still the same model, for what people do with it.

A cosine near 1 says little, because the vectors of all sounds lie close together. So two things are asked of every
lowered graph, with the other tower in fp32. How near it stays to fp32 once the mean vector, which all share, has been
subtracted. And whether tasks still come out: zero-shot classification and retrieval on labelled sounds. The labelled sounds
are the kinds that this project synthesises, unless a labelled set was given; weights that were never trained are asked for
the first thing alone. What is judged is not what ranges were taken from, unless one dataset was given for both.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tokenizers

from claprt.arrays import Array
from claprt.audio.features import audio_features
from claprt.audio.long_audio import LongAudioPolicy, LongMode
from claprt.audio.preprocess import recipe
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.graphs import Precision, QualityReport, Stage, TaskReport
from claprt.bundle.manifest import AudioConfig
from claprt.errors import AudioError
from claprt.evaluation.dataset import Dataset
from claprt.evaluation.zero_shot import DEFAULT_TEMPLATE, retrieval, zero_shot
from claprt.tasks.labels import apply_template
from claprt.text.tokenizer import pad
from claprt_export.errors import PrecisionError
from claprt_export.synthesis.captions import TEMPLATES
from claprt_export.synthesis.classes import KINDS, synthesise

Feeds = dict[str, Array]
Run = Callable[[Feeds], Array]

LIMITS = MappingProxyType({Precision.FP16: 0.999, Precision.BF16: 0.985, Precision.INT8: 0.93})
"""Smallest mean centred cosine of each precision."""
LOSS = -0.005
"""Smallest change of a share of right answers: half a point."""
SYNTHESISED_SET = "synthesised kinds"
EACH = 3
"""Synthesised sounds of each kind."""
_WORDINGS = 4
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A labelled set as the towers take it."""

    name: str
    sounds: tuple[Feeds, ...]
    """Inputs of the audio tower, one sound each."""
    rounds: tuple[tuple[Sequence[str], Array], ...]
    """Each: texts of all classes, and for every sound which of them is right. The mean over rounds counts."""
    captions: Sequence[str]
    right: Array
    """[captions, sounds]: which sounds a caption is right for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Vectors in fp32 of everything that is judged by."""

    labelled: Labelled
    audio: Array
    text: Mapping[str, Array]
    tokens: Mapping[str, Feeds]
    tasks: bool
    """Whether tasks are judged: not of weights that were never trained, unless labelled sounds were given."""


def calibration_sounds(facts: AudioConfig, dataset: Dataset | None) -> Iterator[Feeds]:
    """Sounds to take ranges from: one of each kind, those of `claprt.audio.synthetic`, and those of a dataset if given."""
    for waveform in itertools.chain(_synthesised("calibration", 1), _plain(facts)):
        yield _feeds(waveform, facts)
    for item in dataset.items if dataset is not None else ():
        yield _feeds(item.path, facts)


def calibration_texts(tokenizer: tokenizers.Tokenizer, pad_token_id: int, max_tokens: int) -> Iterator[Feeds]:
    """Texts to take ranges from: kinds in changing templates, and some that fill every token."""
    templates = itertools.cycle(TEMPLATES)
    texts = [next(templates).format(kind.held_out[0]) for kind in KINDS.values()]  # wordings that the judge does not use
    texts += [" and then ".join(texts[start : start + 12]) for start in range(0, len(texts), 12)]
    for text in texts:
        yield _tokens(text, tokenizer, pad_token_id, max_tokens)


def synthesised_set(facts: AudioConfig, each: int = EACH) -> Labelled:
    """The kinds that this project synthesises, with parameters that neither training nor ranges have seen."""
    kinds = list(KINDS.values())
    truth = np.repeat(np.arange(len(kinds)), each)
    rounds = tuple(
        (apply_template(DEFAULT_TEMPLATE, [kind.wordings[number % len(kind.wordings)] for kind in kinds]), truth)
        for number in range(_WORDINGS)
    )
    captions = [kind.wordings[number % len(kind.wordings)] for kind in kinds for number in range(2)]
    right = np.repeat(np.arange(len(kinds)), 2)[:, None] == truth
    sounds = tuple(_feeds(waveform, facts) for waveform in _synthesised("judge", each))
    return Labelled(name=SYNTHESISED_SET, sounds=sounds, rounds=rounds, captions=captions, right=right)


def labelled_set(dataset: Dataset, facts: AudioConfig) -> Labelled:
    """A dataset as the towers take it; of a long clip its beginning.

    Raises:
        PrecisionError: it has neither labels nor captions, or a sound of it cannot be read.
    """
    captions = [caption for item in dataset.items for caption in item.captions]
    if not dataset.labels and not captions:
        raise PrecisionError(f"{dataset.name} has neither labels nor captions to judge by.")
    rounds: list[tuple[Sequence[str], Array]] = []
    if dataset.labels:
        numbers = {label: number for number, label in enumerate(dataset.labels)}
        truth = np.array([numbers.get(str(item.label), -1) for item in dataset.items])
        rounds.append((apply_template(DEFAULT_TEMPLATE, dataset.labels), truth))
    owner = np.array([n for n, item in enumerate(dataset.items) for _ in item.captions], np.int64)
    right = owner[:, None] == np.arange(len(dataset.items))
    if not captions:  # a label is a caption of all its sounds
        captions, right = list(rounds[0][0]), rounds[0][1] == np.arange(len(rounds[0][0]))[:, None]
    sounds = tuple(_feeds(item.path, facts) for item in dataset.items)
    return Labelled(name=dataset.name, sounds=sounds, rounds=tuple(rounds), captions=captions, right=right)


def reference(
    labelled: Labelled,
    run_audio: Run,
    run_text: Run,
    tokenizer: tokenizers.Tokenizer,
    *,
    pad_token_id: int,
    max_tokens: int,
    tasks: bool,
) -> Reference:
    """Everything in fp32."""
    texts = dict.fromkeys(text for texts, _ in (*labelled.rounds, (labelled.captions, None)) for text in texts)
    tokens = {text: _tokens(text, tokenizer, pad_token_id, max_tokens) for text in texts}
    return Reference(
        labelled=labelled,
        audio=_rows(run_audio, labelled.sounds),
        text={text: run_text(feeds)[0] for text, feeds in tokens.items()},
        tokens=tokens,
        tasks=tasks,
    )


def judged(reference: Reference, stage: Stage, precision: Precision, run: Run, engine: str) -> QualityReport:
    """What the judge finds of one lowered graph."""
    audio, text = reference.audio, reference.text
    if stage is Stage.AUDIO:
        full, low = audio, _rows(run, reference.labelled.sounds)
        audio = low
    else:
        full = np.stack(list(text.values()))
        low = _rows(run, list(reference.tokens.values()))
        text = dict(zip(text, low, strict=True))
    cosines = centred_cosines(low, full)
    tasks = (_task(reference, audio, text),) if reference.tasks else ()
    return QualityReport(
        graph=stage,
        precision=precision,
        engine=engine,
        inputs=len(full),
        centred_cosine=float(cosines.mean()),
        centred_cosine_min=float(cosines.min()),
        centred_cosine_limit=LIMITS[precision],
        tasks=tasks,
    )


def centred_cosines(low: Array, full: Array) -> Array:
    """Cosine of each row of `low` with its row of `full`, the mean of `full` subtracted from both. NaN counts as -1."""
    mean = full.astype(np.float64).mean(0)
    low, full = low - mean, full - mean
    lengths = np.linalg.norm(low, axis=1) * np.linalg.norm(full, axis=1)
    return np.nan_to_num((low * full).sum(1) / np.maximum(lengths, 1e-12), nan=-1.0)


def _task(reference: Reference, audio: Array, text: Mapping[str, Array]) -> TaskReport:
    labelled = reference.labelled

    def top1(audio: Array, text: Mapping[str, Array]) -> float | None:
        shares: list[float] = []
        for texts, truth in labelled.rounds:
            known = truth >= 0
            rows = np.stack([text[name] for name in texts])
            shares.append(zero_shot(audio[known], rows, truth[known], texts, "").top1)
        return float(np.mean(shares)) if shares else None

    def recall5(audio: Array, text: Mapping[str, Array]) -> float:
        rows = np.stack([text[name] for name in labelled.captions])
        return retrieval((rows @ audio.T).astype(np.float32), labelled.right).recall[5]

    return TaskReport(
        dataset=labelled.name,
        sounds=len(labelled.sounds),
        top1=top1(audio, text),
        top1_fp32=top1(reference.audio, reference.text),
        recall5=recall5(audio, text),
        recall5_fp32=recall5(reference.audio, reference.text),
        limit=LOSS - _ROUNDING,
    )


def objection(facts: QualityReport) -> str | None:
    """Why the judge refuses, in words; None if it does not."""
    if facts.accepted:
        return None
    reasons: list[str] = []
    if not facts.centred_cosine >= facts.centred_cosine_limit:
        reasons.append(f"centred cosine {facts.centred_cosine:.4f} with fp32, below {facts.centred_cosine_limit}")
    reasons += [
        f"a change of {100 * task.change:+.1f} points on {task.dataset}, at most {100 * LOSS:+.1f} is allowed"
        for task in facts.tasks
        if task.change < task.limit
    ]
    return f"{facts.precision} of the {facts.graph} tower on {facts.engine}: {'; '.join(reasons)}"


@cache
def _synthesised(part: str, each: int) -> tuple[Array, ...]:
    return tuple(
        synthesise(name, np.random.default_rng(zlib.crc32(f"{name}/{part}/{number}".encode())))
        for name in KINDS
        for number in range(each)
    )


def _plain(facts: AudioConfig) -> Iterator[Array]:
    for make in SOUNDS.values():
        yield make(facts.window_samples, facts.mel.sample_rate)


def _feeds(source: Array | Path, facts: AudioConfig) -> Feeds:
    """One sound as the audio tower takes it; a fused tower's local views are told apart by rolling the log-mel."""
    head = LongAudioPolicy(mode=LongMode.HEAD)
    try:
        view = next(audio_features(source, facts, recipe("laion"), head, sample_rate=facts.mel.sample_rate))
    except AudioError as error:
        raise PrecisionError(f"A sound to judge by cannot be used: {error}") from error
    if not facts.fused:
        return {"log_mels": view.log_mels[None]}
    rolled = np.stack([np.roll(mel, 97 * n, axis=0) for n, mel in enumerate(view.log_mels)])
    longer = bool(zlib.crc32(rolled.tobytes()) % 2)
    return {"log_mels": rolled[None], "is_longer": np.array([[longer]])}


def _tokens(text: str, tokenizer: tokenizers.Tokenizer, pad_token_id: int, max_tokens: int) -> Feeds:
    token_ids, mask = pad([tokenizer.encode(text).ids[:max_tokens]], pad_token_id)
    return {"token_ids": token_ids, "attention_mask": mask}


def _rows(run: Run, inputs: Sequence[Feeds]) -> Array:
    return np.concatenate([run(feeds) for feeds in inputs])
