"""A folder that appears whole or not at all.

Where the system can exchange two folders in one step (Linux, on most file systems) there is no moment without the old or
the new one, whatever ends the process; elsewhere the old one is renamed away first, and put back if it came no further.
What a killed export has left is removed by the next one to the same place: nobody holds its lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from claprt.errors import ClaprtError
from claprt.system.locks import is_abandoned, locked
from claprt_export.errors import OutputError


@contextmanager
def new_folder(out: Path, *, replace: Callable[[Path], bool] | None) -> Generator[Path]:
    """A hidden folder beside `out` that takes its place when the block ends well, and vanishes when it does not.

    Args:
        out: where the folder shall be. A symbolic link is followed.
        replace: which existing folders may be replaced; None for none. Empty ones may be where others may.

    Raises:
        OutputError: something is there that may not be replaced, the place is not writable, or the disk is full.
    """
    out = Path(os.path.realpath(out))  # as Path.resolve, which raises RuntimeError where links go round in a circle
    hidden = f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}"
    new, old = out.parent / f"{hidden}.partial", out.parent / f"{hidden}.old"
    with _output_errors(out):
        _tidy(out)
        _check_place(out, replace)
        out.parent.mkdir(parents=True, exist_ok=True)
        new.mkdir()
    try:
        with _output_errors(out), locked(new):
            yield new
            _check_place(out, replace)  # again: an export takes a while
            _swap(new, out, old)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)


def _check_place(out: Path, replace: Callable[[Path], bool] | None) -> None:
    if not os.path.lexists(out):
        return
    if replace is None:
        raise OutputError(f"{out} exists already; add --force to replace it, or choose another folder.")
    if not out.is_dir() or (any(out.iterdir()) and not replace(out)):
        raise OutputError(f"{out} is not a bundle and nothing else; --force replaces only bundles and empty folders.")
    if out.is_mount() or out == Path.cwd():
        raise OutputError(f"{out} is where this program stands or a mounted volume; name a folder inside it.")


def _swap(new: Path, out: Path, old: Path) -> None:
    """Puts `new` in the place of `out`; whatever interrupts that, `out` is afterwards the new folder or the old one."""
    if out.exists() and _exchanged(new, out):
        return  # `new` is now the name of the old folder, which the caller removes
    try:
        if out.exists():
            out.rename(old)
        new.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise


_RENAME_EXCHANGE = 2
_HERE = -100
"""AT_FDCWD: paths are absolute or of the current folder."""


def _exchanged(new: Path, out: Path) -> bool:
    """Whether two folders could be exchanged in one step; if not, nothing has changed."""
    if sys.platform != "linux":
        return False
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None:
        return False
    return exchange(_HERE, os.fsencode(new), _HERE, os.fsencode(out), _RENAME_EXCHANGE) == 0


def _tidy(out: Path) -> None:
    """Removes what killed exports to the same place have left, or puts it back where it is all that there is."""
    names = re.compile(rf"(?P<hidden>\.{re.escape(out.name)}\.[0-9]+-[0-9a-f]{{8}})\.(partial|old)")
    with contextlib.suppress(OSError):
        found = [(path, match) for path in out.parent.iterdir() if (match := names.fullmatch(path.name))]
        for path, match in found:
            partial = path.with_name(f"{match['hidden']}.partial")
            if partial.exists() and not is_abandoned(partial):
                continue  # at work
            if path.suffix == ".old" and not os.path.lexists(out):
                path.rename(out)  # killed between its two renames
            elif path.suffix == ".partial" or os.path.lexists(out):
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _output_errors(out: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, ClaprtError):
            raise
        reason = error.strerror or str(error)
        raise OutputError(
            f"{out} cannot be written: {reason}. Nothing was changed there; make room and try again."
        ) from error
