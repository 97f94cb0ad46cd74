"""Dynamic batching without a delay: a request runs at once, and requests that arrive meanwhile form the next batch.

The busier the service, the larger its batches. Batches take windows of all clients in turn and stay short, so a long file
delays nobody; readers pause while many windows wait, so memory is bounded by the number of accepted requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.audio.features import AudioFeatures
from claprt.audio.long_audio import LongAudioPolicy
from claprt.audio.sound import source_name
from claprt.bundle.graphs import Stage
from claprt.engines.providers import ON_CPU
from claprt.model.batching import run_audio_batch
from claprt.model.clap import Clap
from claprt.model.dense import EmbeddedWindows
from claprt.serve.errors import as_exception
from claprt.serve.limits import Limits
from claprt.serve.scheduling.audio_input import AudioInput, decode
from claprt.serve.scheduling.audio_tower import AudioTower
from claprt.serve.scheduling.failures import TowerFailures, check_vectors
from claprt.serve.scheduling.fair_queue import Client, Steps, current_client, settle
from claprt.serve.scheduling.fair_thread import FairThread
from claprt.serve.scheduling.features import extract, open_limited
from claprt.serve.scheduling.job import AudioJob, TimedEmbedding
from claprt.serve.scheduling.readers import Cancelled, ReadTask
from claprt.serve.scheduling.threads import Threads
from claprt.text.tokenizer import Pace

T = TypeVar("T")
_TEXT_RUN_S = 0.007
"""Target duration of a run of the text tower, for which audio of another client may wait."""
_TEXTS_PER_STEP = 32
"""Texts that are tokenized in one step."""


class Batcher:
    """Runs one model for many concurrent requests, without blocking the event loop."""

    def __init__(
        self,
        clap: Clap,
        threads: Threads,
        limits: Limits,
        on_batch: Callable[[int], None] = lambda _: None,
        towers: Collection[Stage] = (Stage.AUDIO, Stage.TEXT),
    ) -> None:
        """Start the threads of the towers.

        Args:
            clap: The model.
            threads: Those that other models use too.
            limits: Limits of the service.
            on_batch: Called with the number of windows of every run of the audio tower, in its thread.
            towers: Those that `prepare` loads.
        """
        self.clap, self.limits, self._towers = clap, limits, towers
        self.prepared = False
        self._failures = TowerFailures()
        self._on_batch = on_batch
        self.threads, self._change, self._readers = threads, threads.change, threads.readers
        self.last_use = time.monotonic()
        """When the last result was had."""
        self._in_use = 0
        on_cpu = clap.provider in ON_CPU  # runs take turns with reading: both use all cores
        cores = threads.cores if on_cpu else contextlib.nullcontext()
        self._tower = AudioTower(self._change, self._run_windows, cores)
        if on_cpu:
            threads.on_cores.append(self._tower)
        self._text_tower = FairThread("claprt-text", cores)
        self._pace = Pace(_TEXT_RUN_S) if on_cpu else None
        self._tower.start(self._readers.reschedule)

    @property
    def in_use(self) -> bool:
        """Whether a request waits for a result."""
        return self._in_use > 0

    @property
    def failure(self) -> str | None:
        """Why the last run of a tower failed, if the engine was the reason; None after a run that succeeded."""
        return self._failures.first

    @property
    def queued_windows(self) -> int:
        """Windows that wait for the audio tower."""
        return self._tower.queued

    def prepare(self) -> None:
        """Load and run the towers, so that the first requests are fast; clears `failure` if they work.

        Raises:
            ClaprtError: If the engine fails.
        """
        if Stage.AUDIO in self._towers:
            self._prepare_audio()
        if Stage.TEXT in self._towers:
            check_vectors(self.clap.embed_text(["ready"]), 1, self.clap.dim)
        self._failures.clear()
        self.prepared = True

    def _prepare_audio(self) -> None:
        facts = self.clap.manifest.audio
        noise = np.random.default_rng(0).normal(-30, 15, (2, facts.views, facts.frames, facts.mel.mels))  # in dB
        longer = np.zeros((2, 1), np.bool_) if facts.fused else None
        check_vectors(run_audio_batch(self.clap.engine, noise.astype(np.float32), longer), 2, self.clap.dim)
        self._tower.concurrency = max(1, self.clap.engine.batch_engine().max_concurrency)

    async def embed(self, audio: AudioInput) -> TimedEmbedding:
        """Embed one audio input.

        If the caller is cancelled, work on it stops within a few hundredths of a second.

        Raises:
            ClaprtError: If it cannot be embedded.
        """
        job = AudioJob(audio, current_client())
        try:
            await self._read(job.client, job.done, lambda task: self._read_audio(job, task))
        finally:
            job.audio = None
        embedding = job.timed(self.clap.fingerprint)
        if job.cached is None and (key := job.key) is not None:
            with contextlib.suppress(RuntimeError):  # the pool is shut down
                self.threads.pool.submit(lambda: self.clap.embedding_cache.store(key, embedding.sound))
        return embedding

    async def embed_windows(self, audio: AudioInput, policy: LongAudioPolicy) -> tuple[EmbeddedWindows, TimedEmbedding]:
        """Embed the overlapping windows of one audio input, for a timeline; never from the cache. Gives the times too.

        Raises:
            ClaprtError: If it cannot be embedded.
        """
        job = AudioJob(audio, current_client(), policy=policy)
        try:
            await self._read(job.client, job.done, lambda task: self._read_audio(job, task))
        finally:
            job.audio = None
        windows = job.windows(policy.window_s or self.clap.manifest.audio.window_s)
        return windows, job.timed(self.clap.fingerprint)

    async def embed_features(self, steps: Iterator[AudioFeatures | None]) -> list[tuple[float, Embedding]]:
        """Embed the windows of a block; the start in seconds and the vector [dim] of each.

        Args:
            steps: Computes the windows in a reader thread, in turn with the audio of other clients; None from steps of a
                few milliseconds that complete none. It is not begun again: what it raises ends the work.

        Raises:
            ClaprtError: If they cannot be computed or embedded.
        """
        job = AudioJob(None, current_client())

        def read(task: ReadTask) -> None:
            for view in steps:
                if view is not None:
                    self._tower.add(job, view)
                self._readers.pause(task, has_window=True)  # outside of `steps`, which a later attempt goes on with
            with self._change:
                job.complete = True
                job.settle()

        await self._read(job.client, job.done, read)
        return list(zip(job.starts_s, job.vectors, strict=True))

    async def read(self, work: Callable[[Callable[[], None]], T]) -> T:
        """Run work on audio in a reader thread, in turn with that of other clients.

        Args:
            work: Called with a function that it has to call every few milliseconds; may be called again from the beginning.

        Raises:
            ClaprtError: If it cannot be done.
        """
        done: Future[T] = Future()
        return await self._read(current_client(), done, lambda task: settle(done, work(lambda: self._readers.pause(task))))

    async def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts, [texts, dim]; texts of earlier requests come from a cache.

        Raises:
            TextError: If a text cannot be embedded.
        """
        return await self._run_steps(self._embed_in_steps(list(texts)))

    async def count_tokens(self, texts: Sequence[str]) -> int:
        """Count the tokens of texts."""
        return await self._run_steps(self._count_in_steps(list(texts)))

    def renew_threads(self) -> None:
        """Replace the threads that run the towers, which gives back what runtimes keep for each."""
        self._text_tower.renew()
        self._tower.renew()

    def close(self) -> None:
        """Finish all work, then end the threads, those of other models too. Nothing may be submitted from here on."""
        self.threads.close()  # audio that is being read still brings its windows to the tower
        self._text_tower.close()
        self._tower.close()

    async def _read(self, client: Client, done: Future[T], work: Callable[[ReadTask], None]) -> T:
        """Run `work` in a reader thread; the result of `done`, which the work sets at once or later."""
        self._readers.add(
            ReadTask(
                client=client,
                work=work,
                is_cancelled=done.done,
                on_error=lambda error: settle(done, as_exception(error)),
                has_room=lambda: self._tower.has_room(client),
                model=self,
            )
        )
        try:
            return await self._result(done)
        finally:
            if done.cancelled():
                with self._change:
                    self._readers.reschedule()  # it may be paused

    async def _run_steps(self, steps: Steps[T]) -> T:
        return await self._result(self._text_tower.add(current_client(), steps))

    async def _result(self, done: Future[T]) -> T:
        self.threads.unfinished.add(done)
        self._in_use += 1
        try:
            return await asyncio.wrap_future(done)
        finally:
            done.cancel()
            self.threads.unfinished.discard(done)
            self._in_use -= 1
            self.last_use = time.monotonic()

    def _read_audio(self, job: AudioJob, task: ReadTask) -> None:
        """Hand the windows of a job to the tower, one by one. Started again, it continues after those handed over.

        Raises:
            Cancelled: If the job has ended.
        """
        if job.audio is None:
            raise Cancelled
        audio = decode(job.audio)
        job.name = source_name(audio.content)
        if job.policy is None and self._find_cached(job, audio):
            job.read_s = task.read_s + task.running_s
            settle(job.done, None)
            return
        sound = open_limited(self.clap, audio, self.limits, lambda: self._readers.pause(task), job.policy)
        if job.policy is not None:
            sound = replace(sound, blocks=job.note_duration(sound))
        for number, view in enumerate(extract(self.clap, sound, self.limits, job.policy)):
            if number < len(job.starts_s):
                continue
            self._readers.pause(task, has_window=True)
            self._tower.add(job, view)
        with self._change:
            job.read_s = task.read_s + task.running_s
            job.complete = True
            job.settle()

    def _run_windows(self, windows: Sequence[AudioFeatures]) -> Embeddings:
        """Vectors of windows, [windows, dim]."""
        self._on_batch(len(windows))
        longer = np.array([[view.is_longer] for view in windows]) if self.clap.manifest.audio.fused else None
        log_mels = np.stack([view.log_mels for view in windows])
        with self._failures.noted(Stage.AUDIO):
            return check_vectors(run_audio_batch(self.clap.engine, log_mels, longer), len(windows), self.clap.dim)

    def _find_cached(self, job: AudioJob, audio: AudioInput) -> bool:
        """Whether the audio is in the model's cache, if it has one."""
        if self.clap.cache is None:
            return False
        cache, source = self.clap.embedding_cache, audio.content
        content = source.getvalue() if isinstance(source, io.BytesIO) else source
        job.key = cache.key(content, audio.sample_rate, self.clap.sample_rate)
        job.cached = None if job.key is None else cache.find(job.key, source)
        return job.cached is not None

    def _embed_in_steps(self, texts: list[str]) -> Steps[Embeddings]:
        with self._failures.noted(Stage.TEXT):
            return check_vectors((yield from self.clap.label_steps(texts, self._pace)), len(texts), self.clap.dim)

    def _count_in_steps(self, texts: list[str]) -> Steps[int]:
        tokens = 0
        for start in range(0, len(texts), _TEXTS_PER_STEP):
            tokens += sum(map(len, self.clap.tokenizer.encode(texts[start : start + _TEXTS_PER_STEP])))
            yield
        return tokens
