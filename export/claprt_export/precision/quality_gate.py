"""The quality gate: whether a graph in a lowered precision still gives the results of fp32.

A plain cosine near 1 says little, because the vectors of all sounds lie close together. So two things are measured of every
lowered graph, with the other tower in fp32: the cosine with fp32 after the mean fp32 vector has been subtracted from both,
and the right answers in zero-shot classification and text-to-audio retrieval on labelled sounds. These are synthesised
classes, unless a labelled set is given; they differ from the sounds that ranges of int8 are taken from.

The answers are compared in pairs, sound by sound (`claprt_export.precision.paired_test`). Where fp32 itself is at chance,
they say nothing, and the cosine alone decides; so it does for untrained weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import tokenizers

from claprt.arrays import Array
from claprt.bundle.graphs import PairedTest, Precision, QualityReport, Stage, TaskReport
from claprt_export.precision.labelled_sets import Feeds, Labelled, tokenize
from claprt_export.precision.paired_test import CHANCE_LIMIT, CONFIDENCE, largest_loss, p_of_chance, sounds_needed

Run = Callable[[Feeds], Array]

LIMITS = MappingProxyType(
    {Precision.FP16: 0.999, Precision.BF16: 0.985, Precision.INT8: 0.93, Precision.INT8_SYMMETRIC: 0.93}
)
"""Smallest mean centred cosine of each precision."""
LOSS_LIMIT = 0.02
"""Largest share of right answers that may be lost: two points."""


class Reference:
    """Vectors of a labelled set in fp32: of all texts, and of as many sounds as have been needed so far.

    Args:
        labelled: the set.
        run_audio: runs the audio graph in fp32.
        run_text: runs the text graph in fp32.
        tokenizer: of the text tower.
        pad_token_id: token that fills texts up.
        max_tokens: tokens of a text at most.
        tasks: whether tasks are measured; False for untrained weights, unless a labelled set was given.
    """

    def __init__(
        self,
        labelled: Labelled,
        run_audio: Run,
        run_text: Run,
        tokenizer: tokenizers.Tokenizer,
        *,
        pad_token_id: int,
        max_tokens: int,
        tasks: bool,
    ) -> None:
        texts = dict.fromkeys(itertools.chain(*labelled.labels, labelled.captions))
        self.labelled, self.tasks = labelled, tasks
        self.tokens = {text: tokenize(text, tokenizer, pad_token_id, max_tokens) for text in texts}
        self.text = {text: run_text(feeds)[0] for text, feeds in self.tokens.items()}
        self.sounds: list[Feeds] = []
        self._run, self._rows, self._left = run_audio, list[Array](), iter(labelled.sounds)

    def audio(self, count: int) -> Array:
        """Vectors [count, dim] of the first sounds; `sounds` holds at least as many afterwards."""
        while len(self._rows) < count:
            self.sounds.append(next(self._left))
            self._rows.append(self._run(self.sounds[-1]))
        return np.concatenate(self._rows[:count])


def measured(reference: Reference, stage: Stage, precision: Precision, run: Run, engine: str) -> QualityReport:
    """Measure one lowered graph.

    More sounds than the fewest are used only if as many answers change among these that a loss above the limit would not be
    excluded. That is decided by the number of changes, not by their direction, so that it does not bias the test.

    Args:
        reference: everything in fp32.
        stage: the tower that was lowered.
        precision: of the lowered graph.
        run: runs the lowered graph.
        engine: what runs it, for the report.
    """
    sizes, text = reference.labelled.sizes, reference.text
    if stage is Stage.TEXT:
        low_text = np.concatenate([run(feeds) for feeds in reference.tokens.values()])
        text = dict(zip(text, low_text, strict=True))
    rows: list[Array] = []

    def audio(count: int) -> tuple[Array, Array]:
        full = reference.audio(count)
        if stage is Stage.TEXT:
            return full, full
        rows.extend(run(feeds) for feeds in reference.sounds[len(rows) : count])
        return full, np.concatenate(rows)

    full, low = audio(sizes[0])
    tasks: tuple[TaskReport, ...] = ()
    if reference.tasks:
        task = _task(reference, full, low, text)
        if (size := _size(task, sizes)) > sizes[0]:
            full, low = audio(size)
            task = _task(reference, full, low, text)
        tasks = (task,)
    if stage is Stage.TEXT:
        full, low = np.stack(list(reference.text.values())), np.stack(list(text.values()))
    cosines = centred_cosines(low, full)
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


def _size(found: TaskReport, sizes: Sequence[int]) -> int:
    """Choose the number of sounds that the test takes with as many changes as were found."""
    tests = [test for test in (found.top1_test, found.recall5_test) if test is not None and test.signal]
    if not tests:
        return sizes[0]
    needed = sounds_needed(LOSS_LIMIT, max(test.changed for test in tests))
    return next((size for size in sizes if size >= needed), sizes[-1])


def centred_cosines(low: Array, full: Array) -> Array:
    """Cosines [n] of rows of `low` [n, dim] with those of `full` [n, dim], the mean of `full` subtracted from both.

    NaN counts as -1.
    """
    mean = full.astype(np.float64).mean(0)
    low, full = low - mean, full - mean
    lengths = np.linalg.norm(low, axis=1) * np.linalg.norm(full, axis=1)
    return np.nan_to_num((low * full).sum(1) / np.maximum(lengths, 1e-12), nan=-1.0)


def _task(reference: Reference, full: Array, low: Array, text: Mapping[str, Array]) -> TaskReport:
    """Compare the answers with vectors of sounds `low` and of texts `text` to those with `full` and fp32's texts."""
    labelled = reference.labelled
    top1 = recall5 = (None, None, None)
    if labelled.labels:
        top1 = _compared(_top1(labelled, full, reference.text), _top1(labelled, low, text))
    if len(labelled.captions):
        recall5 = _compared(_recall5(labelled, full, reference.text), _recall5(labelled, low, text))
    return TaskReport(
        dataset=labelled.name,
        sounds=len(full),
        top1=top1[1],
        top1_fp32=top1[0],
        top1_test=top1[2],
        recall5=recall5[1],
        recall5_fp32=recall5[0],
        recall5_test=recall5[2],
        limit=-LOSS_LIMIT,
    )


