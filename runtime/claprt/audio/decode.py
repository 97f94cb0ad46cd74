"""Raw float32 bytes as samples, and the check that samples are finite."""

from __future__ import annotations

import numpy as np

from claprt.arrays import Waveform
from claprt.audio.resample import Samples
from claprt.errors import AudioDecodeError, NonFiniteAudioError


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
