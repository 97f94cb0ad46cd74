"""From requests of many connections to runs of the towers, without blocking the event loop.

Sounds are decoded and turned into log-mels by a few readers; one thread sends what is waiting through the audio tower. A
lone sound is run at once, on all cores. While it runs others arrive, and they are run together, side by side: the busier
the service, the larger its batches, and nobody waits for company. Readers pause while many windows wait, so memory stays
bounded however many requests were accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.audio import AudioSource, source_name
from claprt.clip import View
from claprt.errors import ClaprtError, ProviderError
from claprt.graphs import Stage
from claprt.many import audio_rows, pooled
from claprt.model import Clap
from claprt.results import EmbeddedSound
from claprt.serve.faults import explained
from claprt.serve.limits import Limits
from claprt.serve.reading import Given, Load, Outline, read

T = TypeVar("T")

_LARGEST_BATCH = 16
_AHEAD = 64
"""Windows that may wait before readers pause."""
_READERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A sound's vector and where its time went; the three times are all of it."""

    sound: EmbeddedSound
    first: View | None
    """The first window; None where the vector was in the model's cache, and nothing was run."""
    read_ms: float
    """Decoding, resampling and the log-mel; or looking into the cache."""
    wait_ms: float
    """For a reader, and for the tower."""
    tower_ms: float
    """Runs of the audio tower that its windows were in."""
    batch: int
    """Windows in the largest of those runs, those of other sounds included."""


@dataclass(slots=True, eq=False)
class _Asked:
    """A sound on its way. `done` is set by the tower, or cancelled by whoever does not wait any longer."""

    load: Load
    outline: Outline | None
    arrived: float
    done: Future[None] = field(default_factory=Future[None])
    name: str = ""
    key: bytes | None = None
    found: EmbeddedSound | None = None
    views: list[View] = field(default_factory=list[View])
    vectors: list[Embedding] = field(default_factory=list[Embedding])
    read_s: float = 0.0
    tower_s: float = 0.0
    batch: int = 0

    def sound(self, fingerprint: str) -> EmbeddedSound:
        windows = np.stack(self.vectors)
        return EmbeddedSound(
            source=self.name,
            vector=pooled(windows),
            windows=windows,
            starts_s=tuple(view.start_s for view in self.views),
            fingerprint=fingerprint,
        )

    def heard(self, sound: EmbeddedSound) -> Heard:
        wait_s = max(0.0, time.perf_counter() - self.arrived - self.read_s - self.tower_s)
        return Heard(
            sound=sound,
            first=self.views[0] if self.views else None,
            read_ms=1000 * self.read_s,
            wait_ms=1000 * wait_s,
            tower_ms=1000 * self.tower_s,
            batch=self.batch,
        )


