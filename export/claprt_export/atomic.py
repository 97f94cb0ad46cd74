"""Outputs of the exporter: files and folders that appear whole or not at all, in a place that may be written."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from claprt.errors import ClaprtError
from claprt.system.atomic import atomic_file, atomic_folder, remove_leftovers
from claprt_export.errors import OutputError


@contextmanager
def new_folder(out: Path, *, replace: Callable[[Path], bool] | None) -> Generator[Path]:
    """Yield a hidden folder that takes the place of `out` when the block ends (`atomic_folder`).

    Args:
        out: Final path. A symbolic link is followed.
        replace: Which existing folders may be replaced; None for none. Empty ones may be where others may.

    Raises:
        OutputError: If something is there that may not be replaced, or `out` cannot be written.
    """
    out = Path(os.path.realpath(out))  # as Path.resolve, which raises RuntimeError where links go round in a circle
    with _output_errors(out):
        remove_leftovers(out)
        _check_place(out, replace)
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(out) as new:
            yield new
            _check_place(out, replace)  # again: an export takes a while


@contextmanager
def new_file(out: Path) -> Generator[Path]:
    """Yield a hidden file that takes the place of `out` when the block ends (`atomic_file`).

    Raises:
        OutputError: If `out` cannot be written.
    """
    with _output_errors(out), atomic_file(out) as new:
        yield new


def refuse_existing(out: Path, *, force: bool) -> None:
    """Check that a file may be written.

    Raises:
        OutputError: If `out` exists and `force` is not set, is a folder, or has no folder to be in.
    """
    if out.is_dir():
        raise OutputError(f"{out} is a folder; name a file.")
    if out.exists() and not force:
        raise OutputError(f"{out} exists already; add --force to replace it, or choose another name.")
    if not out.parent.is_dir():
        raise OutputError(f"{out} cannot be written: there is no folder {out.parent}.")


def _check_place(out: Path, replace: Callable[[Path], bool] | None) -> None:
    if not os.path.lexists(out):
        return
    if replace is None:
        raise OutputError(f"{out} exists already; add --force to replace it, or choose another folder.")
    if not out.is_dir() or (any(out.iterdir()) and not replace(out)):
        raise OutputError(f"{out} is not a bundle and nothing else; --force replaces only bundles and empty folders.")
    if out.is_mount() or out == Path.cwd():
        raise OutputError(f"{out} is where this program stands or a mounted volume; name a folder inside it.")


@contextmanager
def _output_errors(out: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, ClaprtError):
            raise
        reason = error.strerror or str(error)
        raise OutputError(f"{out} cannot be written: {reason}. Nothing was changed there.") from error
