"""The gate: before a bundle appears, its graphs are run against what they were made from.

Every graph is run on onnxruntime on random, real-looking and edge inputs in batches of 1, 2, 3 and 7, and compared with
the torch tower (the log-mel graph with the runtime's own front end). What is measured goes into the manifest; what
exceeds the table below stops the export.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnxruntime
import tokenizers
import torch
from numpy.typing import NDArray

from claprt.arrays import Array
from claprt.audio.log_mel import log_mel
from claprt.audio.preprocess import int16_round_trip
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.graphs import ParityReport, Precision, Stage
from claprt.bundle.manifest import AudioConfig
from claprt.text.tokenizer import pad
from claprt_export.errors import CollapsedTowerError, ParityError
from claprt_export.towers import AudioTower, TextTower

Feeds = dict[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a graph may be from its original, and why so far."""

    max_abs: float
    min_cosine: float | None
    reason: str


TOLERANCES = MappingProxyType(
    {
        (Stage.LOG_MEL, Precision.FP32): Tolerance(
            max_abs=1e-3,
            min_cosine=None,
            reason="dB; both sides transform in float64, so what is left is float32 rounding of the power and its "
            "logarithm, 2e-5 here; more would mean another front end",
        ),
        (Stage.AUDIO, Precision.FP32): Tolerance(
            max_abs=2e-5,
            min_cosine=0.999999,
            reason="the same float32 arithmetic in another order through up to 18 blocks leaves 1e-6 on unit vectors; "
            "a tenth of the 1e-4 that end-to-end parity with LAION allows, doubled",
        ),
        (Stage.TEXT, Precision.FP32): Tolerance(
            max_abs=2e-5,
            min_cosine=0.999999,
            reason="as for audio, through twelve layers",
        ),
    }
)
"""The one table of tolerances of the export."""

COLLAPSED_COSINE = 0.998
"""Mean cosine between unlike inputs above which a trained tower is refused. The collapsed conversion
laion/larger_clap_music has 0.9993 between unlike texts."""

DEGENERATE_COSINE = 0.9996
"""The same for weights that were never trained: transformers' own initialisation gives 0.9990 between unlike texts and is
no error."""

BATCHES = (1, 2, 3, 7)

UNLIKE_TEXTS = (
    "a dog barking",
    "heavy rain on a tin roof",
    "a woman sings softly over an acoustic guitar",
    "an explosion followed by shattering glass",
    "silence",
    "church bells ringing in the distance",
    "fast techno with a distorted bass drum",
    "someone typing on a mechanical keyboard",
)


class Graph:
    """A written graph on the CPU provider."""

    def __init__(self, path: Path, *, basic: bool = False) -> None:
        """Open the graph; `basic` leaves out onnxruntime's fusions."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if basic:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, feeds: Feeds) -> Array:
        """The graph's one output."""
        return np.asarray(self._session.run(None, feeds)[0])


def check_log_mel(path: Path, facts: AudioConfig) -> ParityReport:
    """Hold the log-mel graph against `claprt.audio.log_mel`.

    Raises:
        ParityError: it is further away than the table allows.
    """
    graph = Graph(path, basic=True)  # onnxruntime before 1.26 fuses float64 products into a node without a kernel
    waveforms = np.stack(_waveforms(facts))
    expected = np.stack([log_mel(int16_round_trip(waveform), facts.mel) for waveform in waveforms])
    worst = 0.0
    for chosen in _batches(len(waveforms)):
        found = graph({"waveforms": waveforms[chosen]})
        worst = max(worst, float(np.abs(found - expected[chosen][:, None]).max()))
    return _judged(Stage.LOG_MEL, Precision.FP32, "claprt.mel", len(waveforms), worst, None)


