"""The folder of a library: tables as Parquet files that never change, read by anyone, written by one process at a time.

A part, one file of a table, is written beside its place, flushed, and put there by a rename; its name is never used again.
What replaces other parts does so in one change (`claprt.library.commits`). Pages carry checksums. A part that cannot be
read is named in a `LibraryWarning`, and the others are read.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claprt.errors import LibraryCorruptError, LibraryError, LibraryWarning, LibraryWriteError
from claprt.library.commits import (
    PARTIAL,
    Change,
    as_write_error,
    commit,
    finish_pending,
    flush_folders,
    partial_path,
    pending_change,
)
from claprt.library.manifest import LIBRARY_FILE, LibraryManifest, read_manifest
from claprt.library.schema import Schema, Table, arrow, failure_schema, row_schema
from claprt.system.foreign_errors import describe_error
from claprt.system.locks import waiting_lock

ROWS, FAILURES = "rows", "failures"
"""The tables, and the folders of their parts."""
_SUFFIX = ".parquet"
_LOCK = ".lock"
_VECTORS = "embedding.list.element"
_TRIES = 50


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One file of a table. Two parts of one name have the same content, whenever they were listed."""

    name: str
    rows: int
    table: str = ROWS

    @property
    def file(self) -> str:
        """Path within the library."""
        return f"{self.table}/{self.name}"


class PartGoneError(LibraryError):
    """A part was replaced by others since it was listed."""


class Store:
    """The tables of one library."""

    def __init__(self, folder: Path) -> None:
        """Open a library.

        Raises:
            LibraryError: If there is none, its format is another, or its manifest is damaged.
        """
        self.folder = folder
        self.manifest = read_manifest(folder)
        self._rows: dict[str, int] = {}
        self.damaged: dict[str, str] = {}
        """Parts that cannot be read, as paths within the library, and why."""

    def schema(self, table: str = ROWS) -> Schema:
        """Columns of a table."""
        return row_schema(self.manifest.dim, self.manifest.dtype) if table == ROWS else failure_schema()

    def parts(self, table: str = ROWS) -> tuple[Part, ...]:
        """The parts that a table has now, oldest first; those that cannot be read are left out, with a warning.

        Raises:
            LibraryCorruptError: If a change was begun whose log cannot be read.
            LibraryError: If the folder cannot be listed.
        """
        for _ in range(_TRIES):
            files = self.files(table)
            try:
                counted = [(file, self._count(file)) for file in files]
            except FileNotFoundError:
                continue
            return tuple(Part(_base(file), rows, table) for file, rows in counted if rows is not None)
        raise LibraryError(f"{self.folder} changed {_TRIES} times while it was listed; try again.")

    def read(self, part: Part, columns: Sequence[str] | None = None) -> Table:
        """Read a part.

        Args:
            part: As `parts` lists it.
            columns: Names, in the order that the table is to have; None for all.

        Raises:
            LibraryCorruptError: If the part is damaged.
            PartGoneError: If it was replaced since it was listed.
        """
        try:
            with self._opened(part.file) as file:
                table = file.read(columns=None if columns is None else list(columns))
        except FileNotFoundError as error:
            raise PartGoneError(
                f"{self.folder / part.file} was replaced while the library was read; read it again."
            ) from error
        except (OSError, ValueError) as error:
            raise LibraryCorruptError(self._sentence(part.file, describe_error(error))) from error
        return table if columns is None else table.select(list(columns))

    def tables(self, table: str = ROWS, columns: Sequence[str] | None = None) -> Iterator[tuple[Part, Table]]:
        """Each part with its content; a damaged one is left out, with a warning."""
        for part in self.parts(table):
            try:
                content = self.read(part, columns)
            except LibraryCorruptError as error:
                self.leave_out(part.file, str(error))
                continue
            yield part, content

    @contextmanager
    def writing(self, waiting: Callable[[], None] = lambda: None) -> Generator[Writer]:
        """Be the one that writes to the library; finishes what a killed writer left.

        Args:
            waiting: Called once if another process writes to it, which is waited for.

        Raises:
            LibraryWriteError: If the folder cannot be written.
        """
        with ExitStack() as stack:
            with as_write_error(self.folder):
                stack.enter_context(waiting_lock(self.folder / _LOCK, waiting))
                finish_pending(self.folder, (ROWS, FAILURES))
            yield Writer(self)

    def files(self, table: str = ROWS) -> list[str]:
        """Files of a table, oldest first, as paths within the library, those that cannot be read included.

        A writer may be at work: what was seen twice in a row is a state that was.

        Raises:
            LibraryError: If the folder cannot be listed.
        """
        before: tuple[Change | None, list[str]] | None = None
        for _ in range(_TRIES):
            try:
                names = [entry.name for entry in os.scandir(self.folder / table) if entry.name.endswith(_SUFFIX)]
            except FileNotFoundError:
                names = []
            except OSError as error:
                raise LibraryError(f"{self.folder / table} cannot be listed: {error.strerror or error}.") from error
            now = (pending_change(self.folder), sorted(f"{table}/{name}" for name in names if not name.startswith(".")))
            if now == before:
                break
            before = now
        else:
            raise LibraryError(f"{self.folder} changed {_TRIES} times while it was listed; try again.")
        change, files = now
        if change is None:
            return files
        coming = {file for file in change.add if file.startswith(f"{table}/")}
        return sorted({*files, *coming} - set(change.remove))

    def _count(self, file: str) -> int | None:
        """Rows of a file by its footer; None where it cannot be read.

        Raises:
            FileNotFoundError: If it was replaced.
        """
        if file in self.damaged:
            return None
        if file not in self._rows:
            try:
                with self._opened(file) as opened:
                    rows, names = opened.metadata.num_rows, set(opened.schema_arrow.names)
            except FileNotFoundError:
                raise
            except (OSError, ValueError) as error:
                self.leave_out(file, self._sentence(file, describe_error(error)))
                return None
            missing = set(self.schema(file.partition("/")[0]).names) - names
            if missing:
                self.leave_out(file, self._sentence(file, f"it lacks the columns {', '.join(sorted(missing))}"))
                return None
            self._rows[file] = rows
        return self._rows[file]

    @contextmanager
    def _opened(self, file: str) -> Generator[Any]:
        path = self.folder / file
        if not path.exists() and (partial := partial_path(self.folder, file)).exists():
            path = partial  # the log says that it counts already
        with arrow("parquet").parquet.ParquetFile(path, page_checksum_verification=True) as opened:
            yield opened

    def _sentence(self, file: str, reason: str) -> str:
        return (
            f"{self.folder / file} cannot be read: {reason.rstrip('.')}. The other parts serve. If it is damaged, move it "
            "away and run `claprt index` with the same sources again: what it held is embedded anew."
        )

    def leave_out(self, file: str, sentence: str) -> None:
        """Leave a damaged file out from now on, with a warning the first time."""
        if file not in self.damaged:
            self.damaged[file] = sentence
            warnings.warn(sentence, LibraryWarning, stacklevel=3)


