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
    """Open a path, the bytes of a file, or a binary file object.

    Args:
        name: What to call the source in messages.
        source: See `claprt.audio.files.byte_source.open_binary`.

    Raises:
        AudioError: If it cannot be read, is not a sound, or is incomplete.
    """
    from claprt.audio.files.sound_file import open_sound_file  # the knowledge of formats, for those who have files

    return open_sound_file(name, source)


def check_finite(name: str, block: Samples) -> Samples:
    """Check a block [samples] of floats, and return it.

    Raises:
        NonFiniteAudioError: If it holds NaN or infinity.
    """
    if not np.isfinite(block).all():
        where = int(np.flatnonzero(~np.isfinite(block))[0])
        raise NonFiniteAudioError(
            f"{name} holds {block[where]} near sample {where} of a block; clean it first (numpy.nan_to_num)."
        )
    return block


def float_samples(data: bytes) -> Waveform:
    """Raw little-endian float32 mono as an array [samples].

    Raises:
        AudioDecodeError: If the number of bytes is not a multiple of 4.

    Example:
        >>> float_samples(bytes(8)).tolist()
        [0.0, 0.0]
    """
    if len(data) % 4:
        raise AudioDecodeError(f"Raw audio is float32 samples; {len(data)} bytes are not a whole number of them.")
    return np.frombuffer(data, "<f4").astype(np.float32, copy=False)
