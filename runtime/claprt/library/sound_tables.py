"""Sounds in tables, one a row: Parquet and Arrow files as Hugging Face has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from claprt.errors import LibraryError
from claprt.library.items import UNKNOWN_SIZE, Inline, Item, LocalFile, Wanted
from claprt.library.paths import INSIDE, stored_path
from claprt.library.schema import arrow
from claprt.system.foreign_errors import describe_error

ARROW_TABLES = (".arrow",)
TABLES = (".parquet", *ARROW_TABLES)
_ROWS_AT_ONCE = 32
_ARROW_FILE = b"ARROW1"


def table_sounds(table: str | IO[bytes], stored: str, mtime: float, wanted: Wanted) -> Iterator[Item]:
    """The sounds of a Parquet or Arrow file, one a row: a struct of `bytes` and `path` (Hugging Face), bytes, or paths.

    Args:
        table: Path of the file, or the file itself.
        stored: Its path as it stands in the library; its suffix says which of both it is.
        mtime: Of the file.
        wanted: Says of which sounds the bytes are read.

    Raises:
        LibraryError: If it is no such file, or is damaged; the sounds before the damage are given.
        MissingDependencyError: If pyarrow is not installed.
    """
    pa, row = arrow(purpose=f"{stored} is read"), 0
    try:
        with open_table(table, stored) as file:
            column, kind = _sound_column(pa, file.schema, stored)
            for group in file.groups(column, kind):
                paths = [f"{stored}{INSIDE}{row + index}{name and f'/{name}'}" for index, name in enumerate(group.names)]
                row += len(paths)
                if kind != "path" and not any(wanted(path, UNKNOWN_SIZE, mtime) for path in paths):
                    yield from (Inline(path, UNKNOWN_SIZE, mtime) for path in paths)
                    continue
                for path, value in zip(paths, group.values, strict=True):
                    yield _item(path, value, mtime, table if isinstance(table, str) else None)
    except (OSError, ValueError, pa.ArrowException) as error:
        form = "Arrow" if stored.lower().endswith(ARROW_TABLES) else "Parquet"
        raise LibraryError(f"{stored} cannot be read as {form}: {describe_error(error)}.") from error


def open_table(table: str | IO[bytes], stored: str) -> ParquetTable | ArrowTable:
    """Open a table.

    Args:
        table: Path of the file, or the file itself.
        stored: Its path; its suffix says of which kind it is.

    Raises:
        OSError: If it cannot be read; damaged content may raise ValueError, or pyarrow's ArrowException.
        MissingDependencyError: If pyarrow is not installed.
    """
    pa = arrow("parquet", purpose=f"{stored} is read")
    return ArrowTable(pa, table) if stored.lower().endswith(ARROW_TABLES) else ParquetTable(pa, table)


class _Group(NamedTuple):
    """Consecutive rows of a table."""

    names: Sequence[str]
    """Names of the sounds' files, empty where there are none."""
    values: Iterator[Any]
    """The column of sounds, read where it is iterated."""


class ParquetTable:
    """A Parquet file by its row groups; names are read without the bytes beside them."""

    def __init__(self, pa: Any, table: str | IO[bytes]) -> None:
        self._file = pa.parquet.ParquetFile(table)
        self.schema = self._file.schema_arrow

    def __enter__(self) -> ParquetTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def groups(self, column: str, kind: str) -> Iterator[_Group]:
        """The sounds by row groups."""
        light = {"struct": [f"{column}.path"], "path": [column], "bytes": []}[kind]
        for number in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(number).num_rows
            values = self._file.read_row_group(number, light).column(column).to_pylist() if light else [None] * count
            batches = self._file.iter_batches(_ROWS_AT_ONCE, [number], [column])
            yield _Group(_names(values), (value.as_py() for batch in batches for value in batch.column(0)))

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """All values of some columns, by their names."""
        return self._file.read(list(names)).to_pydict()


class ArrowTable:
    """An Arrow file by its record batches: a stream, as `Dataset.save_to_disk` writes it, or Arrow's format of files."""

    def __init__(self, pa: Any, table: str | IO[bytes]) -> None:
        self._file = pa.memory_map(table) if isinstance(table, str) else pa.PythonFile(table, "r")
        try:
            self.schema, self._batches = self._open(pa)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ArrowTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def groups(self, column: str, kind: str) -> Iterator[_Group]:
        """The sounds by record batches."""
        for batch in self._batches:
            sounds = batch.column(column)
            if kind == "bytes":
                names = [None] * len(sounds)
            else:
                names = (sounds.flatten()[sounds.type.get_field_index("path")] if kind == "struct" else sounds).to_pylist()
            yield _Group(_names(names), (value.as_py() for value in sounds))

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """All values of some columns, by their names; once, and not after `groups`."""
        batches = [batch.select(list(names)).to_pydict() for batch in self._batches]
        return {name: [value for batch in batches for value in batch[name]] for name in names}

    def _open(self, pa: Any) -> tuple[Any, Iterable[Any]]:
        """The schema, and the record batches in their order."""
        is_file = self._file.read(len(_ARROW_FILE)) == _ARROW_FILE
        self._file.seek(0)
        if not is_file:
            stream = pa.ipc.open_stream(self._file)
            return stream.schema, stream
        file = pa.ipc.open_file(self._file)
        return file.schema, map(file.get_batch, range(file.num_record_batches))


def _sound_column(pa: Any, schema: Any, stored: str) -> tuple[str, str]:
    """The column that holds the sounds, and what it holds: `struct`, `bytes` or `path`.

    Raises:
        LibraryError: If there is none.
    """
    for field in schema:
        if pa.types.is_struct(field.type) and {"bytes", "path"} <= {inner.name for inner in field.type}:
            return field.name, "struct"
    for names, kind, fits in (
        (("audio", "bytes", "content"), "bytes", (pa.types.is_binary, pa.types.is_large_binary)),
        (("audio", "path", "file", "file_name"), "path", (pa.types.is_string, pa.types.is_large_string)),
    ):
        for name in names:
            if name in schema.names and any(fit(schema.field(name).type) for fit in fits):
                return name, kind
    raise LibraryError(
        f"{stored} has no column of sounds: a struct of bytes and path, bytes called audio, or paths called path. It has "
        f"{', '.join(schema.names[:8])}."
    )


def _names(values: Sequence[Any]) -> Sequence[str]:
    found = [value.get("path") if isinstance(value, dict) else value for value in values]
    return [Path(name).name if name else "" for name in found]


def _item(path: str, value: Any, mtime: float, table: str | None) -> Item:
    content, named = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (None, None)
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, str):
        named = value
    if content is None and named and table is not None:
        file = Path(table).parent / named
        try:
            stat = file.stat()
        except OSError as error:
            return Inline(path, UNKNOWN_SIZE, mtime, error=f"{file} cannot be read: {error.strerror or error}.")
        return LocalFile(stored_path(str(file)), stat.st_size, stat.st_mtime, str(file))
    return Inline(path, UNKNOWN_SIZE if content is None else len(content), mtime, content)
