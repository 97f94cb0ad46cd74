"""Vectors that are the same to the last bit whatever the order of the sounds and the batches of the model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

from claprt.arrays import Embedding
from claprt.audio.sound import AudioSource
from claprt.engines.open_session import ON_CPU
from claprt.model.clap import Clap

_BATCH = 8


def in_fixed_batches(clap: Clap) -> Clap:
    """The model with a batch size of its own: one window at a time on a CPU, whose kernels round each batch size otherwise.

    A CPU runs many windows side by side in any case (`claprt.model.parallel`).
    """
    twin = copy.copy(clap)
    twin.batch_size = 1 if clap.provider in ON_CPU else _BATCH
    return twin


def sound_vectors(clap: Clap, sources: Iterable[AudioSource]) -> Iterator[Embedding]:
    """The vector [dim] float32 of each sound, in order.

    Raises:
        AudioError: If a sound cannot be embedded.
    """
    for sound in in_fixed_batches(clap).iter_audio(sources):
        if sound.error is not None:
            raise sound.error
        assert sound.vector is not None
        yield sound.vector
