"""The log-mel by claprt-native: numpy's bits, whatever the instruction set, the length and the level."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import claprt.audio.log_mel as front_end
from claprt.arrays import Array, Waveform
from claprt.audio.log_mel import hann_window, log_mel, log_mel_of_blocks, mel_filters, native_bands
from claprt.audio.native_bands import NativeBands
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.manifest import MelSpec
from claprt.system.native import SCALAR, native_sets

pytest.importorskip("claprt_native", reason="needs claprt-native: the native extra")

RATE = 48_000
SPECS = [MelSpec(), MelSpec(scale="htk", norm="none"), MelSpec(f_min=0)]
fast = pytest.mark.skipif(native_sets()[0] == SCALAR, reason="needs a processor with AVX-512 VNNI")


def bands(spec: MelSpec, instruction_set: str | None = None) -> NativeBands:
    return NativeBands(hann_window(1024), mel_filters(spec).astype("float32"), spec.hop, instruction_set)


def noise(samples: int, level: float = 0.1) -> Waveform:
    return np.random.default_rng(samples).normal(0, level, samples).astype(np.float32)


@pytest.fixture
def by_numpy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The front end without the library."""
    monkeypatch.setattr(front_end, "native_bands", lambda spec: None)
    return monkeypatch


def both_ways(waveform: Waveform, spec: MelSpec, by_numpy: pytest.MonkeyPatch) -> tuple[Array, Array]:
    """By numpy, and by the library where it has numpy's bits."""
    plain = log_mel(waveform, spec)
    with by_numpy.context() as again:
        again.setattr(front_end, "native_bands", native_bands)
        return plain, log_mel(waveform, spec)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", SOUNDS)
def test_has_the_bits_of_numpy(name: str, spec: MelSpec, by_numpy: pytest.MonkeyPatch) -> None:
    plain, native = both_ways(SOUNDS[name](2 * RATE, RATE), spec, by_numpy)
    assert np.array_equal(plain, native)


@pytest.mark.parametrize("samples", [513, 961, 4_000, 12_345, 480_000])
@pytest.mark.parametrize("level", [0, 1e-20, 1, 1e12])
def test_has_the_bits_of_numpy_at_any_length_and_level(samples: int, level: float, by_numpy: pytest.MonkeyPatch) -> None:
    plain, native = both_ways(noise(samples, level), MelSpec(), by_numpy)
    assert np.array_equal(plain, native)


@pytest.mark.parametrize("value", [np.inf, np.nan, 3e38])
def test_what_is_not_finite_is_left_to_numpy(value: float, by_numpy: pytest.MonkeyPatch) -> None:
    waveform = noise(20_000)
    waveform[10_000] = value
    plain, native = both_ways(waveform, MelSpec(), by_numpy)
    assert not np.isfinite(plain).all()
    assert np.array_equal(plain, native, equal_nan=True)


def test_has_the_bits_of_numpy_in_blocks(by_numpy: pytest.MonkeyPatch) -> None:
    blocks = np.split(noise(100_000), [30_000, 30_700, 61_111])
    plain = log_mel_of_blocks(blocks, MelSpec())
    by_numpy.setattr(front_end, "native_bands", native_bands)
    assert np.array_equal(plain, log_mel_of_blocks(blocks, MelSpec()))


@pytest.mark.parametrize("instruction_set", native_sets())
def test_every_instruction_set_has_the_same_bits(instruction_set: str) -> None:
    signal = noise(1024 + 37 * 480)
    assert np.array_equal(bands(MelSpec(), instruction_set)(signal), bands(MelSpec(), SCALAR)(signal))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_sums_in_the_order_of_bins_rounded_once_each(spec: MelSpec) -> None:
    """What `native_bands` compares with numpy's product, which is this on processors with AVX-512."""
    signal, filters = noise(1024 + 19 * 480), mel_filters(spec).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(signal, 1024)[::480] * hann_window(1024)
    spectrum = np.fft.rfft(frames)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    sums = np.zeros((20, spec.mels), np.float32)
    for column, weights in zip(power.T, filters, strict=True):
        product = column.astype(np.longdouble)[:, None] * weights.astype(np.longdouble)
        sums = (sums.astype(np.longdouble) + product).astype(np.float32)
    assert np.array_equal(bands(spec, SCALAR)(signal), sums)


@fast
def test_is_used_only_with_the_bits_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = front_end._numpy_bands  # pyright: ignore[reportPrivateUsage]

    def backwards(reflected: Waveform, spec: MelSpec, dtype: str) -> Array:
        found = real(reflected, spec, dtype)
        found[-1, -1] = np.nextafter(found[-1, -1], np.float32(np.inf))
        return found

    monkeypatch.setattr(front_end, "_numpy_bands", backwards)
    assert native_bands.__wrapped__(MelSpec()) is None


@fast
def test_is_used_for_the_published_checkpoints_only() -> None:
    filters = mel_filters(MelSpec()).astype("float32")
    assert NativeBands.open(hann_window(1024), filters, 480) is not None
    assert NativeBands.open(hann_window(512), filters, 480) is None, "another transform"
    filters[:, 3] = 0
    assert NativeBands.open(hann_window(1024), filters, 480) is None, "a filter without bins"


def test_a_signal_without_a_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="1023 samples have no frame of 1024"):
        bands(MelSpec())(noise(1023))


def test_has_the_same_bits_from_many_threads() -> None:
    of, signal = bands(MelSpec()), noise(100_000)
    alone = of(signal)
    with ThreadPoolExecutor(6) as pool:
        assert all(np.array_equal(alone, found) for found in pool.map(of, [signal] * 12))