class Batcher:
    """The service's way to a model."""

    def __init__(self, clap: Clap, limits: Limits, on_batch: Callable[[int], None] = lambda _: None) -> None:
        """`on_batch` is called with the number of windows of every run of the audio tower, in its thread."""
        self.clap, self.limits = clap, limits
        self._faults: dict[Stage, str] = {}
        self._on_batch = on_batch
        self._rows: deque[tuple[_Asked, View]] = deque()
        self._change = threading.Condition()
        self._ended = False
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="claprt-read")
        self._texts = ThreadPoolExecutor(1, thread_name_prefix="claprt-text")
        self._aside = ThreadPoolExecutor(2, thread_name_prefix="claprt-aside")
        self._tower = threading.Thread(target=self._run, name="claprt-tower", daemon=True)
        self._tower.start()

    @property
    def lost(self) -> str | None:
        """Why the last run of a tower failed, if it was the engine's fault; None once one has succeeded."""
        return next(iter(self._faults.values()), None)

    @property
    def queued(self) -> int:
        """Windows that wait for the audio tower."""
        return len(self._rows)

    def prepare(self) -> None:
        """Loads what the first requests would otherwise wait for; also finds out whether a lost engine is back."""
        facts = self.clap.manifest.audio
        noise = np.random.default_rng(0).normal(-30, 15, (2, facts.views, facts.frames, facts.mel.mels))  # in dB
        audio_rows(self.clap.engine, noise.astype(np.float32), np.zeros((2, 1), np.bool_) if facts.fused else None)
        self.clap.embed_text("ready")
        self._faults.clear()

    async def sound(self, source: AudioSource, sample_rate: int | None = None) -> EmbeddedSound:
        """One sound; see `Clap.embed_audio`.

        Raises:
            ClaprtError: the sound cannot be embedded.
        """
        return (await self.heard(lambda: Given(source, sample_rate))).sound

    async def heard(self, load: Load, outline: Outline | None = None) -> Heard:
        """One sound that a reader gets out of a message first, with its times.

        A caller that is cancelled leaves: what has not been begun for it is not done.

        Raises:
            ClaprtError: the sound cannot be embedded.
        """
        asked = _Asked(load, outline, time.perf_counter())
        try:
            await asyncio.get_running_loop().run_in_executor(self._readers, self._read, asked)
            await asyncio.wrap_future(asked.done)
        finally:
            asked.done.cancel()
        sound = asked.found or asked.sound(self.clap.fingerprint)
        if asked.found is None and (key := asked.key) is not None:
            with contextlib.suppress(RuntimeError):  # it is ending
                self._aside.submit(lambda: self.clap.recall.keep(key, sound))
        return asked.heard(sound)

    async def texts(self, texts: Sequence[str]) -> Embeddings:
        """Vectors of texts [texts, dim]; those that were asked for before are not computed again.

        Raises:
            TextError: a text cannot be embedded.
        """
        return await asyncio.get_running_loop().run_in_executor(self._texts, self._embedded, list(texts))

    async def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens texts are made of, as the model hears them."""

        def counted() -> int:
            return sum(map(len, self.clap.tokenizer.encode(list(texts))))

        return await asyncio.get_running_loop().run_in_executor(self._texts, counted)

    async def aside(self, work: Callable[[], T]) -> T:
        """The result of a small piece of work that would hold up the event loop all the same."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work)

    def close(self) -> None:
        """Ends the threads, after all that was asked for. Nothing may be asked for from here on."""
        for pool in (self._aside, self._readers, self._texts):
            pool.shutdown()  # a sound that is being read still brings its windows to the tower
        with self._change:
            self._ended = True
            self._change.notify_all()
        self._tower.join()

    def _read(self, asked: _Asked) -> None:
        """A sound's windows, all read before the first is run: a sound that ends in an error costs the tower nothing."""
        with self._change:
            self._change.wait_for(lambda: len(self._rows) < _AHEAD or asked.done.cancelled())
        began = time.perf_counter()
        given = asked.load()
        asked.name = source_name(given.source)
        if asked.outline is None and self._recalled(asked, given):
            asked.read_s = time.perf_counter() - began
            with contextlib.suppress(InvalidStateError):
                asked.done.set_result(None)
            return
        for view in read(self.clap, given, self.limits, asked.outline):
            if asked.done.cancelled():
                return
            asked.views.append(view)
        asked.read_s = time.perf_counter() - began
        with self._change:
            self._rows.extend((asked, view) for view in asked.views)
            self._change.notify_all()

    def _recalled(self, asked: _Asked, given: Given) -> bool:
        """Whether the sound is in the model's cache, if it has one."""
        if self.clap.cache is None:
            return False
        recall, source = self.clap.recall, given.source
        content = source.getvalue() if isinstance(source, io.BytesIO) else source
        asked.key = recall.key(content, given.sample_rate, self.clap.sample_rate)
        asked.found = None if asked.key is None else recall.sound(asked.key, source)
        return asked.found is not None

    def _embedded(self, texts: list[str]) -> Embeddings:
        with self._watched(Stage.TEXT):
            return self.clap.embed_labels(texts)

    @contextlib.contextmanager
    def _watched(self, tower: Stage) -> Generator[None]:
        """Remembers a failure that was the engine's fault rather than the input's."""
        try:
            yield
        except Exception as error:
            if isinstance(error, ProviderError) or not isinstance(error, ClaprtError):
                self._faults[tower] = str(error) or type(error).__name__
            raise
        self._faults.pop(tower, None)

    def _run(self) -> None:
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> list[tuple[_Asked, View]]:
        """Windows that wait, up to a batch; none once the service has ended and nothing waits."""
        with self._change:
            while True:
                self._change.wait_for(lambda: self._rows or self._ended)
                batch: list[tuple[_Asked, View]] = []
                while self._rows and len(batch) < _LARGEST_BATCH:
                    asked, view = self._rows.popleft()
                    if not asked.done.done():  # whoever asked may have gone
                        batch.append((asked, view))
                self._change.notify_all()
                if batch or self._ended:
                    return batch

    def _answer(self, batch: list[tuple[_Asked, View]]) -> None:
        began = time.perf_counter()
        try:
            self._on_batch(len(batch))
            longer = np.array([[view.is_longer] for _, view in batch]) if self.clap.manifest.audio.fused else None
            with self._watched(Stage.AUDIO):
                vectors = audio_rows(self.clap.engine, np.stack([view.log_mels for _, view in batch]), longer)
        except Exception as error:  # noqa: BLE001 - raised again where the sounds are waited for
            told = explained(error)
            for asked in dict.fromkeys(asked for asked, _ in batch):
                with contextlib.suppress(InvalidStateError):
                    asked.done.set_exception(told)
            return
        took = time.perf_counter() - began
        for (asked, _), vector in zip(batch, vectors, strict=True):
            asked.vectors.append(vector)
        for asked in dict.fromkeys(asked for asked, _ in batch):
            asked.tower_s += took
            asked.batch = max(asked.batch, len(batch))
            if len(asked.vectors) == len(asked.views):
                with contextlib.suppress(InvalidStateError):
                    asked.done.set_result(None)
