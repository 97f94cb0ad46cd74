"""Building blocks of synthesised sounds: oscillators, envelopes, noises, filters. numpy only, 48 kHz.

Every block takes or gives float64 arrays [samples]; levels are set at the end, by whoever mixes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RATE = 48_000
Signal = NDArray[np.float64]
Random = np.random.Generator


def clock(seconds: float) -> Signal:
    """Time in seconds at every sample."""
    return np.arange(max(1, round(seconds * RATE))) / RATE


def between(random: Random, low: float, high: float) -> float:
    """A number between two bounds, equally likely in every octave."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def phase(frequency: Signal | float, time: Signal) -> Signal:
    """Running phase in cycles of a frequency that may change."""
    return np.cumsum(np.broadcast_to(frequency, time.shape)) / RATE


def sine(cycles: Signal) -> Signal:
    """A sine of a phase in cycles."""
    return np.sin(2 * np.pi * cycles)


def harmonic(cycles: Signal, amplitudes: Signal, frequency: float) -> Signal:
    """A sum of harmonics, those above the Nyquist frequency left out."""
    count = max(1, min(len(amplitudes), int(0.45 * RATE / max(frequency, 1.0))))
    turn = np.exp(2j * np.pi * cycles)
    power, out = turn.copy(), np.zeros_like(cycles)
    for amplitude in amplitudes[:count]:
        if amplitude:
            out += amplitude * np.imag(power)
        power *= turn
    return out


def ringing(frequencies: Signal, rates: Signal, amplitudes: Signal, seconds: float) -> Signal:
    """Sum of partials that decay exponentially, each at its own rate [samples].

    Args:
        frequencies: [partials] in Hz.
        rates: of decay [partials], in nepers a second.
        amplitudes: [partials].
        seconds: length.
    """
    samples, block = max(1, round(seconds * RATE)), 1024
    speed = (2j * np.pi * frequencies - rates) / RATE
    starts = amplitudes * np.exp(np.outer(np.arange(-(-samples // block)) * block, speed))
    turning = starts @ np.exp(np.outer(speed, np.arange(block)))
    return np.imag(turning).reshape(-1)[:samples]


def sawtooth(cycles: Signal, frequency: float) -> Signal:
    """All harmonics, falling with their number."""
    return harmonic(cycles, 1 / np.arange(1.0, 81.0), frequency)


def square(cycles: Signal, frequency: float) -> Signal:
    """Odd harmonics, falling with their number."""
    numbers = np.arange(1, 81)
    return harmonic(cycles, np.where(numbers % 2 == 1, 1 / numbers, 0.0), frequency)


def triangle(cycles: Signal, frequency: float) -> Signal:
    """Odd harmonics, falling with the square of their number."""
    numbers = np.arange(1, 41)
    signs = np.where(numbers % 4 == 1, 1.0, -1.0)
    return harmonic(cycles, np.where(numbers % 2 == 1, signs / numbers**2, 0.0), frequency)


def decay(time: Signal, rate: float, attack: float = 0.002) -> Signal:
    """An attack and an exponential fall of `rate` nepers a second."""
    return np.minimum(time / attack, 1.0) * np.exp(-rate * time)


def swell(time: Signal, attack: float, release: float) -> Signal:
    """Fade in and out over the given seconds."""
    end = time[-1] if len(time) > 1 else 1.0
    return np.clip(time / max(attack, 1e-4), 0, 1) * np.clip((end - time) / max(release, 1e-4), 0, 1)


def coloured(random: Random, samples: int, slope: float) -> Signal:
    """Noise whose power falls with frequency to the `slope`: 0 white, 1 pink, 2 brown, -1 blue."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    spectrum *= np.maximum(frequency, 20.0) ** (-slope / 2)
    signal = np.fft.irfft(spectrum, samples)
    return signal / max(float(signal.std()), 1e-12)


def band(signal: Signal, low: float, high: float, order: int = 2) -> Signal:
    """Band-pass with smooth edges, without phase shift [samples].

    Args:
        signal: [samples].
        low: lower edge in Hz.
        high: upper edge in Hz.
        order: steepness of a Butterworth response.
    """
    spectrum = np.fft.rfft(signal)
    frequency = np.maximum(np.fft.rfftfreq(signal.size, 1 / RATE), 1e-3)
    shape = 1 / np.sqrt((1 + (low / frequency) ** (2 * order)) * (1 + (frequency / high) ** (2 * order)))
    return np.fft.irfft(spectrum * shape, signal.size)


def moving_band(random: Random, time: Signal, centre: Signal, width: float) -> Signal:
    """Noise through a resonance that moves [samples]: noise at baseband, shifted to the moving frequency.

    Args:
        random: source of the noise.
        time: [samples] in seconds.
        centre: frequency of the resonance [samples] in Hz.
        width: of the resonance in Hz.
    """
    slow = band(random.standard_normal(time.size), 1.0, width), band(random.standard_normal(time.size), 1.0, width)
    cycles = phase(centre, time)
    return slow[0] * np.cos(2 * np.pi * cycles) + slow[1] * np.sin(2 * np.pi * cycles)


def place(seconds: float, starts: NDArray[np.floating], make: Callable[[int], Signal]) -> Signal:
    """Silence [samples] of some length with a sound mixed in at each start [events] in seconds."""
    out = np.zeros(max(1, round(seconds * RATE)))
    for number, start in enumerate(starts):
        first = round(start * RATE)
        part = make(number)[: max(0, out.size - first)]
        out[first : first + part.size] += part
    return out


def regular(random: Random, seconds: float, rate: float, jitter: float = 0.0) -> Signal:
    """Start times [events] in seconds of a regular series of events.

    Args:
        random: source of the phase and of the jitter.
        seconds: length of the series.
        rate: events a second.
        jitter: standard deviation as a share of the period.
    """
    starts = np.arange(0, seconds, 1 / rate) + random.uniform(0, min(0.5 / rate, 0.3 * seconds))
    return np.maximum(starts + random.normal(0, 1, starts.size) * jitter / rate, 0)


def scattered(random: Random, seconds: float, rate: float) -> Signal:
    """Start times of events that come at random, `rate` a second on average and at least one."""
    return np.sort(random.uniform(0, seconds, max(1, random.poisson(rate * seconds))))


def room(random: Random, signal: Signal, seconds: float, wet: float) -> Signal:
    """A simple reverberation [samples]: exponentially decaying noise as impulse response.

    Args:
        random: source of the noise.
        signal: [samples].
        seconds: to -60 dB.
        wet: level of the reverberation relative to the signal.
    """
    length = round(seconds * RATE)
    answer = random.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    answer /= np.sqrt((answer**2).sum())
    size = signal.size + length
    tail = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(answer, size), size)[: signal.size]
    return signal + wet * tail
