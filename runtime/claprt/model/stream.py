"""`Stream`: sound that arrives in blocks, to windows, vectors and events as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.audio.block_stream import BlockStream
from claprt.audio.features import AudioFeatures
from claprt.audio.long_audio import dense_policy
from claprt.audio.preprocess import Recipe
from claprt.bundle.manifest import Manifest
from claprt.engines.engine import Engine
from claprt.errors import AudioError, ClaprtError, OptionError
from claprt.model.parallel import exact_batch_size, stack_features
from claprt.scoring.classification import Scores
from claprt.scoring.events import Event, EventOptions
from claprt.scoring.label_scores import LabelOptions, LabelScorer, label_options
from claprt.scoring.track import LabelTrack


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamWindow:
    """One window of a stream."""

    start_s: float
    """Begin in seconds from the begin of the stream."""
    end_s: float
    """End in seconds."""
    embedding: Embedding
    """Its unit vector, [dim] float32."""
    labels: tuple[str, ...]
    """The labels at this time; none where the stream has no labels."""
    probabilities: Scores
    """Probability of each label, [labels] float32, between 0 and 1."""
    similarities: Scores
    """Cosine of each label, [labels] float32, between -1 and 1."""
    active: tuple[str, ...]
    """Labels whose event goes on."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the vector."""
        return {
            "start_s": round(self.start_s, 6),
            "end_s": round(self.end_s, 6),
            "probabilities": dict(zip(self.labels, self.probabilities.tolist(), strict=True)),
            "similarities": dict(zip(self.labels, self.similarities.tolist(), strict=True)),
            "active": list(self.active),
        }


@dataclass(frozen=True, slots=True, eq=False)
class StreamResult:
    """What a block completed."""

    windows: tuple[StreamWindow, ...]
    """Windows that are complete, in order."""
    events: tuple[Event, ...]
    """Events that are finished."""


class StreamModel(Protocol):
    """What a stream needs of a model; `Clap` has it."""

    recipe: Recipe
    """Preprocessing of sounds."""
    engine: Engine
    """Runs the towers."""
    batch_size: int
    """Windows in one run of the audio tower."""

    @property
    def manifest(self) -> Manifest:
        """Every fact about the bundle."""
        ...

    def check_open(self) -> None:
        """Check that the model was not closed."""
        ...

    def embed_labels(self, texts: str | Iterable[str]) -> Embeddings:
        """Embed texts that recur, [n, dim]."""
        ...


