"""From requests of many connections to runs of the tower, without blocking the event loop.

Sounds are decoded and turned into log-mels by a few readers; one thread sends what is waiting through the audio tower. A
lone sound is run at once, on all cores. While it runs others arrive, and they are run together, side by side: the busier
the service, the larger its batches, and nobody waits for company.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.audio import AudioSource, source_name
from claprt.clip import View
from claprt.errors import ClaprtError
from claprt.many import audio_rows, pooled
from claprt.model import Clap
from claprt.results import EmbeddedSound
from claprt.serve.limits import Limits

_LARGEST_BATCH = 16
_READERS = 2
_TEXTS_KEPT = 4096


class OverloadedError(ClaprtError):
    """More requests wait than the service accepts; the same one may be answered a moment later."""


@dataclass(frozen=True, slots=True)
class _Row:
    view: View
    future: asyncio.Future[Embedding]
    loop: asyncio.AbstractEventLoop


class Batcher:
    """The service's way to a model."""

    def __init__(self, clap: Clap, limits: Limits) -> None:
        self.clap, self.limits = clap, limits
        self.waiting = 0
        """Requests that were accepted and are not answered yet."""
        self.runs = 0
        """Runs of the audio tower."""
        self.windows = 0
        """Windows that went through it."""
        self._rows: queue.SimpleQueue[_Row | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="claprt-read")
        self._texts = ThreadPoolExecutor(1, thread_name_prefix="claprt-text")
        self._kept: OrderedDict[str, Embedding] = OrderedDict()
        self._tower = threading.Thread(target=self._run, name="claprt-tower", daemon=True)
        self._tower.start()

    def prepare(self) -> None:
        """Loads what the first requests would otherwise wait for."""
        facts = self.clap.manifest.audio
        silence = np.zeros((2, facts.views, facts.frames, facts.mel.mels), np.float32)
        audio_rows(self.clap.engine, silence, np.zeros((2, 1), np.bool_) if facts.fused else None)
        self.clap.embed_text("ready")

    async def sound(self, source: AudioSource, sample_rate: int | None = None) -> EmbeddedSound:
        """One sound; see `Clap.embed_audio`.

        Raises:
            OverloadedError: too many requests wait already.
            ClaprtError: the sound cannot be embedded.
        """
        with self._accepted():
            loop = asyncio.get_running_loop()
            rows = await loop.run_in_executor(self._readers, self._read, source, sample_rate, loop)
            found = await asyncio.gather(*(row.future for row in rows), return_exceptions=True)
        vectors: list[Embedding] = []
        for vector in found:
            if isinstance(vector, BaseException):
                raise vector
            vectors.append(vector)
        windows = np.stack(vectors)
        return EmbeddedSound(
            source=source_name(source),
            vector=pooled(windows),
            windows=windows,
            starts_s=tuple(row.view.start_s for row in rows),
            fingerprint=self.clap.fingerprint,
        )

    async def texts(self, texts: Sequence[str]) -> Embeddings:
        """Vectors of texts [n, dim]; those that were asked for before are not computed again.

        Raises:
            OverloadedError: too many requests wait already.
            TextError: a text cannot be embedded.
        """
        with self._accepted():
            return await asyncio.get_running_loop().run_in_executor(self._texts, self._embedded, list(texts))

    def close(self) -> None:
        """Ends the threads, after what was accepted."""
        self._readers.shutdown()
        self._texts.shutdown()
        self._rows.put(None)
        self._tower.join()

    @contextmanager
    def _accepted(self) -> Generator[None]:
        """Counts a request for as long as it is worked on."""
        if self.waiting >= self.limits.waiting:
            raise OverloadedError(f"The service is overloaded: {self.waiting} requests wait. Ask again a little later.")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def _read(self, source: AudioSource, sample_rate: int | None, loop: asyncio.AbstractEventLoop) -> list[_Row]:
        """A sound's windows, all read before the first is run: a sound that ends in an error costs the tower nothing."""
        views = list(self.clap.views(source, sample_rate, self.limits.windows))
        rows = [_Row(view, loop.create_future(), loop) for view in views]
        for row in rows:
            self._rows.put(row)
        return rows

    def _embedded(self, texts: list[str]) -> Embeddings:
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if new:
            self._kept |= zip(new, self.clap.embed_text(new), strict=True)
        rows = np.stack([self._kept[text] for text in texts])
        while len(self._kept) > _TEXTS_KEPT:
            self._kept.popitem(last=False)
        return rows

    def _run(self) -> None:
        while (first := self._rows.get()) is not None:
            batch = [first]
            ended = False
            while len(batch) < _LARGEST_BATCH and not ended:
                try:
                    row = self._rows.get_nowait()
                except queue.Empty:
                    break
                ended = row is None
                batch += [row] if row is not None else []
            self._answer(batch)
            if ended:
                return

    def _answer(self, batch: list[_Row]) -> None:
        fused = self.clap.manifest.audio.fused
        self.runs += 1
        self.windows += len(batch)
        try:
            log_mels = np.stack([row.view.log_mels for row in batch])
            longer = np.array([[row.view.is_longer] for row in batch]) if fused else None
            vectors = audio_rows(self.clap.engine, log_mels, longer)
        except Exception as error:  # noqa: BLE001 - raised again where the sound is waited for
            for row in batch:
                row.loop.call_soon_threadsafe(_fail, row.future, error)
            return
        for row, vector in zip(batch, vectors, strict=True):
            row.loop.call_soon_threadsafe(_succeed, row.future, vector)


def _succeed(future: asyncio.Future[Embedding], vector: Embedding) -> None:
    if not future.done():  # whoever asked may have gone
        future.set_result(vector)


def _fail(future: asyncio.Future[Embedding], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
