"""From requests of many connections to runs of the towers, without blocking the event loop.

Sounds are decoded and turned into log-mels by a few readers (`readers`); one thread sends what is waiting through the audio
tower, another texts through theirs (`texts`). A lone sound is run at once, on all cores. While it runs others arrive, and
they are run together, side by side: the busier the service, the larger its batches, and nobody waits for company. Batches
take windows of all clients in turn, and no more than are run in a moment, so a long sound holds up nobody. Readers pause
while many windows wait, so memory stays bounded however many requests were accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import statistics
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
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
from claprt.serve.readers import Readers, Reading
from claprt.serve.reading import Given, Load, Outline, read
from claprt.serve.texts import Texts
from claprt.serve.turns import Shares, Steps, Turn, Waiting, settle, whose

T = TypeVar("T")

_LARGEST_BATCH = 16
_RUN_S = 0.03
"""What a run of the audio tower should take where more windows wait than it can do side by side."""
_AHEAD = 64
"""Windows that may wait before readers pause; beyond them one of each client."""
_AHEAD_OF_ONE = 16
"""The same for one client."""
_CREDIT = 8.0


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
    turn: Turn
    done: Future[None] = field(default_factory=Future[None])
    name: str = ""
    key: bytes | None = None
    found: EmbeddedSound | None = None
    first: View | None = None
    starts_s: list[float] = field(default_factory=list[float])
    """Of the windows that were handed to the tower."""
    complete: bool = False
    """Whether these are all."""
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
            starts_s=tuple(self.starts_s),
            fingerprint=fingerprint,
        )

    def heard(self, sound: EmbeddedSound) -> Heard:
        wait_s = max(0.0, time.perf_counter() - self.arrived - self.read_s - self.tower_s)
        return Heard(
            sound=sound,
            first=self.first,
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
        self.prepared = False
        self._faults: dict[Stage, str] = {}
        self._on_batch = on_batch
        self._change = threading.Condition(threading.RLock())
        self._rows: Waiting[tuple[_Asked, View]] = Waiting()
        self._shares = Shares(_CREDIT)
        self._asked: set[_Asked] = set()
        self._window_s: deque[float] = deque(maxlen=8)
        self._at_once = 2
        self._ended = False
        self._readers = Readers(self._change, self._roomy)
        self._texts = Texts(_told)
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
        self._at_once = max(1, self.clap.engine.throughput().at_once)
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
        asked = _Asked(load, outline, time.perf_counter(), whose())
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
        with self._change:
            self._ended = True
            self._change.notify_all()
        self._tower.join()

    def _roomy(self, turn: Turn) -> bool:
        """Whether there is room for more windows of a client."""
        waiting = self._rows.of(turn)
        return not waiting or (waiting < _AHEAD_OF_ONE and len(self._rows) < _AHEAD)

    def _read(self, asked: _Asked, reading: Reading) -> None:
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
            with self._change:
                asked.starts_s.append(view.start_s)
                self._rows.add(asked.turn, (asked, view))
                self._change.notify_all()
        with self._change:
            asked.read_s = reading.read_s + reading.running_s
            asked.complete = True
            self._settle(asked)

    def _recalled(self, asked: _Asked, given: Given) -> bool:
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
            return self._checked((yield from self.clap.label_steps(texts)), len(texts))

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

    def _run(self) -> None:
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> list[tuple[_Asked, View]]:
        """Windows that wait, up to a batch; none once the service has ended and nothing waits."""
        with self._change:
            while True:
                self._change.wait_for(lambda: len(self._rows) or self._ended)
                batch, most, level = list[tuple[_Asked, View]](), self._most(), self._level()
                while len(batch) < most and (turn := self._shares.first(level & self._rows.turns())) is not None:
                    asked, view = self._rows.take(turn)
                    if not asked.done.done():  # whoever asked may have gone
                        self._shares.charge(turn, 1.0)
                        batch.append((asked, view))
                self._readers.changed()
                if batch or self._ended:
                    return batch

    def _level(self) -> Set[Turn]:
        """Clients whose windows are run together; one that has had much less than the others is not kept by theirs."""
        turns = self._rows.turns()
        least = min(map(self._shares.had, turns), default=0.0)
        return {turn for turn in turns if self._shares.had(turn) <= least + _CREDIT / 2}

    def _most(self) -> int:
        """Windows in a run: as many as it does side by side, more where they are done in a moment."""
        quick = int(_RUN_S / statistics.median(self._window_s)) if self._window_s else 0
        return min(_LARGEST_BATCH, max(self._at_once, quick))

    def _answer(self, batch: list[tuple[_Asked, View]]) -> None:
        began = time.perf_counter()
        sounds = dict.fromkeys(asked for asked, _ in batch)
        try:
            self._on_batch(len(batch))
            longer = np.array([[view.is_longer] for _, view in batch]) if self.clap.manifest.audio.fused else None
            log_mels = np.stack([view.log_mels for _, view in batch])
            with self._watched(Stage.AUDIO):
                vectors = self._checked(audio_rows(self.clap.engine, log_mels, longer), len(batch))
        except BaseException as error:  # noqa: BLE001 - the thread outlives it, and whoever waits is told
            told = explained(error)
            for asked in sounds:
                settle(asked.done, told)
            return
        took = time.perf_counter() - began
        self._window_s.append(took / len(batch))
        for (asked, _), vector in zip(batch, vectors, strict=True):
            asked.vectors.append(vector)
        with self._change:
            for asked in sounds:
                asked.tower_s += took
                asked.batch = max(asked.batch, len(batch))
                self._settle(asked)

    def _settle(self, asked: _Asked) -> None:
        """Ends a sound all of whose windows have been run. The caller holds the lock."""
        if asked.complete and len(asked.vectors) == len(asked.starts_s):
            settle(asked.done, None)


_TEXTS = 32
"""Texts that are looked at in one step."""


def _told(error: BaseException) -> BaseException:
    """What the event loop can be told: errors that are no `Exception` would end it."""
    return error if isinstance(error, Exception) else explained(error)
