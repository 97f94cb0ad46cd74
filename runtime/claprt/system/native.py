"""The shared library of claprt-native: where it is, and whether it is the one that belongs here; the only importer of it.

Its functions are those of `native/src/claprt_native.h`; those of towers are typed by `claprt.engines.native.library`.
"""

from __future__ import annotations

import ctypes
import importlib
from functools import cache

from claprt.errors import MissingDependencyError

ABI = 1
"""Version of the C interface that is called here."""
SCALAR = "scalar"
"""The instruction set that every processor has, far slower than the others; for tests."""


@cache
def native_functions() -> ctypes.CDLL:
    """The functions of the installed library.

    Raises:
        MissingDependencyError: If it is not installed, or cannot be used here, with the reason.
    """
    try:
        package = importlib.import_module("claprt_native")  # whose types need it installed
    except ModuleNotFoundError:
        raise MissingDependencyError(f"claprt-native is not installed: {_hint()}.") from None
    try:
        return _opened(str(package.LIBRARY))
    except (OSError, ValueError, AttributeError) as error:
        raise MissingDependencyError(
            f"claprt-native cannot be used here ({error}); install the one that belongs to this claprt: {_hint()}."
        ) from error


def _hint() -> str:
    from claprt.system.extras import install_hint  # only a message needs it

    return install_hint("native")


def _opened(path: str) -> ctypes.CDLL:
    """A library of the interface that is called here.

    Raises:
        OSError: If it cannot be loaded here.
        ValueError: If it has another interface.
        AttributeError: If a function is missing.
    """
    functions = ctypes.CDLL(path)
    if functions.claprt_native_abi() != ABI:
        raise ValueError(f"its interface has version {functions.claprt_native_abi()} instead of {ABI}")
    functions.claprt_native_sets.restype = ctypes.c_char_p
    pointer, whole = ctypes.c_void_p, ctypes.c_int
    functions.claprt_native_mels.argtypes = [
        ctypes.c_char_p, pointer, ctypes.c_int64, whole, pointer, whole, pointer, pointer, pointer, pointer,
    ]  # fmt: skip
    return functions


def native_sets() -> tuple[str, ...]:
    """Instruction sets that the library can use here, the fastest first.

    Raises:
        MissingDependencyError: If the library is not installed, or cannot be used here.
    """
    return tuple(native_functions().claprt_native_sets().decode().split(","))
