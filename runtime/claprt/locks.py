"""A folder that somebody is at work in: a lock that goes with the process, however that ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

HAS_LOCKS = sys.platform != "win32"
"""Whether `locked` means anything here."""


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Holds the lock of a folder. Where the file system has none, it only seems so."""
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32":
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            with contextlib.suppress(OSError):
                _lock(descriptor)
        yield


def is_abandoned(folder: Path) -> bool:
    """Whether nobody holds the lock of a folder; False where that cannot be told."""
    if sys.platform == "win32":
        return False
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        _lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _lock(descriptor: int) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
