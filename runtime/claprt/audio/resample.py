"""Any sample rate to the model's: the two resamplers whose vectors people already have.

`SoxrResampler` is what librosa, and LAION with it, does to a file: soxr HQ. It keeps its state from block to block, so a
stream of blocks gives bit for bit what the whole would. `KaiserResampler` is resampy's `kaiser_best` filter (version
0.2.2, the one that kromosynth-evaluate pins), which the kromosynth extractor puts before its embedding; it keeps its state
too, and works in blocks of bounded memory.
"""

from __future__ import annotations

import itertools
import math
from functools import cache, lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Samples = NDArray[np.float32 | np.float64]

_KAISER_ZEROS = 64
_KAISER_STEPS = 512  # filter samples between two zero crossings
_KAISER_BETA = 14.769656459379492
_KAISER_ROLLOFF = 0.9475937167399596

_MOST_PHASES = 640
"""Positions between two samples that get weights of their own; 11025 Hz has so many, 44100 Hz has 160."""
_BLOCK_PRODUCTS = 1 << 25
"""Multiplications in one block of output, 20 to 60 ms of one core."""
_MOST_OUTPUTS = 1 << 18
"""Samples in one block of output."""
_SMALL_PRODUCT = 1 << 18
"""Multiplications from which OpenBLAS uses threads, which would disturb the towers."""


class SoxrResampler:
    """soxr HQ for a mono signal that arrives in blocks."""

    def __init__(self, rate: int, target_rate: int, dtype: str) -> None:
        """Take the rate of the signal and the one wanted, in Hz, and `float32` or `float64`."""
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
    """The whole of a mono signal [samples] resampled by `KaiserResampler`; rates in Hz."""
    return KaiserResampler(rate, target_rate, signal.dtype.name)(signal, last=True)


