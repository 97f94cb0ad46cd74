"""A file that appears whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from claprt.errors import ClaprtError
from claprt_export.errors import OutputError


def refuse_existing(out: Path, *, force: bool) -> None:
    """Raises `OutputError` where `out` may not be written: it is there already, or has no folder to be in."""
    if out.is_dir():
        raise OutputError(f"{out} is a folder; name a file.")
    if out.exists() and not force:
        raise OutputError(f"{out} exists already; add --force to replace it, or choose another name.")
    if not out.parent.is_dir():
        raise OutputError(f"{out} cannot be written: there is no folder {out.parent}.")


@contextmanager
def new_file(out: Path) -> Generator[Path]:
    """A hidden file beside `out` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        OutputError: the place is not writable, or the disk is full.
    """
    new = out.parent / f".{out.name}.{secrets.token_hex(4)}.partial"
    try:
        yield new
        new.replace(out)
    except OSError as error:
        if isinstance(error, ClaprtError):
            raise
        raise OutputError(f"{out} cannot be written: {error.strerror or error}. Nothing was changed there.") from error
    finally:
        new.unlink(missing_ok=True)
