"""Resamplers of other programs, in numpy: one matrix of weights for each ratio of rates, applied block by block.

All of them repeat their weights after `down` input samples, in which `up` output samples are due. They differ in the
filter, the edge and the number of samples that come out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from claprt.audio.resample import Samples, SoxrResampler
from claprt.errors import SampleRateError
from claprt.evaluation.scores.protocols.table import Resampling

_MOST_WEIGHTS = 1 << 25
_BLOCK = 1 << 12


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """Weights [up, taps] float32, the first tap's place before a block of input, and the sample rule."""

    matrix: NDArray[np.float32]
    before: int
    down: int
    repeats_edge: bool
    length: Callable[[float], float]


def resample(signal: Samples, rate: int, target_rate: int, how: Resampling) -> NDArray[np.float32]:
    """A mono signal [samples] at another rate, as one of the originals gives it.

    Args:
        signal: [samples] float32.
        rate: Of the signal, in Hz.
        target_rate: Of the result, in Hz.
        how: The resampler.

    Raises:
        SampleRateError: If the ratio of the rates has so large a numerator that the original would not compute it either.
    """
    samples = signal.astype(np.float32, copy=False)
    if rate == target_rate:
        return samples
    if how is Resampling.SOXR:
        return SoxrResampler(rate, target_rate, "float32")(samples, last=True).astype(np.float32, copy=False)
    common = math.gcd(rate, target_rate)
    up, down = target_rate // common, rate // common
    if up * (down + 200 * max(1, down // up)) > _MOST_WEIGHTS:
        raise SampleRateError(f"{how} cannot bring {rate} Hz to {target_rate} Hz: the weights would not fit into memory.")
    return _applied(samples, _weights(how, up, down), up)


@lru_cache(maxsize=8)
def _weights(how: Resampling, up: int, down: int) -> _Weights:
    if how is Resampling.RESAMPY:
        return _resampy(up, down)
    if how is Resampling.JULIUS:
        return _julius(up, down)
    return _torchaudio(up, down, kaiser=how is Resampling.TORCHAUDIO_KAISER)


def _applied(samples: NDArray[np.float32], weights: _Weights, up: int) -> NDArray[np.float32]:
    wanted = int(weights.length(up * samples.size / weights.down))
    taps = weights.matrix.shape[1]
    blocks = -(-wanted // up)
    behind = max(0, blocks * weights.down + taps - weights.before - samples.size)
    padded = np.pad(samples, (weights.before, behind), mode="edge" if weights.repeats_edge else "constant")
    windows = sliding_window_view(padded, taps)[:: weights.down][:blocks]
    out = np.empty((blocks, up), np.float32)
    for start in range(0, blocks, _BLOCK):
        # no BLAS: its threads would disturb the towers
        out[start : start + _BLOCK] = np.einsum("nk,uk->nu", windows[start : start + _BLOCK], weights.matrix)
    return out.ravel()[:wanted]


def _torchaudio(up: int, down: int, *, kaiser: bool) -> _Weights:
    """`torchaudio.functional.resample`, in float32 as there; with a Kaiser window `torchaudio.transforms.Resample`."""
    zeros, rolloff = (64, 0.9475937167399596) if kaiser else (6, 0.99)
    kind = np.float64 if kaiser else np.float32
    base = min(up, down) * rolloff
    width = math.ceil(zeros * down / base)
    behind = (np.arange(0, -up, -1).astype(np.float32) / np.float32(up))[:, None]
    places = np.arange(-width, width + down).astype(kind) / kind(down)
    times = np.clip((behind + places) * kind(base), kind(-zeros), kind(zeros))
    if kaiser:
        beta = float(np.float32(14.769656459379492))
        window = np.i0(beta * np.sqrt(1 - (times / zeros) ** 2)) / np.i0(beta)
    else:
        window = np.cos(times * kind(math.pi) / kind(zeros) / kind(2)) ** 2
    matrix = _sinc(times * kind(math.pi)) * (window * kind(base / down))
    return _Weights(matrix.astype(np.float32), width, down, repeats_edge=False, length=math.ceil)


def _julius(up: int, down: int) -> _Weights:
    """`julius.resample_frac`, in float32 as there."""
    zeros, kind = 24, np.float32
    base = min(up, down) * 0.945
    width = math.ceil(zeros * down / base)
    places = np.arange(-width, width + down).astype(kind) / kind(down)
    behind = np.array([-number / up for number in range(up)]).astype(kind)[:, None]
    times = np.clip((behind + places) * kind(base), kind(-zeros), kind(zeros)) * kind(math.pi)
    matrix = _sinc(times) * np.cos(times / kind(zeros) / kind(2)) ** 2
    matrix /= matrix.sum(axis=1, keepdims=True)
    return _Weights(matrix, width, down, repeats_edge=True, length=math.floor)


def _sinc(angles: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sin x / x, and 1 where x is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(angles == 0, angles.dtype.type(1), np.sin(angles) / angles)


_RESAMPY_ZEROS = 50
_RESAMPY_STEPS = 1 << 13
_RESAMPY_BETA = 12.984585247040014
_RESAMPY_ROLLOFF = 0.9173473712608761


def _resampy(up: int, down: int) -> _Weights:
    """`resampy.resample(filter="kaiser_best")` of resampy 0.4: linear between the entries of a table."""
    size = _RESAMPY_ZEROS * _RESAMPY_STEPS
    scale = min(1.0, up / down)
    table = np.kaiser(2 * size + 1, _RESAMPY_BETA)[size:] * _RESAMPY_ROLLOFF
    table *= np.sinc(_RESAMPY_ROLLOFF * np.linspace(0, _RESAMPY_ZEROS, size + 1)) * scale
    slopes = np.diff(table, append=table[-1])
    step = int(scale * _RESAMPY_STEPS)
    reach = size // step + 2
    matrix = np.zeros((up, reach + down + reach))
    for number in range(up):
        place, rest = divmod(number * down, up)
        left = scale * rest / up
        for fraction, sign in ((left, -1), (scale - left, 1)):
            position = fraction * _RESAMPY_STEPS
            entry = int(position)
            entries = entry + step * np.arange((size + 1 - entry) // step)
            taps = reach + place + (-np.arange(entries.size) if sign < 0 else 1 + np.arange(entries.size))
            matrix[number, taps] = table[entries] + (position - entry) * slopes[entries]
    return _Weights(matrix.astype(np.float32), reach, down, repeats_edge=False, length=math.floor)
