"""The library of claprt's native engine, as a file; `claprt.engines.native` calls it.

>>> LIBRARY.is_file()
True
"""

from __future__ import annotations

import sys
from pathlib import Path

_NAMES = {"win32": "claprt_native.dll", "darwin": "libclaprt_native.dylib"}

LIBRARY: Path = Path(__file__).with_name(_NAMES.get(sys.platform, "libclaprt_native.so"))
"""The shared library; its functions are those of `src/claprt_native.h`."""

__all__ = ["LIBRARY"]
