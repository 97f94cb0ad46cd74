"""Any sample rate to the model's: the two resamplers whose vectors people already have.

`SoxrResampler` is what librosa, and LAION with it, does to a file: soxr HQ. It keeps its state from block to block, so a
stream of blocks gives bit for bit what the whole would. `resample_kaiser` is resampy's `kaiser_best` filter (version
0.2.2, the one that kromosynth-evaluate pins), which the kromosynth extractor puts before its embedding.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32 | np.float64]

_KAISER_ZEROS = 64
_KAISER_STEPS = 512  # filter samples between two zero crossings
_KAISER_BETA = 14.769656459379492
_KAISER_ROLLOFF = 0.9475937167399596


class SoxrResampler:
    """Resamples a mono signal that arrives in blocks."""

    def __init__(self, rate: int, target_rate: int, dtype: str) -> None:
        """Takes the rate of the signal and the one wanted, in Hz, and `float32` or `float64`."""
        import soxr

        self._rate, self._target_rate = rate, target_rate
        self._stream = soxr.ResampleStream(rate, target_rate, 1, dtype=dtype, quality="HQ")
        self._taken = self._given = 0

    def __call__(self, block: Samples, *, last: bool) -> Samples:
        """Samples that are ready after this block; after the last one, all that remain.

        In total ceil(samples · target_rate / rate) samples come out, the length that `librosa.resample` settles on.
        """
        self._taken += block.size
        out = self._stream.resample_chunk(block, last=last)
        if last:
            wanted = math.ceil(self._taken * (float(self._target_rate) / self._rate)) - self._given
            out = out[:wanted] if out.size >= wanted else np.pad(out, (0, wanted - out.size))
        self._given += out.size
        return out


@cache
def _kaiser_filter() -> NDArray[np.float64]:
    """Right half of the windowed sinc, [zeros · steps + 1]."""
    half = _KAISER_ZEROS * _KAISER_STEPS
    positions = np.linspace(0, _KAISER_ZEROS, half + 1)
    return np.kaiser(2 * half + 1, _KAISER_BETA)[half:] * _KAISER_ROLLOFF * np.sinc(_KAISER_ROLLOFF * positions)


def resample_kaiser(signal: Samples, rate: int, target_rate: int) -> Samples:
    """The whole of a mono signal resampled as `resampy.resample(filter="kaiser_best")` of resampy 0.2.2 does.

    resampy walks over the output samples and interpolates its filter table afresh for each. The fractional positions
    repeat, though, with the period of the reduced ratio, so here each of them gets its weights once and all output
    samples that share it are one matrix product. Sums are float64; resampy rounds every partial sum to the signal's
    dtype, which is the difference that remains (below 1e-6).
    """
    common = math.gcd(rate, target_rate)
    up, down = target_rate // common, rate // common
    count = int(signal.size * (target_rate / rate))
    left, right = _tap_counts(rate, target_rate)
    padded = np.pad(signal.astype(np.float64), (left, right))
    out = np.empty(count)
    for phase in range(min(up, count)):
        start, remainder = divmod(phase * down, up)
        weights = _phase_weights(remainder / up, min(1.0, target_rate / rate), left, right)
        # the window of taps for output `phase`, then for every output one period later
        taps = np.lib.stride_tricks.sliding_window_view(padded, left + right)[start + 1 :: down]
        shared = out[phase::up]
        np.einsum("nk,k->n", taps[: shared.size], weights, out=shared)  # no BLAS: its threads would disturb the towers
    return out.astype(signal.dtype)


def _tap_counts(rate: int, target_rate: int) -> tuple[int, int]:
    step = int(min(1.0, target_rate / rate) * _KAISER_STEPS)
    taps = _kaiser_filter().size // step + 1
    return taps, taps


def _phase_weights(fraction: float, scale: float, left: int, right: int) -> NDArray[np.float64]:
    """Weights of the `left` samples up to and including the current one and the `right` samples after it."""
    table = _kaiser_filter() * scale if scale < 1.0 else _kaiser_filter()
    before = _wing(table, fraction * scale, scale, left)[::-1]
    after = _wing(table, scale - fraction * scale, scale, right)
    return np.concatenate([before, after])


def _wing(table: NDArray[np.float64], position: float, scale: float, taps: int) -> NDArray[np.float64]:
    step = int(scale * _KAISER_STEPS)
    index = position * _KAISER_STEPS
    offset = int(index)
    count = min(taps, (table.size - offset) // step)
    places = offset + step * np.arange(count)
    following = np.minimum(places + 1, table.size - 1)
    weights = np.zeros(taps)
    weights[:count] = table[places] + (index - offset) * (table[following] - table[places])
    return weights
