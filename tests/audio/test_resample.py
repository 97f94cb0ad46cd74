"""Both resamplers: lengths, levels, and the same samples however a signal is cut into blocks."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest

from claprt.audio.resample import KaiserResampler, Samples, SoxrResampler, resample_kaiser

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


ODD = [1_001, 12_345, 44_056, 47_999, 48_001, 95_999, 191_999, 767_999]
"""Rates whose ratio to 48 kHz has hundreds of phases and more."""


def resampy(signal: Samples, rate: int, positions: list[int]) -> list[float]:
    """Output samples at some positions as resampy 0.2.2 computes them, one after the other, in float64."""
    half = np.linspace(0, 64, 64 * 512 + 1)
    table = (
        np.kaiser(2 * 64 * 512 + 1, 14.769656459379492)[64 * 512 :]
        * 0.9475937167399596
        * np.sinc(0.9475937167399596 * half)
    )
    scale = min(1.0, 48_000 / rate)
    table = table * scale
    slopes, step = np.diff(table, append=table[-1]), int(scale * 512)
    found: list[float] = []
    for position in positions:
        middle, remainder = divmod(position * rate, 48_000)
        total = 0.0
        for fraction, first, way in ((remainder / 48_000, middle, -1), (1 - remainder / 48_000, middle + 1, 1)):
            index = fraction * scale * 512
            offset = int(index)
            there = first + 1 if way < 0 else signal.size - first
            places = offset + step * np.arange(min(there, (table.size - offset) // step))
            weights = table[places] + (index - offset) * slopes[places]
            total += float(np.dot(weights, signal[first + way * np.arange(places.size)].astype(np.float64)))
        found.append(total)
    return found


@pytest.mark.parametrize("rate", [*RATES, *ODD])
def test_kaiser_is_resampys(rate: int) -> None:
    draw = np.random.default_rng(1)
    signal = draw.uniform(-1, 1, max(3_000, rate // 3)).astype(np.float32)
    resampled = resample_kaiser(signal, rate, 48_000)
    assert resampled.size == int(signal.size * (48_000 / rate))
    positions = [0, 1, resampled.size - 1, *draw.integers(0, resampled.size, 200).tolist()]
    assert np.abs(resampled[positions] - np.array(resampy(signal, rate, positions))).max() < 1e-6


@pytest.mark.parametrize("rate", [*RATES, *ODD])
def test_blocks_do_not_matter_to_kaiser(rate: int) -> None:
    """To the last bit, and more than one block of output is made."""
    draw = np.random.default_rng(2)
    signal = draw.normal(0, 0.3, 7 * rate if rate < 20_000 else 2 * rate).astype(np.float32)
    resampler, parts, start = KaiserResampler(rate, 48_000, "float32"), list[Samples](), 0
    while start < signal.size:
        end = start + int(draw.integers(1, signal.size // 3))
        parts.append(resampler(signal[start:end], last=end >= signal.size))
        start = end
    assert np.array_equal(np.concatenate(parts), resample_kaiser(signal, rate, 48_000))


def seconds_of(rate: int) -> float:
    """Processor time for ten seconds of sound, the least of three tries."""
    signal, taken = np.zeros(10 * rate, np.float32), list[float]()
    for _ in range(3):
        started = time.process_time()
        resample_kaiser(signal, rate, 48_000)
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.seconds
def test_an_odd_rate_costs_little_more_than_a_common_one() -> None:
    """2.5 times as much, where weights for each phase took 50 times as much."""
    common = seconds_of(44_100)
    for rate in (1_001, 44_101, 47_999):
        assert seconds_of(rate) < 5 * common
    assert seconds_of(191_999) < 12 * common


@pytest.mark.parametrize("rate", [1_000, 1_001, 44_100, 767_999])
@pytest.mark.seconds
def test_kaiser_holds_little_of_a_long_signal(rate: int) -> None:
    resampler, piece = KaiserResampler(rate, 48_000, "float32"), np.zeros(min(rate, 100_000), np.float32)
    tracemalloc.start()
    try:
        for _ in range(60 if rate < 100_000 else 15):
            resampler(piece, last=False)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
