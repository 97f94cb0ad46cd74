"""Arrays of any numeric dtype to mono samples in [-1, 1], and what is assumed where a dtype does not say its full scale.

| samples                                            | taken as                                                       |
|----------------------------------------------------|----------------------------------------------------------------|
| float                                              | they are, with a warning beyond a peak of 100                  |
| 8 and 16 bits                                      | full scale of the dtype; unsigned ones have their middle at 0  |
| 32 and 64 bits, all of which fit into 16           | 16-bit samples, with a warning                                 |
| 32 bits, beyond 16                                 | full scale of the dtype                                        |
| 64 bits, beyond 16, at or above 2^47               | full scale of the dtype                                        |
| 64 bits, beyond 16, below 2^47                     | refused: nothing says how wide they are                        |

Integers of 16 bits become 64 bits in `numpy.array` of a list and in `astype(int)`; by the full scale of their dtype they
would be silence.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.audio.decode import check_finite
from claprt.audio.resample import Samples
from claprt.errors import AssumedLevelsWarning, AudioShapeError, EmptyAudioError, NonFiniteAudioError
from claprt.system.advice import warn_once, was_given

MAX_CHANNELS = 16
"""Channels taken; more is nearly always a batch that was meant as a list."""

LOUD = 100.0
"""Peak of floats from which they are probably integers by their scale."""

_AUDIBLE = 2.0**-16
"""Peak, relative to full scale, below which samples of 64 bits were made as something else: 16 bits would not hold it."""


def mono_samples(name: str, array: NDArray[Any], *, trust_levels: bool = False) -> Samples:
    """The mean of an array's channels [samples]: float64 of float64, float32 of every other dtype.

    Args:
        name: What to call the array in messages.
        array: [samples], [channels, samples], or [samples, channels] where that can be told.
        trust_levels: Takes integers by the full scale of their dtype and floats as they are, without looking.

    Raises:
        AudioShapeError: If the number of axes or channels is not supported, the values are not real numbers, or the
            full scale of integers is unknown.
        EmptyAudioError: If there are no samples.
        NonFiniteAudioError: If there is NaN or infinity.
    """
    channels = _channels_first(name, array)
    if channels.shape[1] == 0:
        raise EmptyAudioError(f"{name} holds no samples; a sound needs at least one.")
    return mix_channels(name, channels, trust_levels=trust_levels)


def mix_channels(name: str, channels: NDArray[Any], *, trust_levels: bool = False) -> Samples:
    """The mean of channels [channels, samples], whose layout is known: [samples], as `mono_samples` gives it.

    Raises:
        AudioShapeError: If the values are not real numbers, or the full scale of integers is unknown.
        NonFiniteAudioError: If there is NaN or infinity.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # means of infinities, and numbers beyond float32: refused below
        samples = _to_float(name, channels, trust_levels=trust_levels)
        mono = samples.mean(axis=0) if len(channels) > 1 else samples[0]
        low, high = float(mono.min(initial=0.0)), float(mono.max(initial=0.0))  # NaN is in both
    if not (math.isfinite(low) and math.isfinite(high)):
        _raise_not_finite(name, samples)
    if channels.dtype.kind == "f" and not trust_levels and not was_given("loud"):
        _warn_if_loud(name, max(high, -low))
    return mono


def _channels_first(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 1:
        return array[None]
    if array.ndim == 0:
        raise AudioShapeError(
            f"{name} has 0 axes: it is one number. Samples go in together, as numpy.array(samples) or a whole tensor."
        )
    if array.ndim != 2:
        raise AudioShapeError(
            f"{name} has {array.ndim} axes; one sound is [samples] or [channels, samples]. For several sounds, pass a "
            "list of arrays (list(batch)); for a batch of one, its only element (batch[0])."
        )
    first, second = array.shape
    transposed = (second == 2 and first != 2) or (first > MAX_CHANNELS >= second > 0)
    channels = array.T if transposed else array
    if not 1 <= len(channels) <= MAX_CHANNELS:
        raise AudioShapeError(
            f"{name} would be {len(channels)} channels; from 1 to {MAX_CHANNELS} are mixed to mono. For a batch of "
            "sounds, pass a list of arrays."
        )
    return channels


def _to_float(name: str, array: NDArray[Any], *, trust_levels: bool) -> Samples:
    """Convert to float: float64 stays, other dtypes become float32; integers are scaled to [-1, 1).

    Raises:
        AudioShapeError: If the values are not real numbers.
    """
    if array.dtype.kind == "f":
        return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    if array.dtype.kind in "iu":
        wide = array.dtype.itemsize > 2 and not trust_levels
        full_scale = 2.0 ** ((_width(name, array) if wide else 8 * array.dtype.itemsize) - 1)
        middle = full_scale if array.dtype.kind == "u" else 0.0
        return ((array.astype(np.float64) - middle) / full_scale).astype(np.float32)
    raise AudioShapeError(f"{name} is {array.dtype}; samples are real numbers (any float or integer dtype).{_fix(array)}")


def _fix(array: NDArray[Any]) -> str:
    """What to do about samples of another kind."""
    if array.dtype.names is not None:
        return " Put its fields beside each other: numpy.stack([array[field] for field in array.dtype.names])."
    fixes = {"c": " For the real part: array.real.", "b": " A mask is not a sound."}
    return fixes.get(array.dtype.kind, "")


def _width(name: str, array: NDArray[Any]) -> int:
    """Bits of the samples in integers of 32 or 64.

    Raises:
        AudioShapeError: If it cannot be told from the samples.
    """
    low, high = int(array.min()), int(array.max())
    signed, bits = array.dtype.kind == "i", 8 * array.dtype.itemsize
    narrow = np.iinfo(np.int16 if signed else np.uint16)
    if narrow.min <= low and high <= narrow.max:
        if low != high or low != 0:
            own = f"numpy.{narrow.dtype}"
            warn_once(
                "wide",
                f"{name} is {array.dtype}, and all of its samples fit into 16 bits: they are taken as 16-bit samples, "
                f"with a full scale of 32768. Say so with array.astype({own}); scale quiet samples of {bits} bits to "
                f"floats (array / 2**{bits - 1}).",
                AssumedLevelsWarning,
            )
        return 16
    peak = max(high, -low)
    if bits == 64 and peak < 2.0 ** (bits - 1) * _AUDIBLE:
        raise AudioShapeError(
            f"{name} is {array.dtype}, and its samples reach {peak}: more than 16 bits, and far below 64. Nothing says how "
            "wide they are: give samples of 32 bits as array.astype(numpy.int32), of 16 as array.astype(numpy.int16), "
            "or floats in [-1, 1] (array / 2**23 for 24 bits)."
        )
    return bits


def _warn_if_loud(name: str, peak: float) -> None:
    if peak > LOUD:
        warn_once(
            "loud",
            f"{name} is of floats that reach {peak:g}, and floats are expected in [-1, 1]: it is taken as it is, and the "
            "recipe clips it or hears it that much louder. Scale integers that were turned into floats: array / 32768 for "
            "16-bit samples.",
            AssumedLevelsWarning,
        )


def _raise_not_finite(name: str, samples: Samples) -> None:
    bad = ~np.isfinite(samples)
    if bad.any():
        where = int(bad.any(axis=0).argmax())
        check_finite(name, samples[int(bad[:, where].argmax())])
    raise NonFiniteAudioError(f"The levels of {name} are far beyond full scale; scale it to [-1, 1] first.")
