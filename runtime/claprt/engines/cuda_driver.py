"""Memory on an NVIDIA GPU, through the driver library that every machine with such a GPU has.

TensorRT-RTX needs addresses on the device and a stream; nothing else of CUDA is needed to run an engine, so neither is a
package with its runtime.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Generator
from typing import Any

import numpy as np

from claprt.arrays import Array
from claprt.errors import ProviderError, ProviderUnavailableError

LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
"""Names of the driver library on Linux and Windows."""


class CudaDriver:
    """The first GPU that the driver shows (CUDA_VISIBLE_DEVICES chooses): its memory, and one stream."""

    def __init__(self, library: Any | None = None) -> None:
        """Take the GPU's primary context, which TensorRT-RTX uses too.

        Args:
            library: The driver library; by default the installed one.

        Raises:
            ProviderUnavailableError: If there is no driver or no GPU.
        """
        self._library = _library() if library is None else library
        self._context, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._device = ctypes.c_int()
        try:
            self._call("cuInit", 0)
            self._call("cuDeviceGet", ctypes.byref(self._device), 0)
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
            with self.current():
                # a stream that waits for the default one, on which copies run
                self._call("cuStreamCreate", ctypes.byref(self._stream), 0)
        except ProviderError as error:
            self.close()
            raise ProviderUnavailableError(f"the NVIDIA driver gives no GPU: {error}") from error

    @property
    def stream(self) -> int:
        """Handle of the stream that engines run on."""
        return int(self._stream.value or 0)

    @contextlib.contextmanager
    def current(self) -> Generator[None]:
        """Make the GPU's context that of the calling thread, and then the one that was. All other calls are made within."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def close(self) -> None:
        """Give back the stream and the context; nothing of this object may be called after that but this."""
        with contextlib.suppress(ProviderError):  # a driver that has failed has nothing to give back
            if self._stream.value:
                stream, self._stream = self._stream, ctypes.c_void_p()
                with self.current():
                    self._call("cuStreamDestroy_v2", stream)
        with contextlib.suppress(ProviderError):
            if self._context.value:
                self._context = ctypes.c_void_p()
                self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def allocate(self, size: int) -> int:
        """Address of new memory on the device, `size` bytes."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        """Release memory that `allocate` gave."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def to_device(self, address: int, array: Array) -> None:
        """Copy a contiguous array [...] of any shape and dtype to the device."""
        pointer = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), pointer, ctypes.c_size_t(array.nbytes))

    def to_host(self, address: int, shape: tuple[int, ...], dtype: str) -> Array:
        """Wait for the stream and copy an array [...] of this shape and dtype from the device."""
        array = np.empty(shape, dtype)
        self._call("cuStreamSynchronize", self._stream)
        pointer = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyDtoH_v2", pointer, ctypes.c_uint64(address), ctypes.c_size_t(array.nbytes))
        return array

    def _call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver.

        Raises:
            ProviderError: If it fails; the message has the function and the driver's words.
        """
        status = int(getattr(self._library, name)(*arguments))
        if status:
            words = ctypes.c_char_p()
            self._library.cuGetErrorString(status, ctypes.byref(words))
            said = (words.value or b"").decode(errors="replace") or "no description"
            raise ProviderError(f"{name} of the NVIDIA driver failed with error {status}: {said}")


def _library() -> Any:
    """Load the driver library.

    Raises:
        ProviderUnavailableError: If there is none.
    """
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise ProviderUnavailableError("no NVIDIA driver was found (nvidia-smi should list a GPU)")