class Stream:
    """Sound in blocks of any size; its vectors are those of `timeline` of the whole, to the bit, however it is cut.

    Memory is bounded: about 6 MB, besides the results. Safe to use from several threads, whose blocks follow each other in
    the order of their calls.
    """

    def __init__(
        self,
        clap: StreamModel,
        *,
        labels: Sequence[str] | None = None,
        sample_rate: float,
        hop_s: float = 1.0,
        window_s: float | None = None,
        scores: str = "tag",
        background: Sequence[str] = (),
        on: float = 0.5,
        off: float | None = None,
        min_duration_s: float = 0.0,
        merge_s: float = 0.0,
        template: str | None = None,
    ) -> None:
        """Begin a stream.

        Args:
            clap: The model.
            labels: Any words or sentences; None for vectors alone.
            sample_rate: Rate of the blocks in Hz.
            hop_s: Seconds between the starts of two windows.
            window_s: Seconds of a window; None for the model's.
            scores: `tag` or `classify`, as `claprt.timeline` has them.
            background: With `classify`, labels for everything else.
            on: Probability that an event reaches.
            off: Probability below which it has ended; None for 0.8 times `on`.
            min_duration_s: Shortest event, in seconds.
            merge_s: Longest gap between two events of a label that are one, in seconds.
            template: A sentence with `{}` for the label.

        Raises:
            OptionError: If an option is out of range, or the model's preprocessing has to know the whole sound.
        """
        clap.check_open()
        self._clap, self._sample_rate = clap, sample_rate
        self._policy = dense_policy(clap.manifest.audio, hop_s, window_s)
        self._options = EventOptions(on=on, off=off, min_duration_s=min_duration_s, merge_s=merge_s)
        self._window_s = clap.manifest.audio.window_s if window_s is None else float(window_s)
        self._lock = threading.Lock()
        self._failure: ClaprtError | None = None
        self._blocks = self._new_blocks()
        self._label_options: LabelOptions | None = None
        self._track: LabelTrack | None = None
        if labels is None and len(background):
            raise OptionError("background was given without labels; it is what labels are held against.")
        if labels is not None:
            self._label_options = label_options(labels, background, scores, template)
            self._track = LabelTrack(self._scorer(self._label_options), self._options)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the next window."""
        return () if self._label_options is None else self._label_options.labels

    @property
    def warning(self) -> str | None:
        """A message if none of the labels is among the words that the model was trained on, if those are known."""
        return None if self._track is None else self._track.scorer.warning

    @property
    def duration_s(self) -> float:
        """Seconds of sound taken so far."""
        return self._blocks.duration_s

    def push(self, block: NDArray[Any]) -> StreamResult:
        """Take the next block.

        Args:
            block: [samples] or [samples, channels], of any float or integer dtype, of any length. Floats are nominally in
                [-1, 1], integers are taken by the full scale of their dtype. All blocks have the same number of channels.

        Returns:
            The windows and events that are complete with it; most short blocks complete none.

        Raises:
            AudioError: If the block is not sound; it is left out, and the next one follows the one before it. Levels far
                beyond full scale may be noticed only later; the stream has to be begun anew then (`reset`).
            ClaprtError: If the engine failed, after which the stream has to be begun anew too; or the model was closed.
        """
        with self._lock:
            self._check()
            before = self._blocks.samples
            try:
                return self._results(self._blocks.push(block))
            except ClaprtError as error:
                if self._blocks.samples != before:
                    self._failure = error
                raise

    def flush(self) -> StreamResult:
        """End the sound; the next block begins another one.

        Returns:
            The window that ends with the sound, if none has; a sound shorter than a window is filled up as `embed_audio`
            does. Events that go on end here.

        Raises:
            AudioError: If its levels are far beyond full scale.
            ClosedError: If the model was closed.
        """
        with self._lock:
            self._check()
            try:
                result = self._results(self._blocks.end())
                ended = self._track.finish(self._blocks.duration_s) if self._track is not None else []
            finally:
                self._begin()
            return StreamResult(result.windows, (*result.events, *ended))

    def reset(self) -> None:
        """Forget the sound so far; the next block begins another one. Labels stay."""
        with self._lock:
            self._begin()

    def set_labels(self, labels: Sequence[str], background: Sequence[str] | None = None) -> None:
        """Take other labels from the next window on; events of labels that stay go on, those of others end there.

        Args:
            labels: Any words or sentences.
            background: Labels for everything else; None for those that there were.

        Raises:
            OptionError: If there are no labels, one occurs twice, or the stream was begun without labels. The labels stay
                as they were.
            TextError: If a label is empty, not a string, or cannot be embedded.
        """
        current = self._label_options
        if current is None:
            raise OptionError("This stream was begun without labels; begin one with labels=[…].")
        others = current.background if background is None else background
        options = label_options(labels, others, current.method, current.template)
        scorer = self._scorer(options)
        with self._lock:
            self._label_options = options
            assert self._track is not None
            self._track.set_scorer(scorer)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def _scorer(self, options: LabelOptions) -> LabelScorer:
        """Embed the labels, whose vectors are kept for the next time."""
        return LabelScorer(self._clap.manifest, options, self._clap.embed_labels(options.sentences))

    def _new_blocks(self) -> BlockStream:
        return BlockStream(self._clap.manifest.audio, self._clap.recipe, self._policy, self._sample_rate)

    def _begin(self) -> None:
        self._failure, self._blocks = None, self._new_blocks()
        if self._track is not None:
            self._track.reset()

    def _check(self) -> None:
        self._clap.check_open()
        if self._failure is not None:
            raise AudioError(f"{self._failure} The stream cannot go on; reset() begins anew.")

    def _results(self, features: Iterator[AudioFeatures]) -> StreamResult:
        windows, events = list[StreamWindow](), list[Event]()
        batch: list[AudioFeatures] = []
        most = exact_batch_size(self._clap.engine, self._clap.batch_size)
        for one in features:
            batch.append(one)
            if len(batch) == most:
                self._run(batch, windows, events)
                batch = []
        self._run(batch, windows, events)
        return StreamResult(tuple(windows), tuple(events))

    def _run(self, batch: list[AudioFeatures], windows: list[StreamWindow], events: list[Event]) -> None:
        if not batch:
            return
        clap = self._clap
        vectors = clap.engine.audio(*stack_features(batch, clap.manifest.audio.fused))
        length = min(self._window_s, self._blocks.duration_s)
        for one, vector in zip(batch, vectors, strict=True):
            windows.append(scored_window(self._track, one.start_s, length, vector, events))


def scored_window(
    track: LabelTrack | None, start_s: float, window_s: float, vector: Embedding, events: list[Event]
) -> StreamWindow:
    """A window with its scores.

    Args:
        track: The labels; None for none.
        start_s: Begin of the window in seconds.
        window_s: Its length in seconds.
        vector: [dim] float32.
        events: Takes those that the window finished.
    """
    none = np.empty(0, np.float32)
    labels, active, probabilities, similarities = tuple[str, ...](), tuple[str, ...](), none, none
    if track is not None:
        scored = track.push(start_s + window_s / 2, vector)
        labels, active = scored.labels, scored.active
        probabilities, similarities = scored.probabilities, scored.similarities
        events += scored.events
    return StreamWindow(
        start_s=start_s,
        end_s=start_s + window_s,
        embedding=vector,
        labels=labels,
        probabilities=probabilities,
        similarities=similarities,
        active=active,
    )
