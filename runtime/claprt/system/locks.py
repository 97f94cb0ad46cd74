"""Locks that go with their process, however that ends: of a folder somebody is at work in, of work that is done once."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

HAS_LOCKS = sys.platform != "win32"
"""Whether `locked` means anything here."""
_POLL_S = 0.2


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold the lock of a folder. Where the file system has none, it only seems so."""
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


@contextmanager
def waiting_lock(file: Path, waiting: Callable[[], None]) -> Generator[None]:
    """Hold the lock of a file, which is made for it. Where the file system has none, it only seems so.

    Args:
        file: Another process, and another thread of this one, waits while it is held.
        waiting: Called once if it has to be waited for.

    Raises:
        OSError: If the file cannot be opened.
    """
    with file.open("ab") as opened:
        if not _is_had(opened.fileno()):
            waiting()
            while not _is_had(opened.fileno()):
                time.sleep(_POLL_S)  # a blocking call would not be interrupted by Ctrl-C in every thread
        yield


def _is_had(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            _lock(descriptor)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _lock(descriptor: int) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