def check_audio(path: Path, tower: AudioTower, facts: AudioConfig, precision: Precision, *, trained: bool) -> ParityReport:
    """Compare an audio graph with its torch tower, and check the tower for collapse.

    Args:
        path: of the graph.
        tower: what it was exported from.
        facts: shapes of its input.
        precision: of the graph.
        trained: whether the weights are trained; untrained towers may collapse.

    Raises:
        ParityError: If the graph differs by more than the table allows.
        CollapsedTowerError: If the tower gives nearly one vector for unlike sounds.
    """
    log_mels = _log_mels(facts)
    feeds: Feeds = {"log_mels": log_mels}
    if facts.fused:
        feeds["is_longer"] = (np.arange(len(log_mels)) % 2 == 0)[:, None]
    expected = _of_torch(tower, feeds)
    refuse_collapsed("audio", expected[: len(SOUNDS)], "synthesised sounds", trained=trained)
    pairs = [(_chosen(feeds, chosen), expected[chosen]) for chosen in _batches(len(log_mels))]
    return _compared(Graph(path), Stage.AUDIO, precision, pairs, len(log_mels))


def check_text(
    path: Path,
    tower: TextTower,
    tokenizer: tokenizers.Tokenizer,
    max_tokens: int,
    precision: Precision,
    *,
    trained: bool,
) -> ParityReport:
    """Compare a text graph with its torch tower on 3 to `max_tokens` tokens, and check the tower for collapse.

    Args:
        path: of the graph.
        tower: what it was exported from.
        tokenizer: of the checkpoint.
        max_tokens: of a text.
        precision: of the graph.
        trained: whether the weights are trained; untrained towers may collapse.

    Raises:
        ParityError: If the graph differs by more than the table allows.
        CollapsedTowerError: If the tower gives nearly one vector for unlike texts.
    """
    sentences = [encoding.ids[:max_tokens] for encoding in tokenizer.encode_batch(list(UNLIKE_TEXTS))]
    refuse_collapsed("text", _of_torch(tower, _tokens(sentences, tower)), "sentences", trained=trained)
    random = np.random.default_rng(0)
    pairs: list[tuple[Feeds, Array]] = []
    cases = 0
    for batch in BATCHES:
        for longest in sorted({3, 9, 16, 40, max_tokens}):
            lengths = [longest, *random.integers(3, longest + 1, batch - 1)]
            feeds = _tokens([_random_ids(random, int(length), tower) for length in lengths], tower)
            pairs.append((feeds, _of_torch(tower, feeds)))
            cases += batch
    feeds = _tokens(sentences, tower)
    pairs.append((feeds, _of_torch(tower, feeds)))
    return _compared(Graph(path), Stage.TEXT, precision, pairs, cases + len(sentences))


def _compared(
    graph: Graph, stage: Stage, precision: Precision, pairs: Sequence[tuple[Feeds, Array]], cases: int
) -> ParityReport:
    max_abs, min_cosine = 0.0, 1.0
    for feeds, expected in pairs:
        found = graph(feeds).astype(np.float64)
        if not np.isfinite(found).all():
            raise ParityError(f"The {precision} {stage} graph gives NaN or infinity.")
        max_abs = max(max_abs, float(np.abs(found - expected).max()))
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected.astype(np.float64), axis=1)
        min_cosine = min(min_cosine, float(((found * expected).sum(axis=1) / np.maximum(lengths, 1e-12)).min()))
    return _judged(stage, precision, "torch tower", cases, max_abs, min_cosine)


def _judged(
    stage: Stage, precision: Precision, against: str, cases: int, max_abs: float, min_cosine: float | None
) -> ParityReport:
    limit = TOLERANCES[stage, precision]
    facts = ParityReport(
        graph=stage,
        precision=precision,
        against=against,
        cases=cases,
        max_abs=max_abs,
        max_abs_limit=limit.max_abs,
        min_cosine=min_cosine,
        min_cosine_limit=limit.min_cosine,
    )
    apart = not max_abs <= limit.max_abs
    turned = min_cosine is not None and limit.min_cosine is not None and not min_cosine >= limit.min_cosine
    if apart or turned:
        cosine = "" if min_cosine is None else f" and a minimum cosine of {min_cosine:.9f} (allowed {limit.min_cosine})"
        raise ParityError(
            f"The {precision} {stage} graph differs from {against} by up to {max_abs:.3g} (allowed {limit.max_abs:g})"
            f"{cosine} over {cases} inputs; no bundle was written."
        )
    return facts


