"""A model in service: what it is asked and answers, whoever speaks with the clients, and how it begins and ends.

    starting ──▶ ready ──▶ shutting down ──▶ ended

Sockets and HTTP endpoints are thin: they take a place, ask here, and put the answer into their own words.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from claprt import __version__
from claprt.arrays import BehaviorDescriptors, Embedding, Embeddings
from claprt.errors import AudioError, OptionError
from claprt.model.clap import Clap
from claprt.serve import access
from claprt.serve.admission import Crowd, Places
from claprt.serve.errors import ShuttingDownError, log
from claprt.serve.limits import Limits, checked_count, checked_length
from claprt.serve.metrics import Metrics
from claprt.serve.scheduling.asked import Heard
from claprt.serve.scheduling.batcher import Batcher
from claprt.serve.scheduling.features import Load, Outline

_PROBE_S = 0.5
"""How long a question about readiness waits for the answer of an engine that was lost."""
_NO_PROJECTION = (
    "The model of this service has no projection. Whoever runs it puts one into the bundle (`claprt-export projection`) or "
    "names a bundle that has one (`claprt serve --projection FOLDER`)."
)
_GOODBYE_S = 5.0
"""How long WebSockets may take to be closed."""
_REFUSED_S = 2.0
"""How long it may take to say to clients that they are not answered."""


class State(StrEnum):
    """Where in its life the service is."""

    STARTING = "starting"
    READY = "ready"
    SHUTTING_DOWN = "shutting down"
    ENDED = "ended"


@dataclass(slots=True)
class Times:
    """Where the time of one request went, in milliseconds, stage by stage as they become known."""

    began: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict[str, float])

    def to_dict(self) -> dict[str, float]:
        """All stages and the total until now, rounded to microseconds."""
        found = {**self.stages, "total": 1000 * (time.perf_counter() - self.began)}
        return {stage: round(took, 3) for stage, took in found.items()}


class Service:
    """Answers questions with one model."""

    def __init__(self, clap: Clap, limits: Limits) -> None:
        self.clap, self.limits = clap, limits
        self.state = State.STARTING
        self.metrics = Metrics()
        self.places = Places(limits)
        self.batcher = Batcher(clap, limits, self.metrics.batch)
        self.conversations = Crowd()
        """Open WebSockets."""
        self.leaving = asyncio.Event()
        """Set when everything that was accepted is answered and WebSockets are to be closed."""
        self._probe: asyncio.Task[None] | None = None
        self.metrics.describe({**self.facts(), "version": __version__})
        self.metrics.watch("claprt_waiting", "Requests that are accepted and not answered.", lambda: self.places.waiting)
        self.metrics.watch("claprt_waiting_bytes", "What those requests brought.", lambda: self.places.bytes)
        self.metrics.watch("claprt_windows_waiting", "Windows that wait for the audio tower.", lambda: self.batcher.queued)
        self.metrics.count_refusals(self.places.refused)

    def facts(self) -> dict[str, str]:
        """What runs, in words."""
        clap = self.clap
        facts = {"model": clap.manifest.name, "fingerprint": clap.fingerprint}
        return {**facts, "provider": clap.provider, "precision": clap.precision}

    async def start(self) -> None:
        """Loads what the first requests would otherwise wait for."""
        if not self.batcher.prepared:
            await asyncio.to_thread(self.batcher.prepare)
        self.state = State.READY

    async def ready(self) -> str | None:
        """Why the service is not ready, or None if it is. An engine that was lost is asked again."""
        if self.state is not State.READY:
            return self.state
        lost = self.batcher.lost
        if lost is None:
            return None
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._asked_again())
        await asyncio.wait({self._probe}, timeout=_PROBE_S)
        lost = self.batcher.lost
        return None if lost is None else f"the engine failed: {lost}"

    async def _asked_again(self) -> None:
        try:
            await asyncio.to_thread(self.batcher.prepare)
        except Exception:  # noqa: BLE001 - whatever an engine raises, it is still lost
            log.warning("the engine is still lost", exc_info=True)

    async def drain(self, timeout_s: float = 30.0) -> int:
        """Accepts nothing new, answers what was accepted, then closes every WebSocket. May be called twice.

        What is not answered in time is refused. Whoever runs the server calls it before the server closes connections by
        itself.

        Returns:
            How many requests were not answered in time.
        """
        self.places.closing = True
        self.state = State.SHUTTING_DOWN if self.state is not State.ENDED else self.state
        late = 0
        try:
            await asyncio.wait_for(self.places.emptied(), timeout_s)
        except TimeoutError:
            late = self.places.waiting
            self.batcher.give_up(ShuttingDownError())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.places.emptied(), _REFUSED_S)
        self.leaving.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.conversations.gone(), _GOODBYE_S)
        return late

    async def end(self) -> None:
        """Ends the threads, after `drain`."""
        if self.state is not State.ENDED:
            self.state = State.ENDED
            await asyncio.to_thread(self.batcher.close)

    async def heard(self, load: Load, times: Times | None = None, outline: Outline | None = None) -> Heard:
        """One sound; see `Batcher.heard`."""
        heard = await self.batcher.heard(load, outline)
        run = {"tower": heard.tower_ms / 1000} if heard.batch else {}
        for noted in (self.metrics.stage, access.stage):
            noted(read=heard.read_ms / 1000, wait=heard.wait_ms / 1000, **run)
        if times is not None:
            times.stages |= {"read": heard.read_ms, "wait": heard.wait_ms, "tower": heard.tower_ms}
        return heard

    async def vectors(self, loads: Sequence[Load]) -> list[Embedding]:
        """The vectors of several sounds, in order; an error names the position of its sound.

        Raises:
            OptionError: none, or more than the limit.
            AudioError: one cannot be embedded.
        """
        checked_count(len(loads), self.limits.sounds, "sounds")
        asked = [asyncio.ensure_future(self._one_of(loads, position)) for position in range(len(loads))]
        try:
            found = await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()  # those that are still under way when one has failed
        return [vector for heard in found if (vector := heard.sound.vector) is not None]

    async def _one_of(self, loads: Sequence[Load], position: int) -> Heard:
        try:
            return await self.heard(loads[position])
        except AudioError as error:
            raise (type(error)(f"input {position}: {error}") if len(loads) > 1 else error) from error

    async def texts(self, texts: Sequence[str], times: Times | None = None, called: str = "texts") -> Embeddings:
        """Vectors of texts, [texts, dim].

        Raises:
            OptionError: none, or more than the limit.
            TextError: one is too long, or cannot be embedded.
        """
        checked_count(len(texts), self.limits.texts, called)
        checked_length(max(map(len, texts)), self.limits)
        return await self.known(texts, times)

    async def known(self, texts: Sequence[str], times: Times | None = None) -> Embeddings:
        """Vectors of texts that are not the client's or have been looked at, [texts, dim]."""
        began = time.perf_counter()
        rows = await self.batcher.texts(texts)
        took = time.perf_counter() - began
        self.metrics.stage(text=took)
        access.stage(text=took)
        if times is not None:
            times.stages["text"] = times.stages.get("text", 0.0) + 1000 * took
        return rows

    async def descriptor(self, vector: Embedding) -> BehaviorDescriptors:
        """The behaviour descriptor of an embedding.

        Raises:
            OptionError: the bundle has no projection.
        """
        return await self.batcher.aside(lambda: self.clap.project(vector))

    def check_projection(self) -> None:
        """Refuses before a sound is embedded what could not be answered after.

        Raises:
            OptionError: the model has no projection.
        """
        if not self.clap.has_projection:
            raise OptionError(_NO_PROJECTION)
