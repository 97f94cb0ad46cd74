"""Vectors of sounds under a protocol, the same to the last bit whatever the batches of the model."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from typing import Any, cast

from claprt.audio.features import AudioFeatures
from claprt.audio.sound import AudioSource, source_name
from claprt.bundle.fingerprint import fingerprint_of
from claprt.engines.providers import ON_CPU
from claprt.evaluation.scores.protocols.preparing import Prepared, features, prepared
from claprt.evaluation.scores.protocols.table import Protocol
from claprt.evaluation.scores.provenance import Provenance, provenance_of
from claprt.model.batching import embed_all
from claprt.model.clap import Clap
from claprt.model.results import EmbeddedSound

_BATCH = 8


def sound_name(source: AudioSource, number: int) -> str:
    """What a sound is called in results: its path, or the number under which it was given."""
    return source_name(source) if isinstance(source, str | os.PathLike) else f"sound {number}"


def in_fixed_batches(clap: Clap) -> Clap:
    """The model with a batch size of its own: one window at a time on a CPU, whose kernels round each batch size otherwise.

    A CPU runs many windows side by side in any case (`claprt.model.parallel`).
    """
    twin = copy.copy(clap)
    twin.batch_size = 1 if clap.provider in ON_CPU else _BATCH
    return twin


def provenance_under(clap: Clap, protocol: Protocol, seed: int) -> Provenance:
    """What computes scores under a protocol, with the fingerprint of its vectors."""
    if protocol.is_default:
        return provenance_of(clap)
    windows = protocol.windows(seed, fused=clap.manifest.audio.fused)
    return provenance_of(
        clap,
        protocol=protocol.name,
        windows=windows,
        fingerprint=fingerprint_of(clap.manifest, protocol.name, windows, clap.precision),
    )


def embed_sounds(clap: Clap, sources: Iterable[AudioSource], protocol: Protocol, *, seed: int) -> Iterator[EmbeddedSound]:
    """Embed sounds under a protocol, in order.

    Args:
        clap: The model.
        sources: One after the other, which matters where the protocol draws.
        protocol: Its steps.
        seed: Of its draws.

    Raises:
        AudioError: If a sound cannot be embedded.
    """
    clap = in_fixed_batches(clap)
    for sound in clap.iter_audio(sources) if protocol.is_default else _under(clap, sources, protocol, seed):
        if sound.error is not None:
            raise sound.error
        yield sound


def _under(clap: Clap, sources: Iterable[AudioSource], protocol: Protocol, seed: int) -> Iterator[EmbeddedSound]:
    clap.check_open()
    config = clap.manifest.audio

    def read(source: Any) -> Iterator[AudioFeatures]:
        return features(cast("Prepared", source), config)

    return embed_all(
        cast("Iterator[Any]", prepared(sources, protocol, config, seed=seed)),
        read,
        clap.engine,
        batch_size=clap.batch_size,
        fused=config.fused,
        fingerprint=provenance_under(clap, protocol, seed).fingerprint,
        dim=clap.dim,
    )
