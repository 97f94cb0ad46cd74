"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from claprt.errors import ClaprtError
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
    hidden = f".{out.name}.{secrets.token_hex(4)}"
    new, old = out.parent / f"{hidden}.partial", out.parent / f"{hidden}.old"
    with _output_errors(out):
        _check_place(out, replace)
        out.parent.mkdir(parents=True, exist_ok=True)
        new.mkdir()
    try:
        with _output_errors(out):
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
    try:
        if out.exists():
            out.rename(old)
        new.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise


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
