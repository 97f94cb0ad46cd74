"""The log-mel front end: waveforms to dB, exactly as the checkpoints were trained on, with numpy.

Windowing and the Fourier transform are done in float64 and only the power spectrum is narrowed to float32. A float32
transform leaves an error near 1e-7 of the loudest bin in every bin, which is 0.05 dB where a mel is 100 dB below the
loudest one; float64 costs a few percent more time and leaves 1e-5 dB (`benchmarks/front_end.py`). Frames are done in
blocks small enough to stay in the CPU's cache, on several threads where nothing else keeps these busy. The product with the
filters is cut so small that no BLAS splits it over threads: a BLAS thread that still waits for more work when the audio
tower starts makes the tower up to twice as slow.

Where claprt-native is installed, its powers of mel bands take the place of numpy's Fourier transform and product: they are
numpy's to the bit, in a sixth of the time, and are used only if they are so here (`native_bands`).

This is not a general spectrogram: no other windows, no phase, no gradients. The graph of the same front end, for
servers, is built from the same `MelSpec` by `claprt_export.graphs.log_mel_graph`.

Sources: Slaney's Auditory Toolbox (1998) for the Slaney scale; `librosa.filters.mel` and
`torchaudio.functional.melscale_fbanks` for the two filter conventions; `torchlibrosa.stft` for the framing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import LogMel, Waveform
from claprt.audio.native_bands import NativeBands
from claprt.bundle.manifest import MelSpec

Float64s = NDArray[np.float64]

_BLOCK_FRAMES = 60
_PRODUCT_FRAMES = 12  # 12 x 297 x 64 is below the 2^18 multiplications from which OpenBLAS uses threads
_LEAST_SHARE = 240
"""Frames for which another thread is worth its start."""
_COMPARED_FRAMES = 10 * _PRODUCT_FRAMES
"""Of noise, before native bands are used: sums in another order differ in hundreds of them."""
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = 15.0
_SLANEY_STEP = 27.0 / np.log(6.4)


def hz_to_mel(frequency: float, scale: str) -> float:
    """Position of a frequency in Hz on a mel scale.

    Example:
        >>> hz_to_mel(1000.0, "slaney")
        15.0
        >>> round(hz_to_mel(1000.0, "htk"), 4)
        999.9855
    """
    if scale == "htk":
        return float(2595.0 * np.log10(1.0 + frequency / 700.0))
    if frequency < _SLANEY_BREAK_HZ:
        return 3.0 * frequency / 200.0
    return float(_SLANEY_BREAK_MEL + _SLANEY_STEP * np.log(frequency / _SLANEY_BREAK_HZ))


def mel_to_hz(mels: Float64s, scale: str) -> Float64s:
    """Frequencies in Hz of positions on a mel scale; the inverse of `hz_to_mel`."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    return np.where(
        mels < _SLANEY_BREAK_MEL,
        200.0 * mels / 3.0,
        _SLANEY_BREAK_HZ * np.exp((mels - _SLANEY_BREAK_MEL) / _SLANEY_STEP),
    )


