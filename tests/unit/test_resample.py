"""Both resamplers: lengths, levels, and the same samples however a signal is cut into blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from claprt.resample import Samples, SoxrResampler, resample_kaiser

RATES = [1_000, 8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 47_999, 96_000, 192_000, 768_000]


def in_blocks(signal: Samples, rate: int, block: int) -> Samples:
    resampler = SoxrResampler(rate, 48_000, signal.dtype.name)
    starts = range(0, signal.size, block)
    return np.concatenate([resampler(signal[start : start + block], last=start + block >= signal.size) for start in starts])


def tone(rate: int, seconds: float) -> Samples:
    return np.sin(2 * np.pi * min(440.0, rate / 8) * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_blocks_do_not_matter(rate: int) -> None:
    signal = np.random.default_rng(0).normal(0, 0.1, 10_007).astype(np.float32)
    whole = in_blocks(signal, rate, signal.size)
    assert np.array_equal(whole, in_blocks(signal, rate, 997))
    assert whole.size == math.ceil(signal.size * (48_000 / rate))


@pytest.mark.parametrize("rate", RATES)
def test_both_keep_a_tone(rate: int) -> None:
    """Half a second away from the ends a tone is the same tone; the two filters agree on it."""
    signal = tone(rate, 1.0)
    soxr, kaiser = in_blocks(signal, rate, 4_000), resample_kaiser(signal, rate, 48_000)
    expected = np.sin(2 * np.pi * min(440.0, rate / 8) * np.arange(48_000) / 48_000)
    middle = slice(12_000, 36_000)
    assert np.abs(soxr[middle] - expected[middle]).max() < 2e-3
    assert np.abs(kaiser[middle] - expected[middle]).max() < 2e-3


def test_librosas_length_at_44_1_khz() -> None:
    """5 s become 240001 samples, since 220500 · (48000 / 44100) is a little more than 240000 in floating point."""
    assert in_blocks(np.zeros(220_500, np.float32), 44_100, 100_000).size == 240_001


def test_float64_stays_float64() -> None:
    assert in_blocks(np.zeros(1_000), 16_000, 300).dtype == np.float64
    assert resample_kaiser(np.zeros(1_000), 16_000, 48_000).dtype == np.float64


@pytest.mark.parametrize(("rate", "samples"), [(768_000, 3), (96_000, 1)])
def test_kaiser_of_nearly_nothing(rate: int, samples: int) -> None:
    assert resample_kaiser(np.ones(samples, np.float32), rate, 48_000).size == samples * 48_000 // rate
