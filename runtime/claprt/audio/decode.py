"""Bytes to samples: sound files, which `claprt.audio.files.sound_file` opens, and raw float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from claprt.arrays import Waveform
from claprt.audio.resample import Samples
from claprt.errors import AudioDecodeError, NonFiniteAudioError

if TYPE_CHECKING:
    from claprt.audio.files.containers import Opened


def open_file(name: str, source: object) -> Opened:
    """Opens a path, the bytes of a file, or a binary file object.

    Args:
        name: what to call the source in messages.
        source: see `claprt.audio.files.byte_source.open_binary`.

    Raises:
        AudioError: it cannot be read, is not a sound, or is not all there.
    """
    from claprt.audio.files.sound_file import open_sound_file  # the knowledge of formats, for those who have files

    return open_sound_file(name, source)


def check_finite(name: str, block: Samples) -> Samples:
    """The block itself.

    Raises:
        NonFiniteAudioError: it holds NaN or infinity.
    """
    if not np.isfinite(block).all():
        where = int(np.flatnonzero(~np.isfinite(block))[0])
        raise NonFiniteAudioError(
            f"{name} holds {block[where]} near sample {where} of a block; clean it first (numpy.nan_to_num)."
        )
    return block


def float_samples(data: bytes) -> Waveform:
    """Raw little-endian float32 mono, as services take it, as an array [samples].

    Raises:
        AudioDecodeError: the bytes are no whole number of samples.

    Example:
        >>> float_samples(bytes(8)).tolist()
        [0.0, 0.0]
    """
    if len(data) % 4:
        raise AudioDecodeError(f"Raw audio is float32 samples; {len(data)} bytes are no whole number of them.")
    return np.frombuffer(data, "<f4").astype(np.float32, copy=False)
