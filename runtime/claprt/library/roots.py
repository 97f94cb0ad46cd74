"""Where the sounds of a library come from: `roots.json`, for those who serve or play them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from claprt.errors import LibraryCorruptError
from claprt.library.commits import as_write_error
from claprt.system.atomic import atomic_file
from claprt.system.foreign_errors import describe_error

ROOTS_FILE = "roots.json"


def read_roots(folder: Path) -> tuple[str, ...]:
    """Folders of this machine that were indexed into a library, and files that were indexed by themselves; absolute paths.

    Raises:
        LibraryCorruptError: If the file that states them cannot be read.
    """
    path = folder / ROOTS_FILE
    try:
        return tuple(msgspec.json.decode(path.read_bytes(), type=list[str]))
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError) as error:
        raise LibraryCorruptError(
            f"{path} cannot be read: {describe_error(error)}. Remove it; the next `claprt index` writes it again."
        ) from error


def add_roots(folder: Path, roots: Iterable[str]) -> None:
    """Add to the roots of a library, as its writer. A root inside another one is left out.

    Args:
        folder: Of the library.
        roots: Absolute paths.

    Raises:
        LibraryWriteError: If the file cannot be written.
    """
    known = read_roots(folder)
    wanted: list[str] = []
    for root in sorted({*known, *roots}, key=lambda one: Path(one).parts):
        if not wanted or not Path(root).is_relative_to(wanted[-1]):
            wanted.append(root)
    if tuple(wanted) != known:
        with as_write_error(folder), atomic_file(folder / ROOTS_FILE) as new, new.open("wb") as file:
            file.write(msgspec.json.encode(wanted))
            file.flush()
            os.fsync(file.fileno())
