"""Sounds that were found and not read yet: where each lies, and how its content is had."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from claprt.audio.files.binary import readable_as
from claprt.audio.sound import AudioSource
from claprt.errors import AudioDecodeError, AudioNotFoundError

Wanted: TypeAlias = Callable[[str, int, float], bool]
"""Whether the bytes of a sound are needed, by its path, size and mtime."""
IN_MEMORY_BYTES = 64 << 20
"""A file up to this size is read once, hashed and decoded in memory; a larger one is read twice."""
UNKNOWN_SIZE = -1
UNREAD = -1.0
"""`mtime` of a failure that was not read, which is no file's: the next run reads it again."""


class NamedBytes(io.BytesIO):
    """The bytes of a sound, with a name for messages."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


@dataclass(frozen=True, slots=True)
class Content:
    """A sound that has been read, or hashed if it is large."""

    source: AudioSource
    sha256: str
    size: int
    """[bytes]"""
    mtime: float
    check: Callable[[], None] = lambda: None
    """Raises `AudioDecodeError` if the file has changed since it was hashed."""


class Item(msgspec.Struct, frozen=True, tag=True):
    """A sound that was found."""

    path: str
    """As it stands in the library."""
    size: int
    """[bytes]; `UNKNOWN_SIZE` where only reading it shows it."""
    mtime: float
    """Unix time in seconds of the last change of the file that holds it; 0 where that is not known."""

    def open(self) -> Content:
        """Read the sound.

        Raises:
            AudioError: If it cannot be read.
        """
        raise NotImplementedError


class LocalFile(Item, frozen=True):
    """A file of this machine."""

    file: str
    """Its path as Python has it, with surrogates for bytes that are not UTF-8."""

    def open(self) -> Content:
        """Read the file.

        Raises:
            AudioDecodeError: If it cannot be read, or changed while it was read.
        """
        with readable_as(self.path), open(self.file, "rb", buffering=0, opener=_open_at_once) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise AudioDecodeError(f"{self.path} is not a file with a content: a pipe or a device, perhaps.")
            if before.st_size > IN_MEMORY_BYTES:
                digest, source = hashlib.file_digest(file, "sha256").hexdigest(), self.file
            else:
                content = _read_all(file, before.st_size)
                digest, source = hashlib.sha256(content).hexdigest(), NamedBytes(self.path, content)
            self._check(before, os.fstat(file.fileno()))

        def check() -> None:
            with readable_as(self.path):
                self._check(before, os.stat(self.file))  # noqa: PTH116

        return Content(source, digest, before.st_size, before.st_mtime, check if source is self.file else lambda: None)

    def _check(self, before: os.stat_result, after: os.stat_result) -> None:
        """Compare what the system says of the file with what it said before.

        Raises:
            AudioDecodeError: If it has changed.
        """
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise AudioDecodeError(f"{self.path} changed while it was read; the next run reads it again.")


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for who writes to it, if it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_all(file: io.FileIO, size: int) -> bytes:
    content = file.read(size + 1)
    while content is not None and len(content) < size and (more := file.read(size - len(content))):
        content += more
    return content or b""


class TarMember(Item, frozen=True):
    """A member of a tar archive that is not compressed."""

    archive: str
    offset: int

    def open(self) -> Content:
        """Read the member.

        Raises:
            AudioDecodeError: If the archive ends before it does.
        """
        with readable_as(self.path), open(self.archive, "rb", buffering=0) as file:  # noqa: PTH123
            file.seek(self.offset)
            content = _read_all(file, self.size)[: self.size]
        if len(content) < self.size:
            raise AudioDecodeError(f"{self.path} is truncated: {len(content)} of {self.size} bytes are in the archive.")
        return in_memory(self.path, content, self.mtime)


class Inline(Item, frozen=True):
    """A sound whose bytes were read with what holds it, such as a compressed archive or a table."""

    content: bytes | None = None
    """None where it was known, and not read."""
    error: str | None = None
    """Why it could not be read."""

    def open(self) -> Content:
        """Take the bytes.

        Raises:
            AudioDecodeError: If they could not be read.
        """
        if self.content is None:
            raise AudioDecodeError(self.error or f"{self.path} holds no sound: its bytes are null.")
        return in_memory(self.path, self.content, self.mtime)


class Absent(Item, frozen=True):
    """A sound that a list names, and that is not there."""

    size: int = 0
    mtime: float = UNREAD

    def open(self) -> Content:
        """Say that it is not there.

        Raises:
            AudioNotFoundError: Always.
        """
        raise AudioNotFoundError(f"{self.path} was asked for, and there is no such file.")


def in_memory(path: str, content: bytes, mtime: float) -> Content:
    """Content of which the bytes are here."""
    return Content(NamedBytes(path, content), hashlib.sha256(content).hexdigest(), len(content), mtime)
