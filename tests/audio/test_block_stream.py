"""A sound in blocks: the features are those of the sound in one piece, to the bit, however it is cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from claprt.audio.block_stream import BlockStream
from claprt.audio.features import AudioFeatures, audio_features
from claprt.audio.long_audio import LongAudioPolicy, LongMode
from claprt.audio.preprocess import RECIPES
from claprt.bundle.manifest import AudioConfig, MelSpec
from claprt.errors import AudioShapeError, NonFiniteAudioError, OptionError, SampleRateError

CONFIG = AudioConfig(architecture="", mel=MelSpec(), window_samples=24_000, fused=False, fill="repeatpad")
POLICY = LongAudioPolicy(mode=LongMode.WINDOWS, hop_s=0.2)


def noise(samples: int, channels: int | None = None, dtype: str = "float32") -> NDArray[Any]:
    shape = samples if channels is None else (samples, channels)
    sound = 0.3 * np.random.default_rng(samples).standard_normal(shape)
    return sound.astype(dtype) if dtype[0] == "f" else (sound.clip(-1, 1) * np.iinfo(dtype).max).astype(dtype)


def streamed(sound: NDArray[Any], rate: int, cuts: list[int], recipe: str = "laion") -> list[AudioFeatures]:
    stream = BlockStream(CONFIG, RECIPES[recipe], POLICY, rate)
    found: list[AudioFeatures] = []
    for begin, end in pairwise([0, *cuts, len(sound)]):
        found += stream.push(sound[begin:end])
    assert stream.samples == len(sound)
    return found + list(stream.end())


def whole(sound: NDArray[Any], rate: int, recipe: str = "laion") -> list[AudioFeatures]:
    source = sound if sound.ndim == 1 else sound.T
    return list(audio_features(source, CONFIG, RECIPES[recipe], POLICY, sample_rate=rate))


def assert_equal(found: list[AudioFeatures], expected: list[AudioFeatures]) -> None:
    assert [one.start_s for one in found] == [one.start_s for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.log_mels, other.log_mels)
        assert one.is_longer == other.is_longer


@pytest.mark.parametrize("recipe", ["laion", "transformers"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize(("rate", "channels"), [(48_000, None), (44_100, 2), (16_000, None), (11_025, 3), (96_000, 1)])
def test_blocks_of_any_size(rate: int, channels: int | None, dtype: str, recipe: str) -> None:
    sound = noise(int(1.7 * rate) + 11, channels, dtype)
    expected = whole(sound, rate, recipe)
    sizes = np.random.default_rng(rate).choice([0, 1, 7, 100, 4801, rate // 3], 60)
    cuts = [int(cut) for cut in np.cumsum(sizes) if cut < len(sound)]
    assert_equal(streamed(sound, rate, cuts, recipe), expected)
    assert_equal(streamed(sound, rate, [], recipe), expected)


def test_blocks_of_one_sample() -> None:
    sound = noise(7000, 9)  # so many channels that a mean could be taken in another order
    assert_equal(streamed(sound, 8000, list(range(1, 7000))), whole(sound, 8000))


@pytest.mark.parametrize("samples", [1, 2, 100, 4000, 4001])
def test_a_sound_shorter_than_a_window(samples: int) -> None:
    sound = noise(samples)
    assert_equal(streamed(sound, 8000, []), whole(sound, 8000))


def test_nothing_gives_nothing() -> None:
    stream = BlockStream(CONFIG, RECIPES["laion"], POLICY, 8000)
    assert list(stream.push(np.empty(0, np.float32))) == []
    assert list(stream.end()) == []


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        (np.zeros((2, 500), np.float32), AudioShapeError, "would be 500 channels"),
        (np.zeros((500, 2), np.float32), AudioShapeError, "began with 1 channels, and this block has 2"),
        (np.zeros((1, 1, 1), np.float32), AudioShapeError, "3 axes"),
        ([0.0, 1.0], AudioShapeError, "this one is list"),
        (np.zeros(5, np.complex64), AudioShapeError, "complex64"),
        (np.array([0, np.nan], np.float32), NonFiniteAudioError, "a block"),
        (np.append(np.zeros(16_000, np.float32), np.nan), NonFiniteAudioError, "from 1 s on, holds nan near sample 0"),
    ],
)
def test_a_bad_block_is_refused_and_the_stream_goes_on(block: Any, error: type[Exception], message: str) -> None:
    sound = noise(20_000)
    stream = BlockStream(CONFIG, RECIPES["laion"], POLICY, 16_000)
    found = list(stream.push(sound[:9000]))
    with pytest.raises(error, match=message):
        list(stream.push(block))
    found += [*stream.push(sound[9000:]), *stream.end()]
    assert_equal(found, whole(sound, 16_000))


def test_a_long_block_is_taken_in_short_steps() -> None:
    stream = BlockStream(CONFIG, RECIPES["laion"], POLICY, 16_000)
    steps, checked, taken = stream.steps(noise(32_000)), 0, 0
    for step in steps:
        checked += stream.samples == 0
        taken += stream.samples > 0 and step is None
    assert (checked, taken) == (8, 8)  # quarters of a second: all of the block is checked before any of it is taken


def test_what_cannot_be_streamed() -> None:
    with pytest.raises(OptionError, match="divides a sound by its peak"):
        BlockStream(CONFIG, RECIPES["kromosynth"], POLICY, 16_000)
    with pytest.raises(SampleRateError, match="999"):
        BlockStream(CONFIG, RECIPES["laion"], POLICY, 999)
