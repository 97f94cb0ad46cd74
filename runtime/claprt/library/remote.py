"""Sounds of other machines, through fsspec: `s3://`, `gs://`, `https://`, `memory://` and what else it knows."""

from __future__ import annotations

import datetime
import importlib
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from claprt.audio.files.binary import readable_as
from claprt.audio.files.folders import is_sound_name
from claprt.errors import AudioNotFoundError, ClaprtError, LibraryError, MissingDependencyError
from claprt.library.items import Content, Item, in_memory
from claprt.system.extras import install_hint
from claprt.system.foreign_errors import describe_error

_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_MAGIC = re.compile(r"[*?[]")


class RemoteFile(Item, frozen=True):
    """A file of another machine, by its fsspec URL, which is its path."""

    def open(self) -> Content:
        """Get the file.

        Raises:
            AudioDecodeError: If it cannot be had.
        """
        system, place = file_system(self.path)
        with readable_as(self.path):
            content: bytes = system.cat_file(place)
        return in_memory(self.path, content, self.mtime)


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the place in it.

    Raises:
        MissingDependencyError: If fsspec, or what it needs for this kind of URL, is not installed.
        LibraryError: If fsspec does not know this kind of URL.
    """
    try:
        core = importlib.import_module("fsspec.core")
    except ImportError as error:
        raise MissingDependencyError(f"{url} is read with fsspec: {install_hint('remote')}") from error
    try:
        return core.url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(
            f"{url} cannot be opened: {describe_error(error)} ({install_hint('remote')})"
        ) from error
    except Exception as error:  # whatever file systems raise
        raise LibraryError(f"{url} cannot be opened: {describe_error(error)}.") from error


@contextmanager
def readable_url(url: str) -> Generator[None]:
    """Convert errors of a file system: its own, those of the network, those of credentials.

    Raises:
        LibraryError: If something cannot be read.
        ClaprtError: As raised in the block.
    """
    try:
        yield
    except ClaprtError:
        raise
    except Exception as error:
        raise LibraryError(f"{url} cannot be read: {describe_error(error)}.") from error


def remote_sounds(url: str) -> Iterator[RemoteFile]:
    """The sound at a URL, those that match a pattern, or those in a folder and below.

    Raises:
        AudioNotFoundError: If there is nothing.
        LibraryError: If it cannot be listed.
    """
    system, place = file_system(url)
    with _listable(url):
        if _MAGIC.search(place):
            found: Iterator[Mapping[str, Any]] = iter(system.glob(place, detail=True).values())
            found = (info for info in found if info["type"] == "file")
        elif (info := system.info(place))["type"] == "file":
            found = iter([info])
        else:
            below = (files for _, _, files in system.walk(place, detail=True))
            found = (info for files in below for name, info in sorted(files.items()) if is_sound_name(name))
        for info in found:
            path = system.unstrip_protocol(info["name"])
            yield RemoteFile(path=path, size=int(info.get("size") or 0), mtime=changed_at(info))


def check_readable(url: str) -> None:
    """Check by one question to its file system that a URL can be read; of a pattern the folder before it.

    Raises:
        AudioNotFoundError: If there is nothing, and it is no pattern.
        LibraryError: If it cannot be listed.
        MissingDependencyError: If fsspec, or what it needs for this kind of URL, is not installed.
    """
    system, place = file_system(url)
    pattern = _MAGIC.search(place)
    with _listable(url):
        if pattern is None:
            system.info(place)
        elif folder := place[: pattern.start()].rpartition("/")[0]:
            with suppress(FileNotFoundError):
                system.info(folder)


@contextmanager
def _listable(url: str) -> Generator[None]:
    """Convert errors of a file system.

    Raises:
        AudioNotFoundError: If there is nothing.
        LibraryError: If it cannot be listed.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise AudioNotFoundError(f"{url} was asked for, and there is nothing of this name.") from error
    except Exception as error:  # not all file systems raise OSError, as where there are no credentials
        raise LibraryError(f"{url} cannot be listed: {describe_error(error)}.") from error


def changed_at(info: Mapping[str, Any]) -> float:
    """When a file was last changed, as Unix time in seconds; 0 where its file system does not say."""
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, datetime.datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
