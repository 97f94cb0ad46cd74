"""Embedding any number of sounds, in order, with bounded memory.

The first windows go through the audio tower in batches, one after the other, with all threads working on each. When there
turn out to be many, the rest is done side by side instead: readers decode, resample and compute log-mels, and as many
callers as the engine runs at once send single windows through the tower. Windows wait in a bounded queue, so a reader is
never far ahead of the tower, nor of whoever takes the results.
"""

from __future__ import annotations

import atexit
import itertools
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from claprt.arrays import Embedding, Embeddings, IsLonger, LogMels
from claprt.audio.features import AudioFeatures
from claprt.audio.sound import AudioSource, source_name
from claprt.engines.engine import Engine
from claprt.errors import ArrayError, AudioError, ProviderError
from claprt.model.results import EmbeddedSound

MANY = 32
"""Windows after which the rest is done side by side: the second session that this takes has paid for itself by then."""

Views = Callable[[AudioSource], Iterator[AudioFeatures]]


@dataclass(slots=True)
class _Sound:
    """A sound whose windows are still being read or run."""

    name: str = ""
    windows: list[Embedding] = field(default_factory=list[Embedding])
    starts_s: list[float] = field(default_factory=list[float])
    error: AudioError | None = None
    complete: bool = False
    expected: int = 0

    @property
    def done(self) -> bool:
        return self.error is not None or (self.complete and self.expected == 0)

    def result(self, fingerprint: str, dim: int) -> EmbeddedSound:
        if self.error is not None:
            none = np.empty((0, dim), np.float32)
            return EmbeddedSound(
                source=self.name, vector=None, windows=none, starts_s=(), fingerprint=fingerprint, error=self.error
            )
        return joined(self.name, self.windows, self.starts_s, fingerprint)


def joined(source: str, vectors: Sequence[Embedding], starts_s: Sequence[float], fingerprint: str) -> EmbeddedSound:
    """The result for a sound whose windows have all been run.

    Args:
        source: the sound's name.
        vectors: of its windows, in order, each [dim].
        starts_s: where they begin, in seconds.
        fingerprint: names what made them.

    Raises:
        ProviderError: the windows' mean has no direction.
    """
    windows = np.stack(vectors)
    return EmbeddedSound(
        source=source, vector=pooled(windows), windows=windows, starts_s=tuple(starts_s), fingerprint=fingerprint
    )


def pooled(windows: Embeddings) -> Embedding:
    """Mean of unit vectors [windows, dim], brought back to length 1. One window is returned as it is.

    Raises:
        ProviderError: the mean has no direction.
    """
    if len(windows) == 1:
        return windows[0]
    mean = windows.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    if not length > 1e-6:
        raise ProviderError(f"The vectors of {len(windows)} windows cancel each other out: their mean has no direction.")
    return (mean / length).astype(np.float32)


def embedded(
    sources: Iterable[AudioSource],
    views: Views,
    engine: Engine,
    *,
    batch_size: int,
    fused: bool,
    fingerprint: str,
    dim: int,
) -> Iterator[EmbeddedSound]:
    """The results for all sources, in their order.

    Args:
        sources: taken from one after the other, in the thread that asks for results.
        views: the inputs of the audio tower for a source; raises `AudioError`.
        engine: runs the audio tower.
        batch_size: windows that go through it together.
        fused: whether the tower takes `is_longer`.
        fingerprint: of the results.
        dim: of a vector.
    """
    remaining = iter(sources)
    waiting: deque[_Sound] = deque()
    batch: list[tuple[_Sound, AudioFeatures]] = []
    run = 0
    for source in remaining:
        sound = _Sound()
        waiting.append(sound)
        of_sound = _guarded(sound, source, views)
        for view in of_sound:
            batch.append((sound, view))
            if len(batch) == batch_size:
                run += _run(engine, batch, fused)
                batch = []
                if run >= MANY and (many := engine.throughput()).at_once > 1:
                    with _SideBySide(many, fused) as side:
                        side.carry_on(waiting, of_sound)
                        for done in side.embedded(remaining, views):
                            yield done.result(fingerprint, dim)
                    return
        if len(waiting) > 2 * batch_size:
            run += _run(engine, batch, fused)
            batch = []
        while waiting and waiting[0].done:
            yield waiting.popleft().result(fingerprint, dim)
    _run(engine, batch, fused)
    for sound in waiting:
        yield sound.result(fingerprint, dim)


def _guarded(sound: _Sound, source: AudioSource, views: Views) -> Iterator[AudioFeatures]:
    """The views of a source, counted; an error ends them and is kept."""
    try:
        sound.name = source_name(source)
        for view in views(source):
            sound.expected += 1
            sound.starts_s.append(view.start_s)
            yield view
    except AudioError as error:
        sound.error = error
    sound.complete = True


