"""Files and folders that appear whole or not at all: written beside their place, then renamed into it.

Where the system can exchange two folders in one step (Linux, on most file systems) there is no moment without the old or
the new one, whatever ends the process; elsewhere the old one is renamed away first, and put back on a failure. A killed
process leaves a hidden folder that nobody holds the lock of (`remove_leftovers`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from claprt.system.locks import is_abandoned, locked

_UNLOCKED_S = 5
"""Seconds that a new folder may be without its lock, and so is not held for one that a killed process left."""


@contextmanager
def atomic_file(path: Path, *, folder: Path | None = None) -> Generator[Path]:
    """Yield a hidden file that replaces `path` when the block ends, and is removed when it raises.

    Args:
        path: Final path.
        folder: Where the hidden file is; by default beside `path`.

    Raises:
        OSError: If the file cannot be written or replaced.
    """
    new = (folder or path.parent) / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, mode: int = 0o777) -> Generator[Path]:
    """Yield a hidden folder that replaces `path` when the block ends, and is removed when it raises.

    Args:
        path: Final path, absolute.
        mode: Mode of the folder, before the umask.

    Raises:
        OSError: If the folder cannot be made or put in place.
    """
    hidden = f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}"
    new, old = path.parent / f"{hidden}.partial", path.parent / f"{hidden}.old"
    new.mkdir(mode=mode)
    try:
        with locked(new):
            yield new
            _swap(new, path, old)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what killed `atomic_folder` calls for the same path have left; restore it where nothing else is there."""
    names = re.compile(rf"(?P<hidden>\.{re.escape(path.name)}\.[0-9]+-[0-9a-f]{{8}})\.(partial|old)")
    with contextlib.suppress(OSError):
        leftovers = [(entry, match) for entry in path.parent.iterdir() if (match := names.fullmatch(entry.name))]
        for entry, match in leftovers:
            partial = entry.with_name(f"{match['hidden']}.partial")
            if partial.exists() and (_has_just_begun(partial) or not is_abandoned(partial)):
                continue  # still being written
            if entry.suffix == ".old" and not os.path.lexists(path):
                entry.rename(path)  # killed between its two renames
            elif entry.suffix == ".partial" or os.path.lexists(path):
                shutil.rmtree(entry, ignore_errors=True)


def _has_just_begun(partial: Path) -> bool:
    """Whether a folder may be one that `atomic_folder` has made and not locked yet."""
    return abs(time.time() - partial.stat().st_mtime) < _UNLOCKED_S and not any(partial.iterdir())


def _swap(new: Path, path: Path, old: Path) -> None:
    """Put `new` in place; whatever interrupts that, `path` is afterwards the new folder or the old one."""
    if path.exists() and _exchange(new, path):
        return  # `new` is now the name of the old folder, which the caller removes
    try:
        if path.exists():
            path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise


_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def _exchange(new: Path, path: Path) -> bool:
    """Exchange two folders in one step; False if the system cannot, and nothing has changed."""
    if sys.platform != "linux":
        return False
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None:
        return False
    return exchange(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(path), _RENAME_EXCHANGE) == 0