def refuse_collapsed(which: str, vectors: Array, inputs: str, *, trained: bool) -> None:
    """Check that the vectors [n, dim] of a tower for unlike inputs differ.

    Args:
        which: the tower, for the message.
        vectors: what it gave.
        inputs: what it was given, for the message.
        trained: whether the weights have left their initial values.

    Raises:
        CollapsedTowerError: If the mean cosine is above the limit, or a vector is not of length 1.
    """
    if not np.isfinite(vectors).all() or np.abs(np.linalg.norm(vectors, axis=1) - 1).max() > 1e-3:
        raise CollapsedTowerError(
            f"The {which} tower gives vectors that are not of length 1 (zero, NaN or infinity) for {inputs}: its weights "
            "are broken, and no bundle was written."
        )
    mean = float((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)].mean())
    limit = COLLAPSED_COSINE if trained else DEGENERATE_COSINE
    if mean > limit:
        raise CollapsedTowerError(
            f"The {which} tower is collapsed: {len(vectors)} unlike {inputs} have a mean cosine of {mean:.4f} with each "
            f"other (refused above {limit}). Whatever such a checkpoint is asked, the answer is noise; no bundle was "
            "written. Use another checkpoint."
        )


def _batches(count: int) -> Iterator[Array]:
    """Positions in batches of each size, until every position has been used by each size."""
    for size in BATCHES:
        for start in range(0, count, size):
            yield (start + np.arange(size)) % count


def _chosen(feeds: Feeds, positions: Array) -> Feeds:
    return {name: array[positions] for name, array in feeds.items()}


def _of_torch(tower: torch.nn.Module, feeds: Feeds) -> Array:
    with torch.inference_mode():
        rows = [tower(*(torch.from_numpy(array[row : row + 1]) for array in feeds.values()))
                for row in range(len(next(iter(feeds.values()))))]  # fmt: skip
    return torch.cat(rows).numpy()


@lru_cache(maxsize=2)
def _waveforms(facts: AudioConfig) -> list[NDArray[np.float32]]:
    """Synthesised sounds and waveforms at the edges: full scale, nearly silent, one impulse."""
    samples, rate = facts.window_samples, facts.mel.sample_rate
    square = np.where(np.arange(samples) % 480 < 240, 1.0, -1.0).astype(np.float32)
    impulse = np.zeros(samples, np.float32)
    impulse[0] = 1.0
    faint = np.full(samples, 1e-6, np.float32)
    return [make(samples, rate) for make in SOUNDS.values()] + [square, impulse, faint]


def _log_mels(facts: AudioConfig) -> NDArray[np.float32]:
    """Log-mels of those sounds, then random ones and constant ones at the ends of the scale, all views filled."""
    real = [log_mel(waveform, facts.mel) for waveform in _waveforms(facts)]
    shape = real[0].shape
    random = np.random.default_rng(1)
    noise = [random.normal(-30, 15, shape).astype(np.float32) for _ in range(3)]
    ends = [np.full(shape, level, np.float32) for level in (-100.0, 40.0)]
    mels = np.stack(real + noise + ends)
    # a fused tower's local views: each clip's own mel, rolled along time by a different amount
    return np.stack([np.roll(mels, 97 * view, axis=1) for view in range(facts.views)], axis=1)


def _tokens(ids: Sequence[Sequence[int]], tower: TextTower) -> Feeds:
    token_ids, mask = pad(ids, tower.architecture.pad_token_id)
    return {"token_ids": token_ids, "attention_mask": mask}


def _random_ids(random: np.random.Generator, length: int, tower: TextTower) -> list[int]:
    """`<s>`, ordinary tokens, `</s>`, in RoBERTa's numbering."""
    return [0, *random.integers(4, tower.architecture.vocabulary, length - 2).tolist(), 2]
