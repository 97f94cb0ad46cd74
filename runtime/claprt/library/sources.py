"""What is to be indexed, as it is named: folders, files, patterns, lists, archives, tables and URLs."""

from __future__ import annotations

import codecs
import fnmatch
import glob
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from claprt.audio.files.folders import sounds_in
from claprt.errors import AudioError, AudioNotFoundError, ClaprtError, LibraryError, OptionError
from claprt.library.archives import archive_sounds, is_archive
from claprt.library.items import Absent, Item, LocalFile, Wanted
from claprt.library.paths import INSIDE, local_path, stored_form, stored_path

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(slots=True)
class Sources:
    """Sources of one run, in the order in which they were named.

    Raises:
        AudioNotFoundError: If one of them is not there.
        LibraryError: If a URL cannot be read.
        OptionError: If a list cannot be read, or nothing is named.
        MissingDependencyError: If what a URL needs is not installed.
    """

    named: Sequence[str]
    unreadable: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Folders and archives that could not be read, as they stand in the library, and why. Grows while they are scanned."""
    roots: set[str] = field(default_factory=set[str])
    """Folders of this machine that hold what was named, and files that were named. Grows with the names of lists."""
    _prefixes: list[str] = field(default_factory=list[str])
    _patterns: list[re.Pattern[str]] = field(default_factory=list[re.Pattern[str]])

    def __post_init__(self) -> None:
        if not self.named:
            raise OptionError("Nothing was named to be indexed; name a folder, files or a list of them.")
        for name in self.named:
            if name == "-":
                continue
            if name.startswith("@"):
                _check_list(name)
            else:
                _check_there(name)
                self._add_root(name)

    def scan(self, wanted: Wanted = lambda *_: True) -> Iterator[Item]:
        """Find the sounds, one after the other, without holding a list of them.

        Args:
            wanted: See `claprt.library.items`.

        Raises:
            LibraryError: If a URL cannot be listed.
        """
        for name in self.named:
            if name == "-":
                yield from self._list(sys.stdin.buffer, wanted)
            elif name.startswith("@"):
                with Path(name[1:]).open("rb") as lines:
                    yield from self._list(lines, wanted)
            else:
                yield from self._one(name, wanted)

    def covers(self, path: str) -> bool:
        """Whether a sound of the library would have been found if it were there: its folder or archive was read."""
        if path.startswith(tuple(place for place, _ in self.unreadable)):
            return False
        if not path.startswith(tuple(self._prefixes)) and not any(one.match(path) for one in self._patterns):
            return False
        place = local_path(path)
        return place is None or not os.path.lexists(place)

    def _add_root(self, name: str) -> None:
        path = _without_scheme(name)
        if not is_url(path):
            while _is_pattern(path):
                path = os.path.dirname(path) or "."  # noqa: PTH120
            self.roots.add(stored_path(path))

    def _list(self, lines: Iterable[bytes], wanted: Wanted) -> Iterator[Item]:
        for number, line in enumerate(lines):
            name = os.fsdecode((line if number else line.removeprefix(codecs.BOM_UTF8)).rstrip(b"\r\n"))
            if not name:
                continue
            if "\0" in name:  # of which the system has no files
                yield Absent(stored_path(name))
            elif is_url(name) or os.path.exists(name) or _is_pattern(name):  # noqa: PTH110 - names stay as they were typed
                is_folder = is_url(name) or _is_pattern(name) or os.path.isdir(name)  # noqa: PTH112
                self._add_root(name if is_folder else os.path.dirname(name) or ".")  # noqa: PTH120 - not a million files
                try:
                    yield from self._one(name, wanted)
                except AudioNotFoundError:
                    yield Absent(name)
                except LibraryError as error:  # a URL; the other lines serve
                    self.unreadable.append((name, str(error)))
            else:
                yield Absent(stored_path(name))

    def _one(self, name: str, wanted: Wanted) -> Iterator[Item]:
        name = _without_scheme(name)
        if is_url(name):
            yield from self._remote(name, wanted)
        elif os.path.isdir(name):  # noqa: PTH112
            folder = stored_path(name)
            self._prefixes.append(folder.rstrip("/") + "/")
            for entry in sounds_in(os.path.abspath(name), self._note_unreadable):  # noqa: PTH100
                try:
                    found = entry.stat()
                except OSError:  # it has gone since
                    continue
                yield LocalFile(stored_form(entry.path), found.st_size, found.st_mtime, entry.path)
        elif os.path.exists(name) or not _is_pattern(name):  # noqa: PTH110
            yield from self._file(name, wanted)
        else:
            pattern = os.path.abspath(name)  # noqa: PTH100
            self._patterns.append(re.compile(fnmatch.translate(pattern)))
            for match in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207 - names stay as they were typed
                yield from self._one(match, wanted)

    def _file(self, name: str, wanted: Wanted) -> Iterator[Item]:
        try:
            found_there = os.stat(name)  # noqa: PTH116
        except OSError:
            yield Absent(stored_path(name))
            return
        path, stored = os.path.abspath(name), stored_path(name)  # noqa: PTH100
        if is_archive(name) and stat.S_ISREG(found_there.st_mode):
            yield from self._inside(archive_sounds(path, stored, found_there.st_mtime, wanted), stored)
        else:
            yield LocalFile(stored, found_there.st_size, found_there.st_mtime, path)

    def _inside(self, found: Iterator[Item], stored: str) -> Iterator[Item]:
        self._prefixes.append(stored + INSIDE)
        try:
            yield from found
        except AudioError:
            raise
        except LibraryError as error:
            self.unreadable.append((stored + INSIDE, str(error)))

    def _remote(self, url: str, wanted: Wanted) -> Iterator[Item]:
        from claprt.library.remote import file_system, readable_url, remote_sounds

        for found in remote_sounds(url):
            if not is_archive(found.path):
                yield found
                continue
            system, place = file_system(found.path)
            try:
                with readable_url(found.path), system.open(place, "rb") as file:
                    inside = archive_sounds(found.path, found.path, found.mtime, wanted, file)
                    yield from self._inside(inside, found.path)
            except LibraryError as error:
                self.unreadable.append((found.path + INSIDE, str(error)))
        system, place = file_system(url)
        self._prefixes.append(system.unstrip_protocol(place).rstrip("/") + "/")

    def _note_unreadable(self, folder: str, error: OSError) -> None:
        self.unreadable.append((stored_path(folder).rstrip("/") + "/", f"{folder} cannot be listed: {error.strerror}."))


def is_url(name: str) -> bool:
    """Whether a source is named by a URL.

    Example:
        >>> is_url("s3://bucket/sounds"), is_url("C:/sounds"), is_url("/sounds")
        (True, False, False)
    """
    return _URL.match(name) is not None


def _check_list(name: str) -> None:
    """Check that a list of sources can be read.

    Raises:
        OptionError: If it cannot.
    """
    file = Path(name[1:])
    if not file.is_file():
        raise OptionError(f"{name} means a list of sources in the file {file}, and there is no such file.")
    try:
        file.open("rb").close()
    except OSError as error:
        raise OptionError(f"{name} means a list of sources, which cannot be read: {error.strerror or error}.") from error


def _check_there(name: str) -> None:
    """Check that a source is there; a pattern need not match anything.

    Raises:
        AudioNotFoundError: If it is not.
        LibraryError: If it is a URL that cannot be read.
        ClaprtError: If it is neither a file nor a folder.
    """
    if not name:
        raise AudioNotFoundError("An empty name was given where a source was expected.")
    name = _without_scheme(name)
    if is_url(name):
        from claprt.library.remote import check_readable

        check_readable(name)
        return
    if _is_pattern(name):
        return
    if not os.path.exists(name):  # noqa: PTH110
        raise AudioNotFoundError(f"{name} was to be indexed, and there is no such file or folder.")
    if not os.path.isdir(name) and not os.path.isfile(name):  # noqa: PTH112, PTH113
        raise ClaprtError(f"{name} was to be indexed, and is neither a file nor a folder.")


def _is_pattern(name: str) -> bool:
    return glob.has_magic(name) and not os.path.exists(name)  # noqa: PTH110


def _without_scheme(name: str) -> str:
    """The local path that a `file://` URL names; other sources as they are."""
    return (local_path(name) or name) if name.startswith("file://") else name
