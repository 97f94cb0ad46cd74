"""Sounds within other files: tar shards as webdataset has them, tables of Parquet as Hugging Face has them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from claprt.audio.files.folders import is_sound_name
from claprt.errors import LibraryError
from claprt.library.items import UNKNOWN_SIZE, Inline, Item, LocalFile, TarMember
from claprt.library.paths import INSIDE, stored_path
from claprt.library.schema import arrow
from claprt.system.foreign_errors import describe_error

Wanted: TypeAlias = Callable[[str, int, float], bool]
"""Whether the bytes of a sound are needed, by its path, size and mtime."""
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
TABLES = (".parquet",)
_ROWS_AT_ONCE = 32


def is_archive(name: str) -> bool:
    """Whether a file, by its name, is a tar archive or a table, which hold sounds.

    Example:
        >>> is_archive("shards/0.TAR"), is_archive("train.parquet"), is_archive("dog.wav")
        (True, True, False)
    """
    return name.lower().endswith((*TARS, *TABLES))


def tar_sounds(archive: str, stored: str, mtime: float, wanted: Wanted, file: IO[bytes] | None = None) -> Iterator[Item]:
    """The sounds of a tar archive, in its order.

    Args:
        archive: Path of the archive.
        stored: The same as it stands in the library.
        mtime: Of the archive.
        wanted: Says of which sounds the bytes are read at once, where they cannot be read later.
        file: The archive itself, where it is no local file.

    Raises:
        LibraryError: If it is no tar archive, or is damaged; the sounds before the damage are given.
    """
    plain = file is None and archive.lower().endswith(".tar")
    try:
        with tarfile.open(archive if file is None else None, "r:" if plain else "r|*", fileobj=file) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if not member.isfile() or not is_sound_name(name):
                    continue
                path = f"{stored}{INSIDE}{_valid(name)}"
                if plain and not member.issparse():
                    yield TarMember(path, member.size, mtime, archive, member.offset_data)
                    continue
                content = None
                if wanted(path, member.size, mtime) and (opened := tar.extractfile(member)) is not None:
                    content = opened.read()
                yield Inline(path, member.size, mtime, content)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise LibraryError(f"{stored} cannot be read as a tar archive: {describe_error(error)}.") from error


def _valid(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def table_sounds(table: str | IO[bytes], stored: str, mtime: float, wanted: Wanted) -> Iterator[Item]:
    """The sounds of a Parquet file, one a row: a struct of `bytes` and `path` (Hugging Face), bytes, or paths.

    Args:
        table: Path of the file, or the file itself.
        stored: Its path as it stands in the library.
        mtime: Of the file.
        wanted: Says of which sounds the bytes are read.

    Raises:
        LibraryError: If it is no such file, or is damaged; the sounds before the damage are given.
    """
    pa = arrow("parquet")
    row = 0
    try:
        with pa.parquet.ParquetFile(table) as file:
            column, kind = _sound_column(pa, file.schema_arrow, stored)
            light = {"struct": [f"{column}.path"], "path": [column], "bytes": []}[kind]
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                names = _names(file.read_row_group(group, light), column, kind, count)
                paths = [f"{stored}{INSIDE}{row + index}{name and f'/{name}'}" for index, name in enumerate(names)]
                row += count
                if kind != "path" and not any(wanted(path, UNKNOWN_SIZE, mtime) for path in paths):
                    yield from (Inline(path, UNKNOWN_SIZE, mtime) for path in paths)
                    continue
                batches = file.iter_batches(_ROWS_AT_ONCE, [group], [column])
                values = (value.as_py() for batch in batches for value in batch.column(0))
                for path, value in zip(paths, values, strict=True):
                    yield _item(path, value, mtime, str(table) if isinstance(table, str) else None)
    except (OSError, ValueError) as error:
        raise LibraryError(f"{stored} cannot be read as Parquet: {describe_error(error)}.") from error


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


def _names(light: Any, column: str, kind: str, count: int) -> Sequence[str]:
    if kind == "bytes":
        return [""] * count
    values: list[Any] = light.column(column).to_pylist()
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