_Answers = tuple[Array, Array]
"""[sounds] share of right answers for each, and [classes, classes] how often the row's was answered by the column's."""


def _compared(full: _Answers, low: _Answers) -> tuple[float, float, PairedTest]:
    """The share of right answers in fp32, that of the lowered graph, and the test of the difference."""
    differences = low[0] - full[0]
    changed = float(np.mean(differences**2))
    return (
        float(full[0].mean()),
        float(low[0].mean()),
        PairedTest(
            changed=changed,
            worst=-largest_loss(float(differences.mean()), changed, len(differences)),
            confidence=CONFIDENCE,
            chance=p_of_chance(full[1]),
            chance_limit=CHANCE_LIMIT,
        ),
    )


def _top1(labelled: Labelled, audio: Array, text: Mapping[str, Array]) -> _Answers:
    classes = labelled.classes[: len(audio)]
    audio, classes = audio[classes >= 0], classes[classes >= 0]
    table = np.zeros((len(labelled.labels[0]),) * 2)
    right: list[Array] = []
    for labels in labelled.labels:
        answers = (audio @ np.stack([text[name] for name in labels]).T).argmax(1)
        right.append(answers == classes)
        np.add.at(table, (classes, answers), 1)
    return np.mean(right, axis=0), table


def _recall5(labelled: Labelled, audio: Array, text: Mapping[str, Array]) -> _Answers:
    groups, owners = labelled.sound_groups[: len(audio)], labelled.caption_groups
    cosines = np.stack([text[name] for name in labelled.captions]) @ audio.T
    own = owners[:, None] == groups
    wrong = np.sort(np.where(own, -np.inf, cosines), axis=1)[:, -5:]
    found = (own & (cosines > wrong[:, :1])).sum(0)  # ahead of the fifth wrong one; nothing is ahead of NaN
    asked = own.sum(0)
    table = np.zeros((groups.max() + 2,) * 2)  # the last row and column are of group -1
    first = np.argsort(-cosines, axis=1, kind="stable")[:, :5]
    np.add.at(table, (owners[:, None], groups[first]), 1)
    return (found / np.maximum(asked, 1))[asked > 0], table[:-1, :-1]


def objection(facts: QualityReport) -> str | None:
    """Say why a graph does not pass; None if it does."""
    if facts.accepted:
        return None
    reasons: list[str] = []
    if not facts.centred_cosine >= facts.centred_cosine_limit:
        reasons.append(f"centred cosine {facts.centred_cosine:.4f} with fp32, below {facts.centred_cosine_limit}")
    for task in facts.tasks:
        reasons += _losses(task)
    return f"{facts.precision} of the {facts.graph} tower on {facts.engine}: {'; '.join(reasons)}"


def _losses(task: TaskReport) -> Iterator[str]:
    shares = (
        ("top-1", task.top1, task.top1_fp32, task.top1_test),
        ("R@5", task.recall5, task.recall5_fp32, task.recall5_test),
    )
    for name, low, full, test in shares:
        if low is None or full is None or test is None or not test.signal or test.worst >= task.limit:
            continue
        change, worst, limit = (f"{100 * share:+.1f}" for share in (low - full, test.worst, task.limit))
        text = (
            f"{name} on {task.dataset} changes by {change} points; {task.sounds} sounds do not exclude {worst} "
            f"with {100 * test.confidence:.0f} % confidence, and the limit is {limit}"
        )
        needed = sounds_needed(-task.limit, test.changed)
        undecided = low - full >= task.limit / 2 and needed > task.sounds
        yield f"{text}; to decide takes about {needed} sounds" if undecided else text
