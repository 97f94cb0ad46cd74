"""Changes of several files that happen as one: a log is put in place first, then what it says is done.

The log, `commit.json`, appears by one rename, which is the moment of the change. Whoever reads the folder afterwards, and
whoever writes to it next, takes the files as the log says; a writer that was killed in between is finished by the next.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from claprt.errors import LibraryCorruptError, LibraryError, LibraryWriteError
from claprt.system.foreign_errors import describe_error

LOG = "commit.json"
PARTIAL = ".partial"
"""Ends the names of files that are not in place yet, which also begin with a dot."""


@dataclass(frozen=True, slots=True)
class Change:
    """Files that come and files that go, as paths within the library such as `rows/000001-5f0c2a91.parquet`."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def partial_path(root: Path, file: str) -> Path:
    """Where a file that comes lies before the change."""
    path = root / file
    return path.with_name(f".{path.name}{PARTIAL}")


def pending_change(root: Path) -> Change | None:
    """What the log says; None where there is none.

    Raises:
        LibraryCorruptError: If it cannot be read.
    """
    path = root / LOG
    try:
        return msgspec.json.decode(path.read_bytes(), type=Change)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise LibraryCorruptError(f"{path} cannot be read: {describe_error(error)}.") from error


def commit(root: Path, change: Change) -> None:
    """Make a change whose files lie at their `partial_path`, written and flushed to the disk.

    Raises:
        OSError: If the disk is full, or refuses; then nothing has changed.
    """
    if len(change.add) + len(change.remove) > 1:
        new = root / f".{LOG}{PARTIAL}"
        with new.open("wb") as file:
            file.write(msgspec.json.encode(change))
            file.flush()
            os.fsync(file.fileno())
        new.replace(root / LOG)
        flush_folders([root])
    _carry_out(root, change)


def finish_pending(root: Path, tables: Iterable[str]) -> None:
    """Do what a writer that was killed has left to do, and remove files that never came into place.

    Args:
        root: The library.
        tables: Subfolders that only the writer writes to.
    """
    change = pending_change(root)
    if change is not None:
        _carry_out(root, change)
    for folder in (root, *(root / table for table in tables)):
        for leftover in folder.glob(f".*{PARTIAL}"):
            leftover.unlink(missing_ok=True)


def _carry_out(root: Path, change: Change) -> None:
    for file in change.add:
        with contextlib.suppress(FileNotFoundError):  # in place already
            partial_path(root, file).replace(root / file)
    for file in change.remove:
        (root / file).unlink(missing_ok=True)
    flush_folders({(root / file).parent for file in (*change.add, *change.remove)})
    (root / LOG).unlink(missing_ok=True)


def flush_folders(folders: Iterable[Path]) -> None:
    """Have the names in these folders written to the disk, where the system can."""
    if sys.platform == "win32":
        return
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems have no such call
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def as_write_error(folder: Path) -> Generator[None]:
    """Convert errors of the operating system.

    Raises:
        LibraryWriteError: If something cannot be written.
        LibraryError: As raised in the block.
    """
    try:
        yield
    except LibraryError:
        raise
    except OSError as error:
        raise LibraryWriteError(
            f"The library at {folder} cannot be written: {error.strerror or error}. What it held before is intact; the "
            "same command goes on from there."
        ) from error