@cache
def mel_filters(spec: MelSpec) -> Float64s:
    """Triangular filters [bins, mels] float64, to be multiplied with a power spectrum [frames, bins]."""
    low, high = hz_to_mel(spec.f_min, spec.scale), hz_to_mel(spec.f_max, spec.scale)
    corners = mel_to_hz(np.linspace(low, high, spec.mels + 2), spec.scale)
    bins = np.arange(spec.n_fft // 2 + 1) * (spec.sample_rate / spec.n_fft)
    widths = np.diff(corners)
    rising = (bins[:, None] - corners[:-2]) / widths[:-1]
    falling = (corners[2:] - bins[:, None]) / widths[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if spec.norm == "slaney":
        filters *= 2.0 / (corners[2:] - corners[:-2])
    return filters


def hann_window(length: int) -> Float64s:
    """Periodic Hann window [length] float64."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)


def used_bins(spec: MelSpec) -> slice:
    """The bins that some filter looks at; the others need not be computed.

    Example:
        >>> used_bins(MelSpec())
        slice(2, 299, None)
    """
    used = np.flatnonzero(mel_filters(spec).any(axis=1))
    return slice(int(used[0]), int(used[-1]) + 1)


@cache
def _window_and_filters(spec: MelSpec, dtype: str) -> tuple[Float64s, slice, NDArray[np.floating]]:
    bins = used_bins(spec)
    return hann_window(spec.n_fft), bins, mel_filters(spec)[bins].astype(dtype)


def log_mel(waveform: Waveform, spec: MelSpec, dtype: str = "float32", *, threads: int = 1) -> LogMel:
    """Log-mel [frames, mels] in dB of one waveform [samples].

    Args:
        waveform: At the rate of `spec`; longer than half a transform (512 samples for the published checkpoints), since
            its ends are continued by reflection.
        spec: The front end.
        dtype: `float32`, or `float64` to keep the power spectrum and the result in float64 too.
        threads: Most of them to use; the result is the same to the bit.

    Example:
        >>> log_mel(np.zeros(480_000, np.float32), MelSpec()).shape
        (1001, 64)
    """
    half = spec.n_fft // 2
    reflected = np.concatenate([waveform[half:0:-1], waveform, waveform[-2 : -half - 2 : -1]])
    frames = (reflected.size - spec.n_fft) // spec.hop + 1
    shares = min(threads, frames // _LEAST_SHARE)
    if shares <= 1 or (dtype == "float32" and native_bands(spec) is not None):  # whose time is not worth a thread
        return _log_mel_of_padded(reflected, spec, dtype)
    # whole blocks, so that frames are multiplied with the filters in the same groups
    share = -(-frames // (shares * _BLOCK_FRAMES)) * _BLOCK_FRAMES
    stretches = [
        reflected[start * spec.hop : (min(start + share, frames) - 1) * spec.hop + spec.n_fft]
        for start in range(0, frames, share)
    ]
    with ThreadPoolExecutor(len(stretches) - 1) as pool:
        others = [pool.submit(_log_mel_of_padded, stretch, spec, dtype) for stretch in stretches[1:]]
        first = _log_mel_of_padded(stretches[0], spec, dtype)
        return np.concatenate([first, *(other.result() for other in others)])


def log_mel_of_blocks(blocks: Iterable[Waveform], spec: MelSpec) -> LogMel:
    """`log_mel` [frames, mels] of a waveform that arrives in blocks [samples], without holding all of it.

    The first block must be longer than half a transform.
    """
    return np.concatenate([_log_mel_of_padded(stretch, spec, "float32") for stretch in _stretches(blocks, spec)])


def _stretches(blocks: Iterable[Waveform], spec: MelSpec) -> Iterator[Waveform]:
    """Stretches of the reflected signal whose frames, put together, are the frames of the whole."""
    half = spec.n_fft // 2
    held: Waveform | None = None
    for new in blocks:
        held = np.concatenate([new[half:0:-1], new] if held is None else [held, new])
        frames = (held.size - spec.n_fft) // spec.hop + 1 - 1  # one is kept back, so that the end can be reflected
        if frames > 0:
            yield held[: (frames - 1) * spec.hop + spec.n_fft]
            held = held[frames * spec.hop :]
    if held is not None:
        yield np.concatenate([held, held[-2 : -half - 2 : -1]])


def _log_mel_of_padded(reflected: Waveform, spec: MelSpec, dtype: str) -> LogMel:
    native = native_bands(spec) if dtype == reflected.dtype == "float32" else None
    bands = None if native is None else native(reflected)
    if bands is None or not np.isfinite(bands).all():  # a dense product spreads what is infinite in other ways
        bands = _numpy_bands(reflected, spec, dtype)
    return _decibels(bands, spec)


@cache
def native_bands(spec: MelSpec) -> NativeBands | None:
    """The powers of mel bands by claprt-native, if that is installed and here has the bits of numpy; else None.

    numpy's product of matrices is that of its BLAS, which sums in another order on some processors.
    """
    native = NativeBands.open(hann_window(spec.n_fft), mel_filters(spec).astype("float32"), spec.hop)
    if native is None:
        return None
    samples = np.arange((_COMPARED_FRAMES - 1) * spec.hop + spec.n_fft)
    noise = (samples**2 % 10_007 / 10_007 - 0.5).astype("float32")  # numpy's own noise takes 30 ms to import
    return native if np.array_equal(native(noise), _numpy_bands(noise, spec, "float32")) else None


def _numpy_bands(reflected: Waveform, spec: MelSpec, dtype: str) -> NDArray[Any]:
    """Powers of mel bands [frames, mels] of a signal that begins with the first frame."""
    return _bands(_spectra(reflected, spec, dtype), spec)


def _spectra(reflected: Waveform, spec: MelSpec, dtype: str) -> NDArray[Any]:
    """Powers [frames, bins] of the bins that some filter looks at."""
    window, bins, filters = _window_and_filters(spec, dtype)
    frames = np.lib.stride_tricks.sliding_window_view(reflected, spec.n_fft)[:: spec.hop]
    power = np.empty((len(frames), len(filters)), dtype)
    windowed = np.empty((min(_BLOCK_FRAMES, len(frames)), spec.n_fft))  # float64, used again by every block
    with np.errstate(over="ignore", invalid="ignore"):  # levels beyond float32 give infinity, which callers look for
        for start in range(0, len(frames), _BLOCK_FRAMES):
            block = frames[start : start + _BLOCK_FRAMES]
            spectrum = np.fft.rfft(np.multiply(block, window, out=windowed[: len(block)]))[:, bins]
            power[start : start + len(spectrum)] = spectrum.real**2 + spectrum.imag**2
    return power


def _bands(power: NDArray[Any], spec: MelSpec) -> NDArray[Any]:
    """Powers of mel bands [frames, mels] of spectra [frames, bins], in groups of frames that are counted from the first."""
    _, _, filters = _window_and_filters(spec, power.dtype.name)
    frames, whole = len(power), len(power) // _PRODUCT_FRAMES * _PRODUCT_FRAMES
    last = np.zeros((_PRODUCT_FRAMES, len(filters)), power.dtype)
    last[: frames - whole] = power[whole:]
    result = np.empty((whole + _PRODUCT_FRAMES, spec.mels), power.dtype)
    groups = result.reshape(-1, _PRODUCT_FRAMES, spec.mels)
    with np.errstate(over="ignore", invalid="ignore"):
        np.matmul(power[:whole].reshape(-1, _PRODUCT_FRAMES, len(filters)), filters, out=groups[:-1])
        np.matmul(last, filters, out=groups[-1])
    return result[:frames]


def frame_rows(samples: Waveform, spec: MelSpec) -> NDArray[np.float32]:
    """What windows that overlap share of a frame, of every frame that lies within these samples: [frames, row] float32.

    A row has the powers of the mel bands; or those of the spectrum where the rounding of numpy's product with the filters
    depends on a frame's place in its group, which each window then computes for itself.

    Args:
        samples: [samples]; frames begin at its first sample, every `spec.hop`. Nothing is continued at its ends.
        spec: The front end.
    """
    if (native := native_bands(spec)) is not None:
        return native(samples)
    spectra = _spectra(samples, spec, "float32")
    return _bands(spectra, spec) if rounds_alike(spec) else spectra


def log_mel_of_rows(rows: NDArray[np.float32], spec: MelSpec) -> LogMel:
    """`log_mel` [frames, mels] of a window from its `frame_rows` [frames, row], to the bit. May overwrite them."""
    has_bands = native_bands(spec) is not None or rounds_alike(spec)
    return _decibels(rows if has_bands else _bands(rows, spec), spec)


@cache
def rounds_alike(spec: MelSpec) -> bool:
    """Whether numpy's product gives a frame the same bits at every place in its group, as most BLAS do: tried on noise."""
    frames = _COMPARED_FRAMES + _PRODUCT_FRAMES
    bins = _window_and_filters(spec, "float32")[2].shape[0]
    noise = (np.arange(frames * bins) ** 2 % 10_007 / 10_007).astype("float32").reshape(frames, bins)
    bands = _bands(noise, spec)
    return all(np.array_equal(_bands(noise[shift:], spec), bands[shift:]) for shift in range(1, _PRODUCT_FRAMES))


def _decibels(bands: NDArray[Any], spec: MelSpec) -> NDArray[Any]:
    """Levels in dB of powers, in their place."""
    with np.errstate(invalid="ignore"):
        np.maximum(bands, spec.floor, out=bands)
        np.log10(bands, out=bands)
        bands *= 10.0
    return bands
