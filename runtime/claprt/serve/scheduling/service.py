"""The service around one model: what it computes for clients, whichever protocol they use.

Protocol handlers are thin: they admit a request, call the service, and encode the reply.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from claprt._version import __version__
from claprt.arrays import BehaviorDescriptors, Embedding, Embeddings
from claprt.audio.long_audio import LongAudioPolicy
from claprt.bundle.graphs import Stage
from claprt.errors import AudioError, OptionError
from claprt.model.clap import Clap
from claprt.model.dense import EmbeddedWindows
from claprt.serve import access, tracing
from claprt.serve.errors import OtherTowerError, log
from claprt.serve.limits import check_count, check_length
from claprt.serve.scheduling.audio_input import AudioInput
from claprt.serve.scheduling.batcher import Batcher
from claprt.serve.scheduling.job import TimedEmbedding
from claprt.serve.scheduling.shared import Shared, State

_PROBE_S = 0.5
"""How long a readiness request waits for an engine that failed to answer again."""
_NO_PROJECTION = (
    "The model of this service has no projection. Whoever runs it puts one into the bundle (`claprt-export projection`) or "
    "names a bundle that has one (`claprt serve --projection FOLDER`)."
)


@dataclass(slots=True)
class Times:
    """Durations of the stages of one request, in milliseconds."""

    began: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict[str, float])

    def to_dict(self) -> dict[str, float]:
        """All stages and the total until now, rounded to microseconds."""
        times = {**self.stages, "total": 1000 * (time.perf_counter() - self.began)}
        return {stage: round(took, 3) for stage, took in times.items()}


class Service:
    """Computes for clients with one model."""

    def __init__(
        self,
        clap: Clap,
        shared: Shared,
        towers: Collection[Stage] = (Stage.AUDIO, Stage.TEXT),
        label: str = "",
    ) -> None:
        """Start the threads for a model.

        Args:
            clap: The model.
            shared: What it shares with other models of the process.
            towers: Those that are loaded and served.
            label: Its name in metrics and logs; empty where models have no names.
        """
        self.clap, self.shared, self.towers, self.label = clap, shared, frozenset(towers), label
        self.name = label or clap.manifest.name
        """Its name for clients."""
        self.limits, self.admission = shared.limits, shared.admission
        self.metrics, self.threads = shared.metrics, shared.threads
        self.batcher = Batcher(
            clap, shared.threads, shared.limits, lambda windows: self.metrics.batch(windows, label), self.towers
        )
        self._probe: asyncio.Task[None] | None = None
        self.metrics.set_build({**self.facts(), "version": __version__})
        text = "Windows that wait for the audio tower."
        self.metrics.add_gauge("claprt_windows_waiting", text, lambda: self.batcher.queued_windows, label)

    def facts(self) -> dict[str, str]:
        """Model, fingerprint, provider and precision."""
        clap = self.clap
        facts = {"model": self.name, "fingerprint": clap.fingerprint}
        return {**facts, "provider": clap.provider, "precision": clap.precision}

    async def ready(self) -> str | None:
        """Why the model is not ready, or None if it is. An engine that failed is tried again."""
        if self.shared.state is not State.READY:
            return self.shared.state
        failure = self.batcher.failure
        if failure is None:
            return None
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._try_engine())
        await asyncio.wait({self._probe}, timeout=_PROBE_S)
        failure = self.batcher.failure
        return None if failure is None else f"the engine failed: {failure}"

    async def _try_engine(self) -> None:
        try:
            await asyncio.to_thread(self.batcher.prepare)
        except Exception:  # noqa: BLE001 - whatever an engine raises, it still fails
            log.warning("the engine%s still fails", f" of {self.label}" if self.label else "", exc_info=True)

    async def drain(self, timeout_s: float = 30.0) -> int:
        """End the service for clients, with all of its models; see `Shared.drain`."""
        return await self.shared.drain(timeout_s)

    @contextmanager
    def admit(self, size: int = 0) -> Generator[None]:
        """Admit a request of `size` bytes for the model, which is answered inside the block.

        Raises:
            ClaprtError: If there are too many requests, or the service is shutting down.
        """
        access.note_model(self.label)
        with self.shared.admission.admit(size):
            yield

    async def embed(self, audio: AudioInput, times: Times | None = None) -> TimedEmbedding:
        """Embed one audio input; see `Batcher.embed`.

        Raises:
            OtherTowerError: If the service has no audio tower.
        """
        self.check_tower(Stage.AUDIO)
        embedding = await self.batcher.embed(audio)
        self._note(embedding, times)
        return embedding

    async def embed_windows(self, audio: AudioInput, policy: LongAudioPolicy, times: Times) -> EmbeddedWindows:
        """Embed the overlapping windows of one audio input; see `Batcher.embed_windows`.

        Raises:
            OtherTowerError: If the service has no audio tower.
        """
        self.check_tower(Stage.AUDIO)
        windows, embedding = await self.batcher.embed_windows(audio, policy)
        self._note(embedding, times)
        return windows

    def note(self, **seconds: float) -> None:
        """Tell metrics, access log and traces the durations of stages of a request, in seconds."""
        self.metrics.stage(self.label, **seconds)
        access.stage(**seconds)
        tracing.stage(**seconds)

    def _note(self, embedding: TimedEmbedding, times: Times | None) -> None:
        """Tell where the time of a sound went."""
        run = {"tower": embedding.tower_ms / 1000} if embedding.batch else {}
        self.note(read=embedding.read_ms / 1000, wait=embedding.wait_ms / 1000, **run)
        if times is not None:
            times.stages |= {"read": embedding.read_ms, "wait": embedding.wait_ms, "tower": embedding.tower_ms}

    async def embed_all(self, inputs: Sequence[AudioInput], called: str = "input") -> list[Embedding]:
        """Embed several audio inputs; vectors [dim] in order. An error names the position of its input, as `called` it.

        Raises:
            OptionError: If there are none, or more than the limit.
            AudioError: If one cannot be embedded.
        """
        self.check_tower(Stage.AUDIO)
        check_count(len(inputs), self.limits.sounds, "sounds")
        tasks = [asyncio.ensure_future(self._embed_one(inputs, position, called)) for position in range(len(inputs))]
        try:
            embeddings = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()  # those that are not done when one has failed
        return [vector for embedding in embeddings if (vector := embedding.sound.vector) is not None]

    async def _embed_one(self, inputs: Sequence[AudioInput], position: int, called: str) -> TimedEmbedding:
        try:
            return await self.embed(inputs[position])
        except AudioError as error:
            if len(inputs) == 1:
                raise
            raise type(error)(f"{called} {position}: {error}") from error

    async def embed_texts(self, texts: Sequence[str], times: Times | None = None, called: str = "texts") -> Embeddings:
        """Embed a client's texts, [texts, dim].

        Raises:
            OptionError: If there are none, or more than the limit.
            TextError: If one is too long, or cannot be embedded.
        """
        check_count(len(texts), self.limits.texts, called)
        check_length(max(map(len, texts)), self.limits)
        return await self.embed_cached_texts(texts, times)

    async def embed_cached_texts(self, texts: Sequence[str], times: Times | None = None) -> Embeddings:
        """Embed texts within the limits, [texts, dim]; those of earlier requests come from a cache.

        Raises:
            OtherTowerError: If the service has no text tower.
        """
        self.check_tower(Stage.TEXT)
        began = time.perf_counter()
        rows = await self.batcher.embed_texts(texts)
        took = time.perf_counter() - began
        self.note(text=took)
        if times is not None:
            times.stages["text"] = times.stages.get("text", 0.0) + 1000 * took
        return rows

    async def descriptor(self, vector: Embedding) -> BehaviorDescriptors:
        """Behaviour descriptor of an embedding: [dim] to [descriptors].

        Raises:
            OptionError: If the model has no projection.
        """
        return await self.threads.run(lambda: self.clap.project(vector))

    def check_tower(self, tower: Stage) -> None:
        """Check that the service has a tower, before anything is computed for it.

        Raises:
            OtherTowerError: If it was started with the other one only.
        """
        if tower not in self.towers:
            (only,) = self.towers
            what = "sounds" if tower is Stage.AUDIO else "texts"
            raise OtherTowerError(
                f"This service embeds no {what}: it was started with --only {only}. Ask one that has the {tower} tower."
            )

    def check_projection(self) -> None:
        """Check that the model has a projection, before audio is embedded for it.

        Raises:
            OptionError: If it has none.
        """
        if not self.clap.has_projection:
            raise OptionError(_NO_PROJECTION)
