"""Recipes: levels, resampling, and what counts as longer."""

from __future__ import annotations

import io
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from claprt.audio.preprocess import RECIPES, int16_round_trip, preprocess_blocks, recipe
from claprt.audio.sound import open_sound
from claprt.errors import AudioDecodeError, EmptyAudioError, NonFiniteAudioError, OptionError


def prepared(waveform: NDArray[Any], rate: int, name: str) -> NDArray[np.float32]:
    return np.concatenate(list(preprocess_blocks(open_sound(waveform, rate, 48_000), recipe(name), 48_000)))


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


LONG_S = 61.0


def flac(samples: NDArray[Any], rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def long() -> bytes:
    """Longer than what is kept until the peak is known, with the peak in the middle."""
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, int(LONG_S * 8000)).astype(np.float32)
    samples[200_000] = -0.5
    return flac(samples, 8000)


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.seconds
def test_a_long_sound_is_prepared_as_a_whole_would_be(long: bytes, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read twice where its peak is asked for; the samples are the same to the last bit."""

    def together(source: Any, rate: int | None) -> NDArray[np.float32]:
        return np.concatenate(list(preprocess_blocks(open_sound(source, rate, 48_000), recipe(name), 48_000)))

    decoded, rate = soundfile.read(io.BytesIO(long), dtype="float32")
    found = [together(long, None), together(io.BytesIO(long), None), together(decoded, rate)]
    monkeypatch.setattr("claprt.audio.preprocess._KEPT_S", 1000)
    expected = together(long, None)
    assert expected.size == LONG_S * 48_000
    for one in found:
        assert np.array_equal(one, expected)


def test_a_file_object_is_read_twice(long: bytes) -> None:
    sound = open_sound(io.BytesIO(long), None, 48_000)
    first = np.concatenate(list(sound.blocks))
    assert sound.again is not None
    assert np.array_equal(np.concatenate(list(sound.again())), first)


@pytest.mark.seconds
def test_what_can_be_read_once_is_kept(long: bytes) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    sound = open_sound(Pipe(long), None, 48_000)
    assert sound.again is None
    samples = np.concatenate(list(preprocess_blocks(sound, recipe("kromosynth"), 48_000)))
    assert np.array_equal(
        samples, np.concatenate(list(preprocess_blocks(open_sound(long, None, 48_000), recipe("kromosynth"), 48_000)))
    )


def test_a_sound_that_changes_between_two_readings_is_refused(long: bytes) -> None:
    sound = open_sound(long, None, 48_000)
    changed = replace(sound, again=lambda: iter([np.zeros(70 * 8000, np.float32)]))
    with pytest.raises(AudioDecodeError, match="changed"):
        list(preprocess_blocks(changed, recipe("kromosynth"), 48_000))


@pytest.mark.parametrize(("rate", "seconds"), [(1_000, 240), (44_101, LONG_S)])
@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.seconds
def test_minutes_of_silence_take_little_memory(name: str, rate: int, seconds: float) -> None:
    """Four of them are 46 MB at the model's rate; at an odd rate the resampler's filter is what could be large."""
    file = flac(np.zeros(int(seconds * rate), np.float32), rate)
    tracemalloc.start()
    try:
        samples = sum(block.size for block in preprocess_blocks(open_sound(file, None, 48_000), recipe(name), 48_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert abs(samples - seconds * 48_000) < 48
    assert peak < 40e6


@pytest.mark.parametrize("name", ["laion", "transformers", "kromosynth"])
def test_a_long_array_takes_little_memory(name: str) -> None:
    samples = np.full(48_000 * 200, 0.1, np.float32)
    tracemalloc.start()
    try:
        for _ in preprocess_blocks(open_sound(samples, 48_000, 48_000), recipe(name), 48_000):
            pass
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


def test_levels_beyond_float32_after_resampling_are_refused() -> None:
    with pytest.raises(NonFiniteAudioError, match="far beyond full scale"):
        prepared(
            np.full(2_000, 3.3e38, np.float32) * np.sign(np.sin(np.arange(2_000))).astype(np.float32), 47_999, "kromosynth"
        )
