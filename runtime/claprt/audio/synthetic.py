"""Short sounds computed on the spot, for demonstrations, measurements and checks that need no file.

They are chosen to be unlike each other in what a front end cares about: level, bandwidth, transients, silence. Each
takes the number of samples and the rate in Hz and gives float32 mono in [-1, 1]; the same call always gives the same
samples.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Waveform

Float64s = NDArray[np.float64]


def _seconds(samples: int, rate: int) -> Float64s:
    return np.arange(samples) / rate


def _as_waveform(signal: Float64s, peak: float = 0.8) -> Waveform:
    loudest = np.abs(signal).max(initial=0.0)
    return (signal * (peak / loudest if loudest > 0 else 0.0)).astype(np.float32)


def _random(seed: int, samples: int) -> Float64s:
    return np.random.default_rng(seed).standard_normal(samples)


def silence(samples: int, rate: int) -> Waveform:
    """Digital silence, [samples] float32."""
    del rate
    return np.zeros(samples, np.float32)


def white_noise(samples: int, rate: int) -> Waveform:
    """Noise of equal power at all frequencies, [samples] float32."""
    del rate
    return _as_waveform(_random(1, samples), 0.5)


def rain(samples: int, rate: int) -> Waveform:
    """Pink noise with soft random drops, [samples] float32."""
    spectrum = np.fft.rfft(_random(2, samples))
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.size), 1.0))
    drops = (np.random.default_rng(3).random(samples) < 60 / rate) * 40.0
    decay = np.exp(-_seconds(min(samples, rate // 50 + 1), rate) * 300)
    hiss = np.fft.irfft(spectrum, samples)
    return _as_waveform(hiss / max(hiss.std(), 1e-12) + np.convolve(drops, decay)[:samples] * _random(4, samples), 0.6)


def tone(samples: int, rate: int) -> Waveform:
    """A sine at 440 Hz, [samples] float32."""
    return _as_waveform(np.sin(2 * np.pi * 440 * _seconds(samples, rate)))


def chirp(samples: int, rate: int) -> Waveform:
    """A sine that glides from 100 Hz to a third of the rate in two seconds, repeated, [samples] float32."""
    time = _seconds(samples, rate) % 2.0
    return _as_waveform(np.sin(2 * np.pi * (100 * time + (rate / 3 - 100) / 4 * time**2)))


def clicks(samples: int, rate: int) -> Waveform:
    """A single-sample click four times a second on exact zeros, [samples] float32."""
    signal = np.zeros(samples, np.float32)
    signal[rate // 8 :: max(1, rate // 4)] = 0.9
    return signal


def bell(samples: int, rate: int) -> Waveform:
    """An FM bell struck every two seconds (Chowning 1973), [samples] float32."""
    time = _seconds(samples, rate) % 2.0
    modulation = 5 * np.exp(-3 * time) * np.sin(2 * np.pi * 280 * time)
    return _as_waveform(np.exp(-2 * time) * np.sin(2 * np.pi * 200 * time + modulation))


def drums(samples: int, rate: int) -> Waveform:
    """Kick and noise snare in alternation, two beats a second, [samples] float32."""
    time, beat = _seconds(samples, rate) % 0.5, (2 * _seconds(samples, rate)).astype(np.int64) % 2
    kick = np.exp(-12 * time) * np.sin(2 * np.pi * (50 * time + 6 * (1 - np.exp(-20 * time))))
    snare = 0.6 * np.exp(-18 * time) * _random(5, samples)
    return _as_waveform(np.where(beat == 0, kick, snare))


def plucked_string(samples: int, rate: int) -> Waveform:
    """Harmonics of 196 Hz, decaying the faster the higher, plucked once a second, [samples] float32."""
    time = _seconds(samples, rate) % 1.0
    harmonics = range(1, 20)
    return _as_waveform(
        sum((np.exp(-n * 1.5 * time) / n * np.sin(2 * np.pi * 196 * n * time) for n in harmonics), 0 * time)
    )


def speech_like(samples: int, rate: int) -> Waveform:
    """A buzz at speaking pitch through three moving resonances, in syllables with pauses, [samples] float32."""
    time = _seconds(samples, rate)
    phase = 2 * np.pi * np.cumsum(110 + 25 * np.sin(2 * np.pi * 0.7 * time)) / rate
    formants = (500 + 250 * np.sin(2 * np.pi * 1.3 * time), 1500 + 500 * np.sin(2 * np.pi * 0.9 * time), 2500.0)
    signal = np.zeros(samples)
    for harmonic in range(1, 40):
        frequency = 110.0 * harmonic
        weight = sum(np.exp(-(((frequency - formant) / 180.0) ** 2)) for formant in formants)
        signal += weight * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time) + 0.2, 0, None) * (np.sin(2 * np.pi * 0.4 * time) > -0.6)
    return _as_waveform(signal * syllables + 1e-4 * _random(6, samples), 0.7)


SOUNDS: MappingProxyType[str, Callable[[int, int], Waveform]] = MappingProxyType(
    {
        "silence": silence,
        "white noise": white_noise,
        "rain": rain,
        "tone": tone,
        "chirp": chirp,
        "clicks": clicks,
        "bell": bell,
        "drums": drums,
        "plucked string": plucked_string,
        "speech-like": speech_like,
    }
)
"""Every sound of this module by name."""
