"""Sounds, texts and weights that golden values were made from, in integer arithmetic alone.

They are the same to the bit on every processor and with every version of numpy, and need neither claprt nor torch, so
that the code under test, an earlier release of it and the reference implementation are all given the same.
"""

from __future__ import annotations

import io
import math
import wave
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 48_000
"""Rate in Hz of every sound but `stereo`."""

WINDOW = 480_000
"""Samples of a window."""

WINDOW_STARTS = (0, 480_000, 643_457)
"""Where the windows of the sound `long` begin, by hand: every ten seconds, and one that ends with its 1123457 samples."""

SEED = 7
"""Of the crops that laion-clap draws from the sound `long`."""

FRAMES = (0, 1, 500, 501, 999, 1000)
"""Frames of a log-mel whose values are kept: both reflected ends, and the middle."""

TINY_SOUNDS = ("beats", "stereo", "long")
"""Sounds whose vectors by HTSAT-tiny are kept."""

TEXTS = (
    "a dog barking",
    "This is a sound of rain.",
    "Glockenspiel, très doucement — 静かに ♪",
    "x",
    "footsteps on gravel while a church bell rings in the distance and somebody closes a heavy wooden door",
    "word " * 100,
)
"""Short, long, beyond the 77 tokens of a checkpoint, and with characters of several bytes."""


def integers(name: str, count: int) -> NDArray[np.uint32]:
    """Pseudo-random integers [count] of 32 bits that depend on the name alone (Murmur3's finaliser of a counter)."""
    bits = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits ^= bits >> np.uint32(shift)
        bits *= np.uint32(factor)
    return bits ^ (bits >> np.uint32(16))


def signs(name: str, *shape: int) -> NDArray[np.float32]:
    """1 and -1 in no order."""
    return 1 - 2 * (integers(name, math.prod(shape)) >> np.uint32(31)).astype(np.float32).reshape(shape)


def noise(name: str, samples: int) -> NDArray[np.int16]:
    """White noise [samples] int16, full scale."""
    return (integers(name, samples) >> np.uint32(16)).astype(np.uint16).view(np.int16)


def glide(samples: int, *, rate: int = RATE) -> NDArray[np.int16]:
    """A triangle wave [samples] int16 at half of full scale, from 100 Hz to 8 kHz over and over in two seconds."""
    position = np.arange(samples, dtype=np.uint64) % np.uint64(2 * rate)
    step = (100 * 2**32 + 7_900 * 2**32 // (2 * rate) * position) // np.uint64(rate)
    phase = (np.cumsum(step, dtype=np.uint64) % np.uint64(2**32)).astype(np.int64) >> 16
    return (np.abs(phase - 32_768) - 16_384).astype(np.int16)


def beats(samples: int, *, rate: int = RATE) -> NDArray[np.int16]:
    """Bursts of noise [samples] int16, four a second, each halved every 30 ms."""
    age = np.arange(samples) % (rate // 4)
    return (noise("beats", samples) >> np.minimum(age // (3 * rate // 100), 15)).astype(np.int16)


def clicks(samples: int, *, rate: int = RATE) -> NDArray[np.int16]:
    """Single samples [samples] int16 twice a second, on a floor of exact zeros."""
    signal = np.zeros(samples, np.int16)
    signal[rate // 8 :: rate // 2] = 30_000
    return signal


def waveform(signal: NDArray[np.int16], gain: float = 1.0) -> NDArray[np.float32]:
    """The signal as float32, full scale at `gain`."""
    return signal.astype(np.float32) * np.float32(gain / 32_768)


def wav(*channels: NDArray[np.int16], rate: int) -> bytes:
    """A WAV file of these channels in 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.stack(channels, axis=1).astype("<i2").tobytes())
    return file.getvalue()


def sounds() -> dict[str, NDArray[np.float32] | bytes]:
    """Every sound by name: mono float32 at `RATE`, or the bytes of a file.

    They are shorter and longer than a window, exactly one, tiled and only padded, beyond full scale and very quiet.
    """
    stereo = wav(glide(220_500, rate=44_100), noise("right", 220_500) >> 2, rate=44_100)
    long = [glide(500_000) >> 1, beats(300_001), noise("end", 323_456) >> 4]
    return {
        "beats": waveform(beats(19_200), 1.5),  # 0.4 s, clipped
        "noise": waveform(noise("noise", 144_000) >> 9),  # 3 s at -54 dB
        "clicks": waveform(clicks(336_000)),  # 7 s: fits once
        "glide": waveform(glide(480_000)),  # a window
        "stereo": stereo,  # 5 s at 44.1 kHz, which librosa's rounding makes 240001 samples
        "long": waveform(np.concatenate(long)),  # 23.4 s
    }


def weight(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A float32 weight of a CLAP checkpoint by LAION's name, at a scale at which inputs are told apart.

    Args:
        name: without `module.`.
        shape: of the weight; a scalar is a logit scale.
    """
    if not shape:
        return np.array(math.log(1 / 0.07), np.float32)
    drawn = (integers(name, math.prod(shape)) >> np.uint32(8)).astype(np.float32).reshape(shape)
    unit = (drawn * np.float32(2**-23) - 1) * np.float32(math.sqrt(3))  # mean 0, variance 1
    in_decibels = ".bn0." in name
    if name.endswith("running_mean"):
        return unit * 5 - 30 if in_decibels else unit / 10
    if name.endswith("running_var"):
        return np.full(shape, 400.0 if in_decibels else 1.3, np.float32)
    if name.endswith("relative_position_bias_table"):
        return unit / 2
    if len(shape) == 1:
        return unit / 20 + float(name.endswith("weight"))
    return unit / np.float32(math.sqrt(math.prod(shape[1:])))
