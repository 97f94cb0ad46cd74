"""Embedding many sounds in parallel, in order, with bounded memory.

Readers decode, resample and compute log-mels, and as many callers as the engine runs concurrently send windows through the
audio tower: single ones on the CPU, batches of those that wait on a GPU. Windows wait in a bounded queue, so a reader is
never far ahead of the tower, nor of whoever takes the results.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from claprt.arrays import Embedding, IsLonger, LogMels
from claprt.audio.features import AudioFeatures
from claprt.audio.sound import AudioSource, source_name
from claprt.engines.engine import Engine
from claprt.errors import AudioError
from claprt.model.results import EmbeddedSound, join_windows

_MAX_READERS = 4
"""Threads that read for a GPU. On 16 cores a log-mel took 6.4 ms alone, 2.2 ms with four threads, and 3.9 ms with 16, which
wait for the interpreter (benchmarks/LOG.md)."""
ReadFeatures = Callable[[AudioSource], Iterator[AudioFeatures]]
"""Inputs of the audio tower for a source, window by window; raises `AudioError`."""


@dataclass(slots=True)
class PendingSound:
    """A sound whose windows are still being read or run."""

    name: str = ""
    windows: list[Embedding] = field(default_factory=list[Embedding])
    starts_s: list[float] = field(default_factory=list[float])
    error: AudioError | None = None
    complete: bool = False
    expected: int = 0

    @property
    def done(self) -> bool:
        """Whether all its windows have been run, or it failed."""
        return self.error is not None or (self.complete and self.expected == 0)

    def result(self, fingerprint: str, dim: int) -> EmbeddedSound:
        """Its windows [windows, dim] and their mean, or its error.

        Raises:
            ProviderError: If the mean of the windows has no direction.
        """
        if self.error is not None:
            none = np.empty((0, dim), np.float32)
            return EmbeddedSound(
                source=self.name, vector=None, windows=none, starts_s=(), fingerprint=fingerprint, error=self.error
            )
        return join_windows(self.name, self.windows, self.starts_s, fingerprint)


def read_counted(sound: PendingSound, source: AudioSource, read: ReadFeatures) -> Iterator[AudioFeatures]:
    """Features of a source, counted in `sound`; an error ends them and is stored there."""
    try:
        sound.name = source_name(source)
        for features in read(source):
            sound.expected += 1
            sound.starts_s.append(features.start_s)
            yield features
    except AudioError as error:
        sound.error = error
    sound.complete = True


def stack_features(windows: Sequence[AudioFeatures], fused: bool) -> tuple[LogMels, IsLonger | None]:
    """Arguments of `Engine.audio` for some windows: log-mels [batch, views, frames, mels], and `is_longer` if fused."""
    log_mels = np.stack([one.log_mels for one in windows])
    return log_mels, np.array([[one.is_longer] for one in windows]) if fused else None


def runs_batches(engine: Engine) -> bool:
    """Whether many sounds are run in batches, one call at a time, while other threads read: on a GPU."""
    from claprt.engines.providers import ON_GPU  # with a model, not with the package

    return engine.provider in ON_GPU and engine.max_concurrency == 1


def exact_batch_size(engine: Engine, batch_size: int) -> int:
    """Windows in a run where each vector shall be that of its window alone, to the bit: one, but for a GPU.

    On a CPU a batch gains little, and rounds in another order (3e-8); on a GPU it gains much.
    """
    return batch_size if runs_batches(engine) else 1


def is_parallel(engine: Engine) -> bool:
    """Whether `ParallelPipeline` does more with an engine than one call after the other."""
    return engine.max_concurrency > 1 or runs_batches(engine)


class ParallelPipeline:
    """Threads that read and run sounds; leaving the block ends them.

    They are daemon threads, and end at the latest when the program does, which may be before all results were taken: if
    Python stopped them inside the code of a runtime, the process would abort.
    """

    def __init__(self, engine: Engine, fused: bool, *, batch_size: int = 1) -> None:
        """Take what runs the audio tower.

        Args:
            engine: Of `batch_engine`.
            fused: Whether the tower takes `is_longer`.
            batch_size: Most windows in a call on a GPU; on the CPU each call has one.
        """
        self._engine, self._fused = engine, fused
        callers = engine.max_concurrency
        if runs_batches(engine):
            self._batch_size, readers = batch_size, min(engine.threads, _MAX_READERS)
        else:  # reading takes up to a third of the tower's time, and more of the native engine's (benchmarks/LOG.md)
            self._batch_size, readers = 1, max(min(callers, 2), callers // 3)
        self._ahead = 4 * callers * self._batch_size + 2 * readers
        self._unread: queue.SimpleQueue[tuple[Iterator[AudioFeatures], Future[list[Future[Embedding]]]]] = (
            queue.SimpleQueue()
        )
        self._views: queue.Queue[tuple[AudioFeatures, Future[Embedding]]] = queue.Queue(2 * callers * self._batch_size)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"claprt-{work.__name__.strip('_')}-{n}", daemon=True)
            for work, count in ((self._read, readers), (self._call, callers))
            for n in range(count)
        ]
        self._waiting: deque[tuple[PendingSound, Future[list[Future[Embedding]]]]] = deque()

    def __enter__(self) -> ParallelPipeline:
        _running.add(self)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop all threads after their current item."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        _running.discard(self)

    def adopt(self, waiting: Iterable[PendingSound], features: Iterator[AudioFeatures]) -> None:
        """Take over sounds that have been begun; `features` are those of the last one that are still to come."""
        sounds = list(waiting)
        for sound in sounds:
            self._add(sound, features if sound is sounds[-1] else iter(()))

    def _add(self, sound: PendingSound, views: Iterator[AudioFeatures]) -> None:
        read: Future[list[Future[Embedding]]] = Future()
        self._waiting.append((sound, read))
        self._unread.put((views, read))

    def results(self, sources: Iterator[AudioSource], read: ReadFeatures) -> Iterator[PendingSound]:
        """Finished sounds in order: first those adopted, then those of `sources`."""
        while True:
            for source in itertools.islice(sources, max(0, self._ahead - len(self._waiting))):
                sound = PendingSound()
                self._add(sound, read_counted(sound, source, read))
            if not self._waiting:
                return
            sound, sent = self._waiting.popleft()
            sound.windows.extend(future.result() for future in sent.result())
            yield sound

    def _read(self) -> None:
        """Read sounds until the block is left."""
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
        """Hand a sound's windows to the callers, as fast as they take them."""
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

    def _next_batch(self) -> list[tuple[AudioFeatures, Future[Embedding]]]:
        """What waits, up to a batch; empty after a moment without any."""
        batch: list[tuple[AudioFeatures, Future[Embedding]]] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._views.get(timeout=0.1))
            while len(batch) < self._batch_size:
                batch.append(self._views.get_nowait())
        return batch

    def _call(self) -> None:
        """Send windows through the tower until the block is left."""
        while not self._stop.is_set():
            batch = self._next_batch()
            if not batch:
                continue
            views, futures = zip(*batch, strict=True)
            try:
                vectors = list(zip(futures, self._engine.audio(*stack_features(views, self._fused)), strict=True))
            except Exception as error:  # noqa: BLE001 - raised again in the thread that takes the results
                for future in futures:
                    future.set_exception(error)
                continue
            for future, vector in vectors:
                future.set_result(vector)


_running: weakref.WeakSet[ParallelPipeline] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for side in list(_running):
        side.end()
