"""Powers of mel bands by claprt-native: a float64 Fourier transform with numpy's bits, eight frames at a time.

Source: `native/src/mels.h` and `native/src/spectrum.h`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Waveform
from claprt.errors import MissingDependencyError
from claprt.system.native import SCALAR, native_functions, native_sets

TRANSFORM = 1024
"""Samples of a frame, the only number of them that the library has."""
_NO_MEMORY = 2


class NativeBands:
    """The front end of one checkpoint; what it is called with may come from many threads."""

    def __init__(
        self, window: NDArray[np.float64], filters: NDArray[np.float32], hop: int, instruction_set: str | None = None
    ) -> None:
        """Arrange the filters.

        Args:
            window: [1024].
            filters: [513, bands], each of a few neighbouring bins.
            hop: Samples from frame to frame.
            instruction_set: One of `claprt.system.native.native_sets`; None for the fastest.

        Raises:
            MissingDependencyError: If the library is not installed, or cannot be used here.
            ValueError: If the window has another length, or a filter has no bin.
        """
        if window.shape != (TRANSFORM,):
            raise ValueError(f"frames of {len(window)} samples; the library has a transform of {TRANSFORM}")
        used = filters != 0
        if not used.any(axis=0).all():
            raise ValueError("a filter has no bin")
        self._call = native_functions().claprt_native_mels
        self._set = None if instruction_set is None else instruction_set.encode()
        self._hop, self._bands, self._window = hop, filters.shape[1], np.ascontiguousarray(window)
        self._first = used.argmax(axis=0).astype(np.int32)
        ends = len(filters) - used[::-1].argmax(axis=0)
        self._length = (ends - self._first).astype(np.int32)
        columns = [filters[first:end, band] for band, (first, end) in enumerate(zip(self._first, ends, strict=True))]
        self._weight = np.concatenate(columns).astype(np.float32)

    @classmethod
    def open(cls, window: NDArray[np.float64], filters: NDArray[np.float32], hop: int) -> NativeBands | None:
        """The same, or None where the library cannot compute it, or not faster than numpy does.

        Args:
            window: [1024].
            filters: [513, bands].
            hop: Samples from frame to frame.
        """
        try:
            return cls(window, filters, hop) if native_sets()[0] != SCALAR else None
        except (MissingDependencyError, ValueError):
            return None

    def __call__(self, signal: Waveform) -> NDArray[Any]:
        """Powers of the bands [frames, bands] float32 of a signal [samples] float32 that begins with the first frame.

        Raises:
            ValueError: If there is less than a frame.
            MemoryError: If there is not enough memory.
        """
        signal = np.ascontiguousarray(signal, np.float32)
        frames = (signal.size - TRANSFORM) // self._hop + 1
        bands = np.empty((max(frames, 0), self._bands), np.float32)
        code = self._call(
            self._set, signal.ctypes.data, frames, self._hop, self._window.ctypes.data, self._bands,
            self._first.ctypes.data, self._length.ctypes.data, self._weight.ctypes.data, bands.ctypes.data,
        )  # fmt: skip
        if code == _NO_MEMORY:
            raise MemoryError(f"there is not enough memory for the log-mel of {frames} frames")
        if code:
            raise ValueError(f"{signal.size} samples have no frame of {TRANSFORM}")
        return bands
