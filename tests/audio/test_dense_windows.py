"""Overlapping windows that share their spectra: each log-mel is that of the window's samples alone, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from claprt.arrays import LogMel, Waveform
from claprt.audio.dense_windows import DenseWindows
from claprt.audio.log_mel import log_mel
from claprt.audio.long_audio import LongAudioPolicy, LongMode, fit_window
from claprt.audio.windows import cut_windows
from claprt.bundle.manifest import AudioConfig, MelSpec

RATE = 48_000
CONFIG = AudioConfig(
    architecture="", mel=MelSpec(), window_samples=96_000, fused=False, fill="repeatpad"
)  # two seconds, so that tests are short


def policy(hop_s: float, window_s: float | None = None) -> LongAudioPolicy:
    return LongAudioPolicy(mode=LongMode.WINDOWS, hop_s=hop_s, window_s=window_s)


def noise(samples: int) -> Waveform:
    return (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def dense(clip: Waveform, block: int, hop_s: float, window_s: float | None = None) -> list[tuple[int, LogMel]]:
    windows = DenseWindows(CONFIG, policy(hop_s, window_s))
    found = [window for start in range(0, clip.size, block) for window in windows.push(clip[start : start + block])]
    return found + list(windows.end())


@pytest.fixture(params=["as installed", "numpy", "numpy, by windows"])
def front_end(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """claprt-native where it is installed; numpy, and numpy whose product depends on a frame's place."""
    if request.param != "as installed":

        def none(_: MelSpec) -> None:
            return None

        monkeypatch.setattr("claprt.audio.log_mel.native_bands", none)
    if request.param == "numpy, by windows":

        def differently(_: MelSpec) -> bool:
            return False

        monkeypatch.setattr("claprt.audio.log_mel.rounds_alike", differently)


@pytest.mark.usefixtures("front_end")
@pytest.mark.parametrize("block", [4799, 1 << 20])
@pytest.mark.parametrize(
    ("samples", "options", "shares"),
    [
        (RATE * 7 + 1234, {"hop_s": 0.5}, True),
        (RATE * 4 + 479, {"hop_s": 1.0}, True),  # the last window is given longer by less than a hop
        (RATE * 3 + 1, {"hop_s": 1.0}, True),
        (RATE * 3, {"hop_s": 0.01}, True),
        (RATE * 4 + 7, {"hop_s": 0.333}, False),  # between two frames
        (RATE * 5 + 7, {"hop_s": 2.0}, False),
        (RATE * 2 + 77, {"hop_s": 0.5, "window_s": 0.7}, False),
        (700, {"hop_s": 0.5}, True),  # shorter than a window
    ],
)
def test_log_mels_are_those_of_the_samples_alone(samples: int, options: dict[str, float], shares: bool, block: int) -> None:
    clip = noise(samples)
    window = round(options.get("window_s", 2.0) * RATE)
    tolerance = 480 if window == CONFIG.window_samples else 1
    expected = list(cut_windows([clip], window, round(options["hop_s"] * RATE), tolerance))
    found = dense(clip, block, **options)
    assert DenseWindows(CONFIG, policy(**options)).shares is shares
    assert [start for start, _ in found] == [start for start, _ in expected]
    for (_, mel), (_, part) in zip(found, expected, strict=True):
        assert np.array_equal(mel, log_mel(fit_window(part, CONFIG), CONFIG.mel))


def test_a_clip_without_samples_has_no_window() -> None:
    assert dense(np.empty(0, np.float32), 1, hop_s=0.5) == []


def test_memory_does_not_grow_with_the_clip() -> None:
    windows = DenseWindows(CONFIG, policy(1.0))
    block, sizes = np.zeros(10 * RATE, np.float32), set[int]()
    for _ in range(6):
        for start, mel in windows.push(block):
            assert start % RATE == 0
            assert np.isfinite(mel).all()
        sizes.add(windows.nbytes)
    assert len(sizes) == 1
    assert sizes.pop() < 6_000_000