def _run(engine: Engine, batch: Sequence[tuple[_Sound, AudioFeatures]], fused: bool) -> int:
    """Sends a batch through the tower; gives its size."""
    if not batch:
        return 0
    vectors = engine.audio(*_inputs([view for _, view in batch], fused))
    for (sound, _), vector in zip(batch, vectors, strict=True):
        sound.windows.append(vector)
        sound.expected -= 1
    return len(batch)


def _inputs(views: Sequence[AudioFeatures], fused: bool) -> tuple[LogMels, IsLonger | None]:
    log_mels = np.stack([view.log_mels for view in views])
    return log_mels, np.array([[view.is_longer] for view in views]) if fused else None


def audio_rows(engine: Engine, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
    """Vectors of log-mels: one on all cores, several side by side where the engine can.

    Raises:
        ArrayError: a log-mel is not finite; a vector of it would look like any other.
    """
    if not np.isfinite(log_mels).all():
        raise ArrayError("log_mels has values that are not finite numbers.")
    wide = engine.throughput() if len(log_mels) > 1 else engine
    if wide.at_once == 1:
        return wide.audio(log_mels, is_longer)

    def one(row: int) -> Embeddings:
        return wide.audio(log_mels[row : row + 1], None if is_longer is None else is_longer[row : row + 1])

    with ThreadPoolExecutor(wide.at_once) as pool:
        return np.concatenate(list(pool.map(one, range(len(log_mels)))))


class _SideBySide:
    """Readers and callers at work; leaving the block ends them.

    They are daemon threads, and end at the latest when the program does, which may be while results are still to come:
    Python would stop them inside the runtimes' code otherwise, and that ends in an abort.
    """

    def __init__(self, engine: Engine, fused: bool) -> None:
        self._engine, self._fused = engine, fused
        callers = engine.at_once
        readers = max(1, callers // 3)  # reading a sound takes up to a third of the time that the tower takes for it
        self._ahead = 4 * callers + 2 * readers
        self._unread: queue.SimpleQueue[tuple[Iterator[AudioFeatures], Future[list[Future[Embedding]]]]] = (
            queue.SimpleQueue()
        )
        self._views: queue.Queue[tuple[AudioFeatures, Future[Embedding]]] = queue.Queue(2 * callers)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"claprt-{work.__name__.strip('_')}-{n}", daemon=True)
            for work, count in ((self._read, readers), (self._call, callers))
            for n in range(count)
        ]
        self._waiting: deque[tuple[_Sound, Future[list[Future[Embedding]]]]] = deque()

    def __enter__(self) -> _SideBySide:
        _at_work.add(self)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stops all threads once they have done what they are at."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        _at_work.discard(self)

    def carry_on(self, waiting: Iterable[_Sound], views: Iterator[AudioFeatures]) -> None:
        """Takes over sounds that have been begun, the last of them with views still to come."""
        sounds = list(waiting)
        for sound in sounds:
            self._add(sound, views if sound is sounds[-1] else iter(()))

    def _add(self, sound: _Sound, views: Iterator[AudioFeatures]) -> None:
        read: Future[list[Future[Embedding]]] = Future()
        self._waiting.append((sound, read))
        self._unread.put((views, read))

    def embedded(self, sources: Iterator[AudioSource], views: Views) -> Iterator[_Sound]:
        """The sounds that were taken over and those of `sources`, done, in order."""
        while True:
            for source in itertools.islice(sources, max(0, self._ahead - len(self._waiting))):
                sound = _Sound()
                self._add(sound, _guarded(sound, source, views))
            if not self._waiting:
                return
            sound, read = self._waiting.popleft()
            sound.windows.extend(future.result() for future in read.result())
            yield sound

    def _read(self) -> None:
        """Reads sounds until the block is left."""
        while not self._stop.is_set():
            try:
                views, read = self._unread.get(timeout=0.1)
            except queue.Empty:
                continue
            try:
                read.set_result(self._sent(views))
            except Exception as error:  # noqa: BLE001 - raised again in the thread that takes the results
                read.set_exception(error)

    def _sent(self, views: Iterator[AudioFeatures]) -> list[Future[Embedding]]:
        """Hands a sound's windows to the callers, as fast as they take them."""
        futures: list[Future[Embedding]] = []
        for view in views:
            future: Future[Embedding] = Future()
            while not self._stop.is_set():
                try:
                    self._views.put((view, future), timeout=0.1)
                    break
                except queue.Full:
                    continue
            futures.append(future)
        return futures

    def _call(self) -> None:
        """Sends windows through the tower until the block is left."""
        while not self._stop.is_set():
            try:
                view, future = self._views.get(timeout=0.1)
            except queue.Empty:
                continue
            try:
                future.set_result(self._engine.audio(*_inputs([view], self._fused))[0])
            except Exception as error:  # noqa: BLE001 - raised again in the thread that takes the results
                future.set_exception(error)


_at_work: weakref.WeakSet[_SideBySide] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for side in list(_at_work):
        side.end()
