"""Embedding any number of sounds, in order, with bounded memory.

The first windows go through the audio tower in batches, one after the other, with all threads working on each. If there are
many, the rest is done in parallel (`claprt.model.parallel`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from claprt.arrays import Embeddings, IsLonger, LogMels
from claprt.audio.features import AudioFeatures
from claprt.audio.sound import AudioSource
from claprt.engines.engine import Engine
from claprt.errors import ArrayError
from claprt.model.parallel import ParallelPipeline, PendingSound, ReadFeatures, is_parallel, read_counted, stack_features
from claprt.model.results import EmbeddedSound

PARALLEL_AFTER = 32
"""Windows after which the rest is done in parallel: loading the second session for it has paid off by then."""


def embed_all(
    sources: Iterable[AudioSource],
    read: ReadFeatures,
    engine: Engine,
    *,
    batch_size: int,
    fused: bool,
    fingerprint: str,
    dim: int,
    read_alone: ReadFeatures | None = None,
) -> Iterator[EmbeddedSound]:
    """Embed all sources and yield their results in order.

    Args:
        sources: Taken one after the other, in the thread that takes the results.
        read: Inputs of the audio tower for a source; raises `AudioError`.
        engine: Runs the audio tower.
        batch_size: Windows that go through it together.
        fused: Whether the tower takes `is_longer`.
        fingerprint: Of the results.
        dim: Length of a vector.
        read_alone: The same as `read`, for sounds beside which nothing else runs, so that all threads may be used.
    """
    remaining = iter(sources)
    waiting: deque[PendingSound] = deque()
    batch: list[tuple[PendingSound, AudioFeatures]] = []
    run = 0
    for source in remaining:
        sound = PendingSound()
        waiting.append(sound)
        features = read_counted(sound, source, read_alone or read)
        for window in features:
            batch.append((sound, window))
            if len(batch) == batch_size:
                run += _run(engine, batch, fused)
                batch = []
                if run >= PARALLEL_AFTER and is_parallel(parallel := engine.batch_engine()):
                    with ParallelPipeline(parallel, fused, batch_size=batch_size) as pipeline:
                        pipeline.adopt(waiting, features)
                        for done in pipeline.results(remaining, read):
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


def _run(engine: Engine, batch: Sequence[tuple[PendingSound, AudioFeatures]], fused: bool) -> int:
    """Send a batch through the tower and return its size."""
    if not batch:
        return 0
    vectors = engine.audio(*stack_features([window for _, window in batch], fused))
    for (sound, _), vector in zip(batch, vectors, strict=True):
        sound.windows.append(vector)
        sound.expected -= 1
    return len(batch)


def run_audio_batch(engine: Engine, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
    """Unit vectors [batch, dim] float32 of log-mels: one runs on all cores, several in parallel if the engine can.

    Args:
        engine: Runs the audio tower.
        log_mels: [batch, views, frames, mels] float32.
        is_longer: [batch, 1] bool for fused bundles, else None.

    Raises:
        ArrayError: If a log-mel holds NaN or infinity; its vector would look like any other.
    """
    if not np.isfinite(log_mels).all():
        raise ArrayError("log_mels has values that are not finite numbers.")
    if len(log_mels) > 1:
        engine = engine.batch_engine()
    if engine.max_concurrency == 1:
        return engine.audio(log_mels, is_longer)

    def one(row: int) -> Embeddings:
        return engine.audio(log_mels[row : row + 1], None if is_longer is None else is_longer[row : row + 1])

    with ThreadPoolExecutor(engine.max_concurrency) as pool:
        return np.concatenate(list(pool.map(one, range(len(log_mels)))))
