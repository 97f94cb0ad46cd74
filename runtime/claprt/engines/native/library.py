"""The C interface of claprt-native's towers.

Source: `native/src/claprt_native.h`.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from claprt.arrays import Array, Embeddings, LogMels
from claprt.errors import MissingDependencyError
from claprt.system.native import SCALAR, native_functions, native_sets

_ALIGNMENT = 64
_RESOURCES = frozenset({"the system gives no more threads", "there is not enough memory"})
"""What `claprt_tower_open` says where the content is not at fault."""
_FAULTS = {
    1: "a log-mel is NaN, infinite or beyond a million dB",
    2: "there is not enough memory",
    3: "the system gives no more threads",
    4: "the call has no arrays",
}


class NativeLibrary:
    """The functions of the library, typed."""

    def __init__(self, functions: ctypes.CDLL) -> None:
        """Type the functions of the library."""
        self._functions = functions
        self.format = int(functions.claprt_native_format())
        """Version of the packed files that it reads."""
        self.sets = native_sets()
        """Instruction sets that can be used here, the fastest first."""
        pointer, whole = ctypes.c_void_p, ctypes.c_int
        functions.claprt_tower_open.restype = pointer
        functions.claprt_tower_open.argtypes = [
            pointer, ctypes.c_uint64, whole, ctypes.c_char_p, ctypes.c_char_p, whole,
        ]  # fmt: skip
        functions.claprt_tower_close.restype = None
        functions.claprt_tower_close.argtypes = [pointer]
        functions.claprt_tower_run.argtypes = [pointer, pointer, pointer, ctypes.c_int64, pointer]
        for name in ("dim", "views", "frames"):
            getattr(functions, f"claprt_tower_{name}").argtypes = [pointer]
        functions.claprt_native_gelu.argtypes = [ctypes.c_char_p, pointer, pointer, whole]
        functions.claprt_native_sum.argtypes = [ctypes.c_char_p, pointer, pointer, pointer, whole, whole, pointer]

    def open_tower(self, packed: Array, threads: int, instruction_set: str | None = None) -> int:
        """Open a tower and return its handle.

        Args:
            packed: Content of a packed file, uint8 [bytes] at an address that is a multiple of 64; it must stay as it is
                until the tower is closed.
            threads: Of one call.
            instruction_set: One of `sets`; None for the fastest.

        Raises:
            ValueError: If the content is not a packed tower, with what is wrong.
            OSError: If memory or threads are missing.
        """
        message = ctypes.create_string_buffer(256)
        name = None if instruction_set is None else instruction_set.encode()
        handle = self._functions.claprt_tower_open(packed.ctypes.data, packed.nbytes, threads, name, message, len(message))
        if not handle:
            text = message.value.decode()
            raise OSError(text) if text in _RESOURCES else ValueError(text)
        return int(handle)

    def shape(self, handle: int) -> tuple[int, int, int]:
        """Views and frames of a sound's log-mels, and the length of an embedding."""
        views, frames, dim = (
            int(getattr(self._functions, f"claprt_tower_{name}")(handle)) for name in ("views", "frames", "dim")
        )
        return views, frames, dim

    def run(self, handle: int, log_mels: LogMels, is_longer: Array | None, dim: int) -> Embeddings:
        """Unit vectors [batch, dim] float32 of log-mels [batch, views, frames, 64] float32 in dB.

        Args:
            handle: Of a tower whose shape is that of the log-mels.
            log_mels: Of the sounds.
            is_longer: Of a fused tower, bool [batch, 1].
            dim: Length of an embedding.

        Raises:
            ValueError: If a log-mel is not finite, or memory or threads are missing.
        """
        log_mels = np.ascontiguousarray(log_mels, np.float32)
        vectors = np.empty((len(log_mels), dim), np.float32)
        flags = None if is_longer is None else np.ascontiguousarray(is_longer, np.uint8)
        code = self._functions.claprt_tower_run(
            handle, log_mels.ctypes.data, None if flags is None else flags.ctypes.data, len(log_mels), vectors.ctypes.data
        )
        if code:
            raise ValueError(_FAULTS.get(code, f"it ended with code {code}"))
        return vectors

    def close(self, handle: int) -> None:
        """Close a tower that no call uses."""
        self._functions.claprt_tower_close(handle)

    def gelu(self, instruction_set: str, x: Array) -> Array:
        """GELU of float32 [n], n a multiple of 16, as it is computed before it is rounded to bytes; for tests.

        Raises:
            ValueError: If the instruction set cannot be used here, or n is not a multiple of 16.
        """
        y = np.empty_like(x)
        if self._functions.claprt_native_gelu(instruction_set.encode(), x.ctypes.data, y.ctypes.data, len(x)):
            raise ValueError(f"{len(x)} numbers are not a multiple of 16, or {instruction_set} cannot be used here")
        return y

    def sum_products(self, instruction_set: str, weight: Array, start: Array, inputs: Array) -> Array:
        """Sums of products of one layer, int32 [outputs, 64]; for tests.

        Args:
            instruction_set: One of `sets`.
            weight: int8 [outputs / 16, blocks of 64 inputs, 16, 64], zeros after the last input.
            start: int32 [outputs].
            inputs: uint8 [inputs / 4, 64, 4].

        Raises:
            ValueError: If the instruction set cannot be used here.
        """
        sums = np.empty((len(start), 64), np.int32)
        code = self._functions.claprt_native_sum(
            instruction_set.encode(), weight.ctypes.data, start.ctypes.data, inputs.ctypes.data,
            4 * len(inputs), len(start), sums.ctypes.data,
        )  # fmt: skip
        if code:
            raise ValueError(_FAULTS.get(code, f"it ended with code {code}"))
        return sums


def aligned(content: bytes) -> Array:
    """The same bytes at an address that is a multiple of 64, as `NativeLibrary.open_tower` takes them: uint8 [bytes]."""
    memory = np.empty(len(content) + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    place = memory[start : start + len(content)]
    place[:] = np.frombuffer(content, np.uint8)
    return place


@cache
def native_library() -> NativeLibrary:
    """The installed library.

    Raises:
        MissingDependencyError: If it is not installed, or cannot be used here, with the reason.
    """
    return NativeLibrary(native_functions())


def native_unavailable() -> str | None:
    """Why the native engine cannot run here, ending in what to do; None if it can."""
    try:
        fastest = native_library().sets[0]
    except MissingDependencyError as error:
        return str(error).rstrip(".")
    if fastest == SCALAR:
        return (
            "this processor, or this build of claprt-native, has no AVX-512 VNNI, without which onnxruntime is faster: "
            'provider="cpu"'
        )
    return None


def native_version() -> str:
    """Version of the installed library, and the instruction set that it uses here.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("claprt-native")
    except PackageNotFoundError:  # on the path, and not installed
        installed = "unknown"
    return f"{installed} {native_library().sets[0]}"