class Writer:
    """The one that writes to a library; `Store.writing` gives it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        listed = [file for table in (ROWS, FAILURES) for file in store.files(table)]
        self._number = max((int(name.partition("-")[0]) for name in map(_base, listed) if name[:6].isdigit()), default=0)

    def commit(
        self, *, rows: Sequence[Table] = (), failures: Sequence[Table] = (), remove: Sequence[Part] = ()
    ) -> tuple[Part, ...]:
        """Add tables as new parts and remove parts, all of it or nothing.

        Args:
            rows: Tables of the store's schema; empty ones are left out.
            failures: The same, of failures.
            remove: Parts of either table.

        Returns:
            The new parts.

        Raises:
            LibraryWriteError: If the disk is full, or refuses; the library is as it was.
        """
        added: list[Part] = []
        root = self.store.folder
        with as_write_error(root):
            try:
                for kind, tables in ((ROWS, rows), (FAILURES, failures)):
                    added += [self._write(kind, table) for table in tables if table.num_rows]
                if not added and not remove:
                    return ()
                commit(root, Change(tuple(part.file for part in added), tuple(part.file for part in remove)))
            except BaseException:
                if pending_change(root) is None:
                    for part in added:
                        partial_path(root, part.file).unlink(missing_ok=True)
                raise
        return tuple(added)

    def _write(self, kind: str, table: Table) -> Part:
        self._number += 1
        part = Part(f"{self._number:06d}-{secrets.token_hex(4)}{_SUFFIX}", table.num_rows, kind)
        path = partial_path(self.store.folder, part.file)
        path.parent.mkdir(exist_ok=True)
        plain = [name for name in table.schema.names if name != "embedding"]
        leaves = dict.fromkeys(plain, "zstd") | ({_VECTORS: "none"} if "embedding" in table.schema.names else {})
        with path.open("wb") as file:
            try:
                arrow("parquet").parquet.write_table(
                    table,
                    file,
                    row_group_size=max(1, table.num_rows),
                    compression=leaves,
                    use_dictionary=plain,
                    write_statistics=plain,
                    write_page_checksum=True,
                )
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return part


def create_store(folder: Path, manifest: LibraryManifest) -> Store:
    """Make a library, or open the one that is there.

    Raises:
        LibraryError: If the folder is a file, or holds something else.
        LibraryWriteError: If it cannot be written.
    """
    arrow()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise LibraryError(f"{folder} is a file, and a library is a folder; name a new folder or an empty one.") from error
    except OSError as error:
        raise LibraryWriteError(f"A library cannot be made at {folder}: {error.strerror or error}.") from error
    with as_write_error(folder), waiting_lock(folder / _LOCK, lambda: None):
        if not (folder / LIBRARY_FILE).exists():
            others = sorted(path.name for path in folder.iterdir() if not path.name.endswith((_LOCK, PARTIAL)))
            if others:
                raise LibraryError(
                    f"{folder} is no library and holds other files ({', '.join(others[:3])}); name a new folder or "
                    "an empty one."
                )
            manifest.write(folder)  # first: who is killed here has made a library, not a folder with other files
            for table in (ROWS, FAILURES):
                (folder / table).mkdir(exist_ok=True)
            flush_folders([folder])
    return Store(folder)


def _base(file: str) -> str:
    return file.rpartition("/")[2]
