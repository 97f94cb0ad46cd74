"""Sounds within other files: tar shards as webdataset has them, and tables (`claprt.library.sound_tables`)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO

from claprt.audio.files.folders import is_sound_name
from claprt.errors import LibraryError
from claprt.library.items import Inline, Item, TarMember, Wanted
from claprt.library.paths import INSIDE
from claprt.library.sound_tables import TABLES, table_sounds
from claprt.system.foreign_errors import describe_error

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
SUFFIXES = (*TARS, *TABLES)
"""Of files that hold sounds."""


def is_archive(name: str) -> bool:
    """Whether a file, by its name, is a tar archive or a table, which hold sounds.

    Example:
        >>> is_archive("shards/0.TAR"), is_archive("train.parquet"), is_archive("dog.wav")
        (True, True, False)
    """
    return name.lower().endswith(SUFFIXES)


def archive_sounds(
    archive: str, stored: str, mtime: float, wanted: Wanted, file: IO[bytes] | None = None
) -> Iterator[Item]:
    """The sounds of a tar archive or a table, told apart by the name, in its order.

    Args:
        archive: Path of the file.
        stored: The same as it stands in the library.
        mtime: Of the file.
        wanted: Says of which sounds the bytes are read at once, where they cannot be read later.
        file: The file itself, where it is no local one.

    Raises:
        LibraryError: If it cannot be read; the sounds before the damage are given.
        MissingDependencyError: If a table is to be read and pyarrow is not installed.
    """
    if archive.lower().endswith(TARS):
        return _tar_sounds(archive, stored, mtime, wanted, file)
    return table_sounds(archive if file is None else file, stored, mtime, wanted)


def _tar_sounds(archive: str, stored: str, mtime: float, wanted: Wanted, file: IO[bytes] | None) -> Iterator[Item]:
    """The sounds of a tar archive.

    Raises:
        LibraryError: If it is no tar archive, or is damaged; the sounds before the damage are given.
    """
    plain = file is None and _is_plain(archive)
    try:
        for name, member, tar in tar_files(archive, file):
            if not is_sound_name(name):
                continue
            path = f"{stored}{INSIDE}{name}"
            if plain and not member.issparse():
                yield TarMember(path, member.size, mtime, archive, member.offset_data)
                continue
            content = None
            if wanted(path, member.size, mtime) and (opened := tar.extractfile(member)) is not None:
                content = opened.read()
            yield Inline(path, member.size, mtime, content)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise LibraryError(f"{stored} cannot be read as a tar archive: {describe_error(error)}.") from error


def tar_files(archive: str, file: IO[bytes] | None = None) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """The files in a tar archive, in its order, with their names; bytes of a name that are not UTF-8 are escaped.

    Args:
        archive: Path of the archive.
        file: The archive itself, where it is no local file.

    Returns:
        Name, facts and the archive, from which a file is read before the next one is asked for.

    Raises:
        tarfile.TarError: If it is no tar archive, or is damaged; so may EOFError and OSError be.
    """
    plain = file is None and _is_plain(archive)
    with tarfile.open(archive if file is None else None, "r:" if plain else "r|*", fileobj=file) as tar:
        for member in tar:
            if member.isfile():
                yield _valid(member.name.removeprefix("./")), member, tar


def _is_plain(archive: str) -> bool:
    """Whether an archive is not compressed, so that its members can be read by their places."""
    return archive.lower().endswith(".tar")


def _valid(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
