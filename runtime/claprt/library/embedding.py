"""From sounds that were found to vectors: reading, hashing and the audio tower, side by side in this process."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings, IsLonger, LogMels
from claprt.audio.features import AudioFeatures, SoundFacts, audio_features
from claprt.audio.sound import AudioSource
from claprt.engines.engine import Engine
from claprt.errors import AudioError, ProviderError
from claprt.library.items import Item
from claprt.model.clap import Clap
from claprt.model.parallel import ParallelPipeline
from claprt.model.results import EmbeddedSound


class Claims(Protocol):
    """Which contents are embedded, and by whom."""

    def claim(self, sha256: str) -> bool:
        """Whether this content is to be embedded by who asks, from any thread; False where it was, or is being embedded."""
        ...

    def stored_keys(self) -> NDArray[np.uint64]:
        """The first 64 bits of the contents that are in the library, [contents] uint64, sorted."""
        ...


@dataclass(slots=True)
class Outcome:
    """What became of one sound."""

    path: str
    size: int
    mtime: float
    sha256: str = ""
    """Empty where it could not be read."""
    duration_s: float | None = None
    sample_rate: int = 0
    channels: int = 0
    vector: Embedding | None = None
    """[dim] float32; None if it failed, or its content is embedded elsewhere."""
    windows: Embeddings | None = None
    """[windows, dim] float32."""
    starts_s: tuple[float, ...] = ()
    error: tuple[str, str] | None = None
    """Class and message."""
    item: Item | None = None
    """Where it lies, if its content was claimed before, so that it can be read again."""


@dataclass(slots=True)
class Timings:
    """Seconds that threads spent, added up over all of them."""

    read_s: float = 0.0
    compute_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, read_s: float = 0.0, compute_s: float = 0.0) -> None:
        """Add seconds, from any thread."""
        with self._lock:
            self.read_s += read_s
            self.compute_s += compute_s

    def taken(self) -> tuple[float, float]:
        """What was added since this was last called: seconds of reading and of computing."""
        with self._lock:
            taken = self.read_s, self.compute_s
            self.read_s = self.compute_s = 0.0
            return taken


class Embedder(Protocol):
    """Embeds sounds: in this process, in others, or on a cluster."""

    timings: Timings

    def run(self, items: Iterator[Item], claims: Claims) -> Iterator[Outcome]:
        """Embed sounds; items are taken as they are needed, in the thread that takes the outcomes.

        Args:
            items: What was found.
            claims: Asked once for each content.
        """
        ...

    def close(self) -> None:
        """Give back what it holds beside the model."""
        ...


class _ClaimedError(AudioError):
    """The content is embedded elsewhere."""


@dataclass(slots=True)
class _Work:
    """A sound on its way."""

    item: Item
    sha256: str = ""
    size: int = 0
    mtime: float = 0.0
    facts: SoundFacts = field(default_factory=SoundFacts)

    @property
    def name(self) -> str:
        return self.item.path

    def outcome(self, sound: EmbeddedSound) -> Outcome:
        """Facts and vectors."""
        done = Outcome(self.item.path, self.size, self.mtime, self.sha256)
        if isinstance(sound.error, _ClaimedError):
            done.item = self.item
        elif sound.error is not None:
            done.error = (type(sound.error).__name__, str(sound.error))
        else:
            done.duration_s, done.sample_rate, done.channels = self.facts.duration_s, self.facts.rate, self.facts.channels
            done.vector, done.windows, done.starts_s = sound.vector, sound.windows, sound.starts_s
        return done


class LocalEmbedder:
    """Embeds sounds with a model in this process.

    On the CPU every window goes through the tower by itself, so that its vector depends, to the last bit, neither on its
    neighbours nor on where a run was begun. A GPU gets batches.
    """

    def __init__(self, clap: Clap) -> None:
        """Take a loaded model."""
        self.timings = Timings()
        self._clap = clap

    def run(self, items: Iterator[Item], claims: Claims) -> Iterator[Outcome]:
        """Embed sounds in their order."""
        first = next(items, None)
        if first is None:  # and the model need not be loaded
            return
        items = itertools.chain([first], items)
        clap, works = self._clap, deque[_Work]()
        engine = _TimedEngine(clap.engine.batch_engine(), self.timings)
        fused, dim, fingerprint = clap.manifest.audio.fused, clap.dim, clap.fingerprint

        def sources() -> Iterator[AudioSource]:
            for item in items:
                work = _Work(item, size=item.size, mtime=item.mtime)
                works.append(work)
                yield cast("Any", work)

        def read(work: Any) -> Iterator[AudioFeatures]:
            return self._read(work, claims)

        with ParallelPipeline(engine, fused, batch_size=clap.batch_size) as pipeline:
            for pending in pipeline.results(sources(), read):
                work = works.popleft()
                try:
                    yield work.outcome(pending.result(fingerprint, dim))
                except ProviderError as error:  # its windows cancel each other out
                    pending.error = AudioError(f"{work.name}: {error}")
                    yield work.outcome(pending.result(fingerprint, dim))

    def close(self) -> None:
        """Leave the model to its owner."""

    def _read(self, work: _Work, claims: Claims) -> Iterator[AudioFeatures]:
        """Features of a sound, window by window.

        Raises:
            AudioError: If it cannot be read.
            _ClaimedError: If its content is embedded elsewhere.
        """
        with self._reading():
            content = work.item.open()
            work.sha256, work.size, work.mtime = content.sha256, content.size, content.mtime
        if not claims.claim(content.sha256):
            raise _ClaimedError
        clap = self._clap
        with self._reading():
            features = audio_features(
                content.source, clap.manifest.audio, clap.recipe, clap.long, sample_rate=None, facts=work.facts
            )
        while True:
            with self._reading():
                window = next(features, None)
            if window is None:
                break
            yield window
        content.check()

    @contextmanager
    def _reading(self) -> Generator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings.add(read_s=time.perf_counter() - began)


class _TimedEngine:
    """An engine that counts the seconds of its audio tower."""

    def __init__(self, engine: Engine, timings: Timings) -> None:
        self._engine, self._timings = engine, timings
        self.provider, self.precision = engine.provider, engine.precision
        self.max_concurrency, self.threads = engine.max_concurrency, engine.threads

    def batch_engine(self) -> _TimedEngine:
        return self

    def audio(self, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
        began = time.perf_counter()
        try:
            return self._engine.audio(log_mels, is_longer)
        finally:
            self._timings.add(compute_s=time.perf_counter() - began)

    def text(self, token_ids: Any, attention_mask: Any) -> Embeddings:
        return self._engine.text(token_ids, attention_mask)

    def close(self) -> None:
        """Leave the engine to its owner."""
