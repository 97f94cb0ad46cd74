"""What is assumed of samples whose dtype does not say their full scale, and of arrays without a rate: said once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.audio.levels import mono_samples
from claprt.audio.synthetic import SOUNDS
from claprt.errors import AssumedLevelsWarning, AssumedRateWarning, AudioShapeError, NonFiniteAudioError
from claprt.model import batching

RATE = 48_000
SIXTEEN = np.array([-32768, -1, 0, 1, 12_000, 32767], np.int16)


@pytest.fixture
def sound() -> Any:
    loud = SOUNDS["rain"](RATE, RATE)
    return 0.9 * loud / np.abs(loud).max()


def raised(call: Any) -> list[str]:
    """The warnings of a call, all of them shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("dtype", ["int32", "int64", ">i4", ">i8"])
def test_wide_integers_that_fit_16_bits_are_16_bits(dtype: str) -> None:
    with pytest.warns(AssumedLevelsWarning, match=r"fit into 16 bits.*32768.*astype\(numpy.int16\)"):
        found = mono_samples("x", SIXTEEN.astype(dtype))
    assert np.array_equal(found, mono_samples("x", SIXTEEN))
    assert found.dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_wide_unsigned_integers_that_fit_16_bits_are_unsigned_16_bits(dtype: str) -> None:
    unsigned = np.array([0, 32768, 49152, 65535], np.uint16)
    with pytest.warns(AssumedLevelsWarning, match=r"astype\(numpy.uint16\)"):
        assert np.array_equal(mono_samples("x", unsigned.astype(dtype)), mono_samples("x", unsigned))


def test_beyond_16_bits_the_dtype_counts() -> None:
    assert mono_samples("x", np.array([2**30, -(2**31), 32768], np.int32)).tolist() == [0.5, -1.0, 2.0**-16]
    assert mono_samples("x", np.array([2**62, 0], np.int64)).tolist() == [0.5, 0.0]
    assert mono_samples("x", np.array([2**62 * 3, 2**63], np.uint64)).tolist() == [0.5, 0.0]


@pytest.mark.parametrize("peak", [32_768, -32_769, 2**23 - 1, 2**31 - 1, -(2**31), 2**40])
def test_64_bits_that_hold_some_other_width_are_refused(peak: int) -> None:
    with pytest.raises(AudioShapeError, match=rf"reach {abs(peak)}: .*astype\(numpy.int32\).*astype\(numpy.int16\)"):
        mono_samples("x", np.array([0, peak], np.int64))


def test_silence_needs_no_word(recwarn: pytest.WarningsRecorder) -> None:
    assert not mono_samples("x", np.zeros(9, np.int64)).any()
    assert not recwarn.list


def test_the_vector_is_that_of_16_bits(clap: claprt.Clap, sound: Any) -> None:
    short = (sound * 32767).astype(np.int16)
    expected = clap.embed_audio(short, RATE)
    for same in (short.astype(np.int32), short.astype(int), short.tolist(), np.array(short.tolist())):
        assert np.array_equal(clap.embed_audio(same, RATE), expected)


def test_floats_at_the_scale_of_integers_are_warned_of_once(clap: claprt.Clap, sound: Any) -> None:
    for dtype in (np.float32, np.float64):
        loud = (sound * 32767).astype(dtype)
        said = raised(lambda loud=loud: clap.embed_audio(loud, RATE))
        assert len(said) == (dtype is np.float32)
        assert all("reach 29490" in one and "array / 32768" in one for one in said)
    assert raised(lambda: clap.embed_audio((sound * 90).astype(np.float32), RATE)) == []


def test_levels_say_nothing_where_the_recipe_divides_by_the_peak(bundle: Path, sound: Any) -> None:
    clap = claprt.load(bundle, preprocess="kromosynth")
    wide = (sound * 2**23).astype(np.int64)  # as wide as 24 bits, which would be refused otherwise
    rows: list[Any] = []
    assert raised(lambda: rows.extend(clap.embed_audio([wide, sound * 3e4], RATE))) == []
    assert np.abs(rows[0] - rows[1]).max() < 1e-3


def test_a_missing_rate_is_warned_of_once(clap: claprt.Clap, sound: Any) -> None:
    with pytest.warns(AssumedRateWarning, match=r"48000 Hz is assumed.*sample_rate=48000") as caught:
        clap.embed_audio([sound, sound])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert raised(lambda: [clap.embed_audio(sound), clap.embed_audio({"array": sound})]) == []


def test_a_rate_that_is_given_is_not_warned_of(clap: claprt.Clap, sound: Any, tmp_path: Path) -> None:
    stated = [(sound, RATE), {"array": sound, "sampling_rate": RATE}]
    assert raised(lambda: [clap.embed_audio(stated), clap.embed_audio(sound, RATE)]) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_as_an_error_it_is_raised_and_not_swallowed(clap: claprt.Clap, sound: Any, on_error: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(AssumedRateWarning):
                clap.embed_audio([sound], on_error=on_error)
            with pytest.raises(AssumedLevelsWarning):
                clap.embed_audio([sound * 3e4], RATE, on_error=on_error)


def test_as_an_error_in_a_reader_it_is_raised_where_the_results_are_taken(
    bundle: Path, sound: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "PARALLEL_AFTER", 4)
    clap = claprt.load(bundle, threads=2, batch_size=2)

    def sounds() -> Iterator[Any]:
        for number in range(30):
            yield sound * 3e4 if number == 20 else sound

    before = threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AssumedLevelsWarning):
            clap.embed_audio(sounds(), RATE)
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[np.inf, 1], [-np.inf, 1], [0, 0]], np.float32).T, "inf near sample 0"),
        (np.array([[1, np.nan, 1], [1, 1, 1]]), "nan near sample 1"),
        (np.array([[1, 1, 1], [1, 1, -np.inf]]), "-inf near sample 2"),
        (np.full((2, 4), 3e38, np.float32), "far beyond full scale"),
        (np.array([1e300, 1], np.longdouble), "inf near sample 0"),
    ],
)
def test_what_is_not_finite_is_refused_without_a_warning_of_numpy(
    array: Any, words: str, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(NonFiniteAudioError, match=words):
        mono_samples("x", array)
    assert not recwarn.list
