"""Embedding the overlapping windows of one sound, each as if it were a sound of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.audio.features import SoundFacts, audio_features
from claprt.audio.long_audio import LongAudioPolicy
from claprt.audio.sound import AudioSource
from claprt.model.batching import embed_all
from claprt.model.clap import Clap
from claprt.model.parallel import exact_batch_size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedWindows:
    """Vectors of a sound's windows."""

    source: str
    """Path or description of the sound."""
    vectors: Embeddings
    """Unit vectors [windows, dim] float32."""
    starts_s: NDArray[np.float64]
    """Start of each window in seconds, [windows] float64."""
    window_s: float
    """Length of a window in seconds; of the whole sound where that is shorter."""
    duration_s: float
    """Length of the sound in seconds."""


def embed_windows(
    clap: Clap,
    source: AudioSource,
    policy: LongAudioPolicy,
    sample_rate: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> EmbeddedWindows:
    """Embed the windows of one sound. They share their spectra where they can (`claprt.audio.dense_windows`).

    Args:
        clap: The model.
        source: See `Clap.embed_audio`.
        policy: As `dense_policy` gives it.
        sample_rate: Rate of an array in Hz.
        progress: Called with the seconds of sound that were read since the last call, from any thread.

    Raises:
        AudioError: If the sound cannot be embedded.
        ClosedError: If the model was closed.
    """
    clap.check_open()
    facts = SoundFacts()
    read = partial(
        audio_features,
        config=clap.manifest.audio,
        preprocessing=clap.recipe,
        policy=policy,
        sample_rate=sample_rate,
        progress=progress,
        facts=facts,
    )
    (sound,) = embed_all(
        [source],
        read,
        clap.engine,
        batch_size=exact_batch_size(clap.engine, clap.batch_size),
        fused=clap.manifest.audio.fused,
        fingerprint=clap.fingerprint,
        dim=clap.dim,
    )
    if sound.error is not None:
        raise sound.error
    duration = facts.samples / facts.rate
    window = clap.manifest.audio.window_s if policy.window_s is None else policy.window_s
    return EmbeddedWindows(
        source=sound.source,
        vectors=sound.windows,
        starts_s=np.array(sound.starts_s, np.float64),
        window_s=min(window, duration),
        duration_s=duration,
    )
