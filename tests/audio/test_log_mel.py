"""The front end against straightforward float64 arithmetic, and its parts against known values."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from claprt.audio.log_mel import hz_to_mel, log_mel, log_mel_of_blocks, mel_filters, mel_to_hz, used_bins
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.manifest import MelSpec

RATE = 48_000
SPECS = [MelSpec(), MelSpec(scale="htk", norm="none"), MelSpec(f_min=0)]


def reference(waveform: NDArray[np.float32], spec: MelSpec) -> NDArray[np.float64]:
    """Frames cut one by one, with an explicit Fourier matrix: slow and obvious."""
    padded = np.pad(waveform.astype(np.float64), spec.n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.n_fft) / spec.n_fft)
    starts = range(0, waveform.size // spec.hop * spec.hop + 1, spec.hop)
    frames = np.stack([padded[start : start + spec.n_fft] * window for start in starts])
    power = np.abs(frames @ fourier(spec.n_fft)) ** 2
    return 10 * np.log10(np.maximum(power @ triangles(spec), spec.floor))


@cache
def fourier(n_fft: int) -> NDArray[np.complex128]:
    """[n_fft, bins]."""
    return np.exp(-2j * np.pi * np.outer(np.arange(n_fft), np.arange(n_fft // 2 + 1)) / n_fft)


@cache
def triangles(spec: MelSpec) -> NDArray[np.float64]:
    """[bins, mels], filter by filter and bin by bin, from the published definitions of both scales."""

    def mel(hz: float) -> float:
        if spec.scale == "htk":
            return 2595 * math.log10(1 + hz / 700)
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)

    def hertz(mels: float) -> float:
        if spec.scale == "htk":
            return 700 * (10 ** (mels / 2595) - 1)
        return mels * 200 / 3 if mels < 15 else 1000 * 6.4 ** ((mels - 15) / 27)

    first, last = mel(spec.f_min), mel(spec.f_max)
    corners = [hertz(first + (last - first) * position / (spec.mels + 1)) for position in range(spec.mels + 2)]
    filters = np.zeros((spec.n_fft // 2 + 1, spec.mels))
    for column, (left, middle, right) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        height = 2 / (right - left) if spec.norm == "slaney" else 1
        for row in range(len(filters)):
            hz = row * spec.sample_rate / spec.n_fft
            if left < hz < right:
                filters[row, column] = height * (
                    (hz - left) / (middle - left) if hz <= middle else (right - hz) / (right - middle)
                )
    return filters


@pytest.mark.parametrize("spec", SPECS, ids=["slaney", "htk", "from 0 Hz"])
@pytest.mark.parametrize("name", list(SOUNDS))
def test_log_mel_against_reference(spec: MelSpec, name: str) -> None:
    waveform = SOUNDS[name](48_000, RATE)
    expected = reference(waveform, spec)
    assert np.abs(log_mel(waveform, spec) - expected).max() < 1e-4
    assert np.abs(log_mel(waveform, spec, "float64") - expected).max() < 1e-5


@pytest.mark.parametrize("samples", [513, 1024, 479_999, 480_000, 480_001, 480_479, 480_480, 700_001])
def test_frames(samples: int) -> None:
    spec = MelSpec()
    mel = log_mel(np.ones(samples, np.float32), spec)
    assert mel.shape == (spec.frames(samples), 64)
    assert mel.dtype == np.float32


def test_silence_is_the_floor() -> None:
    assert np.allclose(log_mel(np.zeros(48_000, np.float32), MelSpec()), -100.0, atol=1e-5)


@pytest.mark.parametrize("block", [514, 5_000, 48_000, 90_000])
@pytest.mark.parametrize("samples", [96_001, 96_480, 140_001])
def test_blocks_give_what_the_whole_gives(block: int, samples: int) -> None:
    """Of several of the pieces of 60 frames that a waveform is taken in."""
    waveform = SOUNDS["rain"](samples, RATE)
    blocks = [waveform[start : start + block] for start in range(0, samples, block)]
    found = log_mel_of_blocks(blocks, MelSpec())
    assert found.shape == (samples // 480 + 1, 64)
    assert np.abs(found - log_mel(waveform, MelSpec())).max() < 1e-4


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("samples", [513, 230_399, 230_400, 345_601, 480_000])
def test_threads_change_nothing(threads: int, samples: int) -> None:
    waveform = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    assert np.array_equal(log_mel(waveform, MelSpec(), threads=threads), log_mel(waveform, MelSpec()))


def test_filters_of_slaney() -> None:
    """Area one in Hz, and every filter has a bin: librosa warns of empty ones, here there are none."""
    filters = mel_filters(MelSpec())
    assert filters.shape == (513, 64)
    assert (filters.max(axis=0) > 0).all()
    area = filters.sum(axis=0) * 48_000 / 1024
    assert np.abs(area[20:] - 1).max() < 0.05


def test_filters_of_htk_peak_at_one() -> None:
    assert mel_filters(MelSpec(scale="htk", norm="none")).max() <= 1.0


def test_used_bins_hold_all_weight() -> None:
    for spec in SPECS:
        filters, bins = mel_filters(spec), used_bins(spec)
        assert filters[: bins.start].sum() == 0 == filters[bins.stop :].sum()


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scale_inverts(scale: str) -> None:
    for frequency in (0.0, 50.0, 999.9, 1000.0, 14_000.0):
        back = mel_to_hz(np.array([hz_to_mel(frequency, scale)]), scale)[0]
        assert back == pytest.approx(frequency, abs=1e-6)


@pytest.mark.parametrize("facts", [{"f_min": 14_000.0}, {"f_max": 24_001.0}, {"hop": 0}, {"floor": 0.0}, {"mels": 0}])
def test_impossible_spec(facts: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"mel range|must be positive"):
        MelSpec(**facts)  # pyright: ignore[reportArgumentType]
