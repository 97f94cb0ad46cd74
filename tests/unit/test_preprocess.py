"""Recipes: levels, resampling, and what counts as longer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from claprt.audio import open_sound
from claprt.errors import EmptyAudioError, NonFiniteAudioError, OptionError
from claprt.preprocess import RECIPES, int16_round_trip, prepared_blocks, recipe


def prepared(waveform: NDArray[Any], rate: int, name: str) -> NDArray[np.float32]:
    return np.concatenate(list(prepared_blocks(open_sound(waveform, rate, 48_000), recipe(name), 48_000)))


def test_int16_round_trip_is_laions_for_every_level() -> None:
    """Every 16-bit level and every float near one; LAION divides in float64 and narrows, which is the same."""
    levels = np.arange(-32768, 32768) / np.float32(32768)
    values = np.concatenate([levels, np.nextafter(levels, 2), np.nextafter(levels, -2)]).astype(np.float32)
    quantised = (np.clip(values, -1.0, 1.0) * 32767.0).astype(np.int16)
    assert np.array_equal(int16_round_trip(values), (quantised / 32767.0).astype(np.float32))
    assert int16_round_trip(values).dtype == np.float32


def test_int16_round_trip_of_float64_quantises_in_float64() -> None:
    value = np.array([100 / 32767])
    assert int16_round_trip(value)[0] == np.float32((value * 32767.0).astype(np.int16)[0] / 32767.0)


def test_laion_clips_and_quantises() -> None:
    assert prepared(np.array([0.0, 2.0, -2.0, 0.5]), 48_000, "laion").tolist() == pytest.approx([0, 1, -1, 16383 / 32767])


def test_transformers_leaves_levels_alone() -> None:
    waveform = np.array([0.1, 2.0, -3.0], np.float32)
    assert np.array_equal(prepared(waveform, 48_000, "transformers"), waveform)


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("name", ["transformers", "kromosynth"])
def test_float64_beyond_float32_is_refused(name: str, rate: int) -> None:
    waveform = np.full(2_000, 1e300)
    with pytest.raises(NonFiniteAudioError, match=r"array\[2000\]"):
        prepared(waveform, rate, name)


@pytest.mark.parametrize("name", ["laion", "transformers"])
@pytest.mark.parametrize("level", [np.float32(1e38), np.float64(1e300)])
def test_levels_that_the_resampler_cannot_hold_are_refused(name: str, level: np.floating[Any]) -> None:
    """It makes NaN of them, and 16 bits make silence of NaN."""
    with pytest.raises(NonFiniteAudioError, match=r"levels of array\[2000\] are far beyond full scale"):
        prepared(np.full(2_000, level), 44_100, name)


def test_laion_clips_whatever_is_finite() -> None:
    assert prepared(np.array([1e300, -1e300, 0.0]), 48_000, "laion").tolist() == [1, -1, 0]


def test_float32_is_not_copied_and_not_altered() -> None:
    waveform = np.array([3.4e38, -1e-40], np.float32)
    assert np.array_equal(prepared(waveform, 48_000, "transformers"), waveform)


def test_kromosynth_divides_by_the_peak_unless_silent() -> None:
    waveform = np.array([0.0, 0.25, -0.5], np.float32)
    assert prepared(waveform, 48_000, "kromosynth").tolist() == pytest.approx([0, 16383 / 32767, -1])
    assert not prepared(np.zeros(10, np.float32), 48_000, "kromosynth").any()


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_lengths(name: str, rate: int) -> None:
    assert abs(prepared(np.ones(rate, np.float32) * 0.1, rate, name).size - 48_000) <= 1


def test_too_short_to_leave_a_sample() -> None:
    with pytest.raises(EmptyAudioError, match="too short"):
        prepared(np.ones(3, np.float32), 768_000, "kromosynth")


def test_unknown_recipe() -> None:
    with pytest.raises(OptionError, match="laion, transformers, kromosynth"):
        recipe("librosa")