class KaiserResampler:
    """Resampler of a mono signal that arrives in blocks, as `resampy.resample(filter="kaiser_best")` of resampy 0.2.2.

    resampy walks over the output samples and interpolates its filter table afresh for each. The fractional positions
    repeat with the period of the reduced ratio. Where they are few, each gets its weights once, and all output samples
    that share it are one matrix product in float64. Where they are many (47999 Hz has 48000 of them), the output samples
    of a block are grouped by the entry of the table that they begin at, and both the entry and its slope are applied to
    the whole group in the signal's dtype. resampy rounds every partial sum to the signal's dtype, which is the difference
    that remains (below 1e-6).

    Blocks of output begin at fixed positions, so the result does not depend on how the signal is cut into blocks.
    """

    def __init__(self, rate: int, target_rate: int, dtype: str) -> None:
        """Prepare the filter.

        Args:
            rate: Of the signal, in Hz.
            target_rate: Of the result, in Hz.
            dtype: Of both, `float32` or `float64`.
        """
        common = math.gcd(rate, target_rate)
        self._up, self._down = target_rate // common, rate // common
        self._ratio, self._scale = target_rate / rate, min(1.0, target_rate / rate)
        self._dtype = np.dtype(dtype)
        self._few = self._up <= _MOST_PHASES
        self._taps = _kaiser_filter().size // int(self._scale * _KAISER_STEPS) + 1
        self._block = max(1 << 12, min(_MOST_OUTPUTS, _BLOCK_PRODUCTS // (2 * self._taps)))
        self._weights: dict[int, NDArray[np.float64]] = {}
        self._table = _kaiser_filter() * self._scale if self._scale < 1.0 else _kaiser_filter()
        # what is still needed of the signal, with zeros before it, and the position of its first sample
        self._held: list[Samples] = [np.zeros(self._taps, np.float64 if self._few else self._dtype)]
        self._held_size, self._first = self._taps, 0
        self._taken = self._given = 0

    def __call__(self, block: Samples, *, last: bool) -> Samples:
        """Samples that are ready after this block; after the last one, all that remain.

        In total floor(samples · target_rate / rate) samples come out, the length that resampy settles on.
        """
        self._taken += block.size
        self._hold(block)
        if last:
            self._hold(np.zeros(self._taps, self._dtype))
            ready = int(self._taken * self._ratio)
        else:
            behind = self._taken - self._taps  # windows that end before it are there
            ready = max(0, behind) * self._up // self._down // self._block * self._block
        parts: list[Samples] = []
        while self._given < ready:
            end = min(ready, self._given // self._block * self._block + self._block)
            parts.append(self._made(self._given, end))
            self._given = end
        return np.concatenate(parts) if parts else np.empty(0, self._dtype)

    def _hold(self, block: Samples) -> None:
        self._held.append(block.astype(self._held[0].dtype, copy=False))
        self._held_size += block.size

    def _made(self, begin: int, end: int) -> Samples:
        """Output samples from `begin` to `end`."""
        start = begin * self._down // self._up
        if len(self._held) > 1:
            self._held = [np.concatenate(self._held)]
        held = self._held[0][start - self._first :]
        self._held, self._first = [held], start
        windows = sliding_window_view(held, 2 * self._taps)[1:]
        made = self._of_few_phases if self._few else self._of_many_phases
        with np.errstate(over="ignore", invalid="ignore"):  # levels beyond float32 give infinity, which callers look for
            return made(windows, begin, end, start).astype(self._dtype, copy=False)

    def _of_few_phases(self, windows: Samples, begin: int, end: int, first: int) -> NDArray[np.float64]:
        out = np.empty(end - begin)
        for number in range(min(self._up, end - begin)):
            start, remainder = divmod((begin + number) * self._down, self._up)
            if (weights := self._weights.get(remainder)) is None:
                weights = self._weights[remainder] = self._phase_weights(remainder / self._up)
            # the window of taps for this output sample, then for every one that is a period later
            taps, shared = windows[start - first :: self._down], out[number :: self._up]
            np.einsum("nk,k->n", taps[: shared.size], weights, out=shared)  # no BLAS: its threads would disturb the towers
        return out

    def _phase_weights(self, fraction: float) -> NDArray[np.float64]:
        """Weights of the samples up to and including the current one, and of as many after it."""
        before = self._wing(fraction * self._scale)[::-1]
        return np.concatenate([before, self._wing(self._scale - fraction * self._scale)])

    def _wing(self, position: float) -> NDArray[np.float64]:
        table, step = self._table, int(self._scale * _KAISER_STEPS)
        index = position * _KAISER_STEPS
        offset = int(index)
        count = min(self._taps, (table.size - offset) // step)
        places = offset + step * np.arange(count)
        following = np.minimum(places + 1, table.size - 1)
        weights = np.zeros(self._taps)
        weights[:count] = table[places] + (index - offset) * (table[following] - table[places])
        return weights

    def _of_many_phases(self, windows: Samples, begin: int, end: int, first: int) -> Samples:
        starts, remainders = np.divmod(np.arange(begin, end) * self._down, self._up)
        starts -= first
        before = remainders / self._up * self._scale
        after = (self._scale - before) * _KAISER_STEPS
        before *= _KAISER_STEPS
        left, right = before.astype(np.int32), after.astype(np.int32)
        groups = _group_of(left, right, self._scale).astype(np.int16)
        order = np.argsort(groups, kind="stable").astype(np.int32)
        bounds = np.flatnonzero(np.diff(groups[order], prepend=-1, append=-1)).tolist()
        starts, weights = starts[order], _group_weights(self._scale, self._dtype.name)
        most = max(1, _SMALL_PRODUCT // (6 * self._taps + 1))
        sums = np.empty((end - begin, 3), self._dtype)
        for lower, upper in itertools.pairwise(bounds):
            group = weights[groups[order[lower]]]
            for place in range(lower, upper, most):
                some = slice(place, min(upper, place + most))
                np.matmul(windows[starts[some]], group, out=sums[some])
        made = sums[:, 0]
        made += (before - left).astype(self._dtype)[order] * sums[:, 1]
        made += (after - right).astype(self._dtype)[order] * sums[:, 2]
        out = np.empty(end - begin, self._dtype)
        out[order] = made
        return out


def _group_of(left: NDArray[np.int32], right: NDArray[np.int32], scale: float) -> NDArray[np.int32]:
    """One number for both places in the table: where the left wing begins at one, the right wing begins at one of two."""
    return 2 * left + np.clip(left + right + 1 - int(scale * _KAISER_STEPS), 0, 1)


@lru_cache(maxsize=4)
def _group_weights(scale: float, dtype: str) -> Samples:
    """For every group the filter's entries, their slopes before and after, [groups, 2 · taps, 3], up to 2 MB of float32."""
    table = _kaiser_filter() * scale
    step = int(scale * _KAISER_STEPS)
    left = np.repeat(np.arange(step + 2), 2)
    right = step - 1 - left + np.tile([0, 1], step + 2)
    taps = table.size // step + 1
    weights = np.zeros((left.size, 2 * taps, 3), dtype)
    for begins, wing, slope in ((left, weights[:, taps - 1 :: -1], 1), (np.maximum(right, 0), weights[:, taps:], 2)):
        number = np.arange(taps)
        places = np.minimum(begins[:, None] + step * number, table.size - 1)
        used = number < ((table.size - begins) // step)[:, None]
        wing[:, :, 0] = np.where(used, table[places], 0.0)
        wing[:, :, slope] = np.where(used, table[np.minimum(places + 1, table.size - 1)] - table[places], 0.0)
    return weights
