"""Synthesise the sample sounds that ship with claprt: `python -m claprt_export.synthesis.samples FOLDER`.

The sounds come from this module alone; nothing in them was recorded. The same call gives the same samples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 24_000
"""Sample rate of the files, in Hz."""

Signal = NDArray[np.float64]
Random = np.random.Generator


def dog() -> Signal:
    """Three barks of a dog, [samples] float64 at `RATE`, peak 0.8."""
    random, sound = np.random.default_rng(1), np.zeros(2 * RATE)
    for start_s, pitch, level in ((0.10, 1.0, 1.0), (0.55, 0.94, 0.85), (1.20, 1.05, 1.0)):
        bark, first = _bark(random, pitch), round(start_s * RATE)
        sound[first : first + bark.size] += level * bark
    return sound * (0.8 / np.abs(sound).max())


def _bark(random: Random, pitch: float) -> Signal:
    """One bark: a rough, gliding buzz through three resonances, and breath."""
    time = np.arange(round(0.26 * RATE)) / RATE
    frequency = pitch * (330 + 260 * np.exp(-(((time - 0.07) / 0.06) ** 2)))
    frequency *= 1 + 0.02 * np.cumsum(random.standard_normal(time.size)) / np.sqrt(time.size)
    cycles = np.cumsum(frequency) / RATE
    voice = np.zeros_like(time)
    for number in range(1, 20):
        resonances = ((750, 350, 1.0), (1500, 500, 0.7), (2800, 900, 0.25))
        gain = sum(peak * np.exp(-(((number * frequency - centre) / width) ** 2)) for centre, width, peak in resonances)
        voice += gain * np.sin(2 * np.pi * (number * cycles + random.random()))
    voice *= 1 + 0.5 * np.sin(2 * np.pi * 85 * time)
    breath = _filtered(random, time.size, lambda hertz: np.exp(-(((hertz - 1300) / 1100) ** 2)))
    envelope = np.minimum(time / 0.012, 1) * np.exp(-np.maximum(time - 0.09, 0) / 0.035)
    return (voice / np.abs(voice).max() + 0.35 * breath / np.abs(breath).max()) * envelope


def rain() -> Signal:
    """Steady rain, [samples] float64 at `RATE`, peak 0.2."""
    random = np.random.default_rng(2)
    sound = _filtered(random, round(1.4 * RATE), lambda hertz: (hertz / 1000 + 0.05) ** -0.5 / (1 + (hertz / 9000) ** 4))
    sound /= sound.std()
    time = np.arange(RATE // 50) / RATE
    for first in random.integers(0, sound.size - time.size, 600):
        drop = np.exp(-time * random.uniform(300, 1200)) * np.sin(2 * np.pi * random.uniform(1500, 7000) * time)
        sound[first : first + time.size] += random.exponential() * drop
    return sound * (0.2 / np.abs(sound).max())


def _filtered(random: Random, samples: int, response: Callable[[Any], Signal]) -> Signal:
    """White noise through a filter that is given as gains of frequencies in Hz."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    return np.fft.irfft(spectrum * response(np.fft.rfftfreq(samples, 1 / RATE)), samples)


SAMPLES: MappingProxyType[str, Callable[[], Signal]] = MappingProxyType({"dog": dog, "rain": rain})
"""Every sample sound by name."""


def pcm(signal: Signal) -> NDArray[np.int16]:
    """16-bit samples [samples] of a signal [samples] in [-1, 1]."""
    return np.round(signal * 32767).astype(np.int16)


def main() -> None:
    """Write every sample sound as FLAC into the folder that is named on the command line."""
    import soundfile

    folder = Path(sys.argv[1])
    for name, make in SAMPLES.items():
        soundfile.write(folder / f"{name}.flac", pcm(make()), RATE, "PCM_16")


if __name__ == "__main__":
    main()
