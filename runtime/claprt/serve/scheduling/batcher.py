"""From requests of many connections to runs of the towers, without blocking the event loop.

Sounds are decoded and turned into log-mels by a few readers (`readers`); one thread sends what is waiting through the audio
tower (`tower`), another texts through theirs (`texts`). A lone sound is run at once, on all cores. While it runs others
arrive, and they are run together, side by side: the busier the service, the larger its batches, and nobody waits for
company. Batches take windows of all clients in turn, and no more than are run in a moment, so a long sound holds up nobody.
Readers pause while many windows wait, so memory stays bounded however many requests were accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from claprt.arrays import Embeddings
from claprt.audio.features import AudioFeatures
from claprt.audio.sound import AudioSource, source_name
from claprt.bundle.graphs import Stage
from claprt.errors import ClaprtError, ProviderError
from claprt.model.batching import audio_rows
from claprt.model.clap import Clap
from claprt.model.results import EmbeddedSound
from claprt.serve.errors import explained
from claprt.serve.limits import Limits
from claprt.serve.scheduling.asked import Asked, Heard
from claprt.serve.scheduling.features import Given, Load, Outline, read
from claprt.serve.scheduling.readers import GivenUp, Readers, Reading
from claprt.serve.scheduling.texts import Texts
from claprt.serve.scheduling.tower import AudioTower
from claprt.serve.scheduling.turns import FairLock, Steps, settle, whose
from claprt.text.tokenizer import Pace

T = TypeVar("T")

_ON_CPU = ("cpu", "openvino")
"""Providers whose runs use the cores of this machine: one at a time, or each would take longer than both in turn."""
_TEXT_RUN_S = 0.015
"""What a run of the text tower should take, since a sound of another client may wait for it."""


class Batcher:
    """The service's way to a model."""

    def __init__(self, clap: Clap, limits: Limits, on_batch: Callable[[int], None] = lambda _: None) -> None:
        """`on_batch` is called with the number of windows of every run of the audio tower, in its thread."""
        self.clap, self.limits = clap, limits
        self.prepared = False
        self._faults: dict[Stage, str] = {}
        self._on_batch = on_batch
        self._change = threading.Condition(threading.RLock())
        self._asked: set[Asked] = set()
        on_cpu = clap.provider in _ON_CPU
        cores = FairLock() if on_cpu else contextlib.nullcontext()
        self._tower = AudioTower(self._change, self._vectors, cores)
        self._readers = Readers(self._change, self._tower.is_roomy)
        self._texts = Texts(_told, cores)
        self._pace = Pace(_TEXT_RUN_S) if on_cpu else None
        self._aside = ThreadPoolExecutor(2, thread_name_prefix="claprt-aside")
        self._tower.start(self._readers.changed)

    @property
    def lost(self) -> str | None:
        """Why the last run of a tower failed, if it was the engine's fault; None once one has succeeded."""
        return next(iter(self._faults.values()), None)

    @property
    def queued(self) -> int:
        """Windows that wait for the audio tower."""
        return self._tower.waiting

    def prepare(self) -> None:
        """Loads what the first requests would otherwise wait for; also finds out whether a lost engine is back.

        Raises:
            ClaprtError: the engine fails.
        """
        facts = self.clap.manifest.audio
        noise = np.random.default_rng(0).normal(-30, 15, (2, facts.views, facts.frames, facts.mel.mels))  # in dB
        self._checked(
            audio_rows(self.clap.engine, noise.astype(np.float32), np.zeros((2, 1), np.bool_) if facts.fused else None), 2
        )
        self._checked(self.clap.embed_text(["ready"]), 1)
        self._tower.at_once = max(1, self.clap.engine.throughput().at_once)
        self._faults.clear()
        self.prepared = True

    async def sound(self, source: AudioSource, sample_rate: int | None = None) -> EmbeddedSound:
        """One sound; see `Clap.embed_audio`.

        Raises:
            ClaprtError: the sound cannot be embedded.
        """
        return (await self.heard(lambda: Given(source, sample_rate))).sound

    async def heard(self, load: Load, outline: Outline | None = None) -> Heard:
        """One sound that a reader gets out of a message first, with its times.

        A caller that is cancelled leaves: what is being done for it is given up, within a few hundredths of a second.

        Raises:
            ClaprtError: the sound cannot be embedded.
        """
        asked = Asked(load, outline, time.perf_counter(), whose())
        self._asked.add(asked)
        self._readers.add(
            Reading(
                turn=asked.turn,
                work=lambda reading: self._read(asked, reading),
                gone=asked.done.done,
                failed=lambda error: settle(asked.done, _told(error)),
            )
        )
        try:
            await asyncio.wrap_future(asked.done)
        finally:
            self._asked.discard(asked)
            asked.load = _let_go  # an error keeps the functions that it went through, and with them the message
            if asked.done.cancel() or asked.done.cancelled():
                with self._change:
                    self._readers.changed()  # it may be paused
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
        return await self._in_steps(self._embedded(list(texts)))

    async def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens texts are made of, as the model hears them."""
        return await self._in_steps(self._counted(list(texts)))

    def _in_steps(self, steps: Steps[T]) -> Awaitable[T]:
        return asyncio.wrap_future(self._texts.add(whose(), steps))

    async def aside(self, work: Callable[[], T]) -> T:
        """The result of a small piece of work that would hold up the event loop all the same."""

        def done() -> T:
            try:
                return work()
            except Exception:
                raise
            except BaseException as error:  # the event loop would end with it
                raise _told(error) from error

        return await asyncio.get_running_loop().run_in_executor(self._aside, done)

    def give_up(self, error: ClaprtError) -> None:
        """Answers whatever has not been answered with an error, and does no more for it."""
        for asked in list(self._asked):
            settle(asked.done, error)
        self._texts.give_up(error)
        with self._change:
            self._readers.changed()

    def close(self) -> None:
        """Ends the threads, after all that was asked for. Nothing may be asked for from here on."""
        self._aside.shutdown()
        self._readers.close()  # a sound that is being read still brings its windows to the tower
        self._texts.close()
        self._tower.close()

    def _read(self, asked: Asked, reading: Reading) -> None:
        """A sound's windows, handed to the tower one by one. Begun again, it hands over those that are missing."""
        given = asked.load()
        asked.name = source_name(given.source)
        if asked.outline is None and self._recalled(asked, given):
            asked.read_s = reading.read_s + reading.running_s
            settle(asked.done, None)
            return
        windows = read(self.clap, given, self.limits, asked.outline, lambda: self._readers.pause(reading))
        for number, view in enumerate(windows):
            if number < len(asked.starts_s):
                continue
            self._readers.pause(reading, brings=True)
            asked.first = asked.first or view
            self._tower.add(asked, view)
        with self._change:
            asked.read_s = reading.read_s + reading.running_s
            asked.complete = True
            asked.settle()

    def _vectors(self, windows: Sequence[AudioFeatures]) -> Embeddings:
        """Vectors of some windows, [windows, dim]."""
        self._on_batch(len(windows))
        longer = np.array([[view.is_longer] for view in windows]) if self.clap.manifest.audio.fused else None
        log_mels = np.stack([view.log_mels for view in windows])
        with self._watched(Stage.AUDIO):
            return self._checked(audio_rows(self.clap.engine, log_mels, longer), len(windows))

    def _recalled(self, asked: Asked, given: Given) -> bool:
        """Whether the sound is in the model's cache, if it has one."""
        if self.clap.cache is None:
            return False
        recall, source = self.clap.recall, given.source
        content = source.getvalue() if isinstance(source, io.BytesIO) else source
        asked.key = recall.key(content, given.sample_rate, self.clap.sample_rate)
        asked.found = None if asked.key is None else recall.sound(asked.key, source)
        return asked.found is not None

    def _embedded(self, texts: list[str]) -> Steps[Embeddings]:
        with self._watched(Stage.TEXT):
            return self._checked((yield from self.clap.label_steps(texts, self._pace)), len(texts))

    def _counted(self, texts: list[str]) -> Steps[int]:
        tokens = 0
        for start in range(0, len(texts), _TEXTS):
            tokens += sum(map(len, self.clap.tokenizer.encode(texts[start : start + _TEXTS])))
            yield
        return tokens

    @contextlib.contextmanager
    def _watched(self, tower: Stage) -> Generator[None]:
        """Remembers a failure that was the engine's fault rather than the input's."""
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            if isinstance(error, ProviderError) or not isinstance(error, ClaprtError):
                self._faults[tower] = str(error) or type(error).__name__
            raise
        self._faults.pop(tower, None)

    def _checked(self, vectors: Embeddings, count: int) -> Embeddings:
        """Refuses to hand on what is no vector, whoever made it."""
        if vectors.shape != (count, self.clap.dim) or not np.isfinite(vectors).all():
            raise ProviderError("The engine gave vectors that are not finite numbers, or not as many as they should be.")
        return vectors


_TEXTS = 32
"""Texts that are looked at in one step."""


def _let_go() -> Given:
    """In place of what holds a message: nobody waits for its sound any longer."""
    raise GivenUp


def _told(error: BaseException) -> BaseException:
    """What the event loop can be told: errors that are no `Exception` would end it."""
    return error if isinstance(error, Exception) else explained(error)
