"""Binary files that can seek, as libraries with callbacks need them: a file object, bytes in memory, parts put together."""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from claprt.errors import AudioDecodeError, AudioError, AudioNotFoundError


@contextmanager
def readable_as(name: str) -> Generator[None]:
    """Convert errors of the operating system and of foreign file objects to `AudioError`.

    Raises:
        AudioNotFoundError: If there is no such file.
        AudioDecodeError: If it cannot be read.
        AudioError: As raised in the block.
    """
    try:
        yield
    except AudioError:
        raise
    except FileNotFoundError as error:
        raise AudioNotFoundError(_advised(name, "was asked for, and there is no such file.")) from error
    except IsADirectoryError as error:
        raise AudioDecodeError(f"{name} is a folder; name the sound files in it.") from error
    except Exception as error:  # file objects may raise anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise AudioDecodeError(_advised(name, f"cannot be read: {reason}.")) from error


def _advised(name: str, trouble: str) -> str:
    """What is said of a name that cannot be opened, with what would be right for what is not a name at all."""
    shown = name if len(name) <= _LONG_NAME else f"{name[:40]}… ({len(name)} characters)"
    hint = next((f" {advice}" for pattern, advice in _NO_NAMES if re.match(pattern, name)), "")
    return f"{shown} {trouble}{hint}"


_LONG_NAME = 1_000
_NO_NAMES = (
    (r"file://", "Give the path alone, without file://."),
    (r"[A-Za-z][\w+.-]+://", "Addresses are not opened: download it, and give the path or the bytes."),
    (r"(?i:data:[\w+./-]*[;,])", "A data: URI is not a file: give the bytes that it encodes."),
    (r"[A-Za-z0-9+/_-]{200}[A-Za-z0-9+/=_\s-]*\Z", "If it is base64, give the bytes: base64.b64decode(text)."),
    (r"~", "~ is not expanded: give os.path.expanduser(path)."),
    (r".*[*?\[]", "Patterns are not expanded here: give the names, in Python glob.glob(pattern)."),
    (r"[\"'].*[\"']\Z|\s|.*\s\Z", "Quotes and white space around a name are part of it."),
)
"""What is given in place of a path, and what to do about it."""
_CHUNK = 1 << 17


class BinaryFile:
    """A binary file that can seek, for libraries whose callbacks cannot raise.

    The first error is kept in `error`, and the file ends there. Subclasses implement `_read_at`.
    """

    error: Exception | None = None

    def __init__(self, size: int) -> None:
        self.size = size
        """[bytes]"""
        self._position = 0
        self._chunk, self._chunk_at = b"", 0

    def _read_at(self, offset: int, count: int) -> bytes:
        raise NotImplementedError

    def read_at(self, offset: int, count: int) -> bytes:
        """The bytes from here on, fewer at the end. Does not move the position."""
        count = min(count, self.size - offset)
        if self.error is None and count > 0:
            try:
                return self._read_at(offset, count)
            except Exception as error:  # noqa: BLE001 - raised by `raise_error`
                self.error = error
        return b""

    def read(self, count: int = -1) -> bytes:
        """As a file object reads."""
        content = self.read_at(self._position, self.size if count < 0 else count)
        self._position += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        """As a file object reads into memory that is there. Libraries ask for a few bytes at a time, so more are kept."""
        count = len(buffer)
        inside = self._position - self._chunk_at
        if not 0 <= inside <= len(self._chunk) - count:
            self._chunk, self._chunk_at, inside = self.read_at(self._position, max(count, _CHUNK)), self._position, 0
        content = self._chunk[inside : inside + count]
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file object seeks."""
        self._position = max(0, offset + (0, self._position, self.size)[whence])
        return self._position

    def tell(self) -> int:
        """The position [bytes]."""
        return self._position

    def seekable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """False."""
        return False

    def raise_error(self, name: str) -> None:
        """Raise what reading has met, as our own error.

        Raises:
            AudioError: If the source failed.
        """
        if self.error is not None:
            with readable_as(name):
                raise self.error

    def close(self) -> None:
        """Close what was opened here."""


class WholeFile(BinaryFile):
    """A file object that can seek, from its beginning to its end."""

    def __init__(self, file: IO[bytes], *, close: Callable[[], None] | None = None) -> None:
        file.seek(0, os.SEEK_END)
        super().__init__(file.tell())
        self._file = file
        self._at = self.size
        self._close = close

    def _read_at(self, offset: int, count: int) -> bytes:
        if self._at != offset:
            self._file.seek(offset)
        content = check_read(self._file.read(count))
        while 0 < len(content) < count:  # a raw file gives less than it is asked for
            more = check_read(self._file.read(count - len(content)))
            if not more:
                break
            content += more
        self._at = offset + len(content)
        return content

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._close is not None:
            self._close()

    def __del__(self) -> None:
        if getattr(self, "_close", None) is not None:  # opened, and never read to its end
            self.close()


class Memory(BinaryFile):
    """Bytes that are in memory, without another copy of them."""

    def __init__(self, content: memoryview) -> None:
        super().__init__(len(content))
        self._content = content

    def _read_at(self, offset: int, count: int) -> bytes:
        return bytes(self._content[offset : offset + count])


class Spliced(BinaryFile):
    """A file put together from parts of another, and from bytes that replace others.

    Args:
        file: The other file.
        pieces: Bytes, or (offset, length) of a part of the file.
    """

    def __init__(self, file: BinaryFile, pieces: Sequence[bytes | tuple[int, int]]) -> None:
        self._base = file
        self._pieces = pieces
        self._ends: list[int] = []
        end = 0
        for piece in pieces:
            end += len(piece) if isinstance(piece, bytes) else piece[1]
            self._ends.append(end)
        super().__init__(end)

    def _read_at(self, offset: int, count: int) -> bytes:
        found: list[bytes] = []
        index = bisect.bisect_right(self._ends, offset)
        while count > 0 and index < len(self._pieces):
            piece = self._pieces[index]
            length = len(piece) if isinstance(piece, bytes) else piece[1]
            inside = offset - (self._ends[index] - length)
            take = min(count, length - inside)
            if isinstance(piece, bytes):
                found.append(piece[inside : inside + take])
            else:
                found.append(self._base.read_at(piece[0] + inside, take))
            self.error = self._base.error
            offset, count, index = offset + take, count - take, index + 1
        return b"".join(found)


@dataclass(frozen=True, slots=True)
class Part:
    """One stream with one header, as libsndfile is given it. A file is one or several, one after the other."""

    file: BinaryFile
    samples: int | None = None
    """Per channel, as the headers around it say."""
    open_end: bool = False
    """Whether what is beyond these samples is read as well."""
    limit: int | None = None
    """How many samples belong to the sound, where libsndfile needs more to begin."""


def check_read(content: bytes | bytearray | memoryview | None) -> bytes:
    """Check what a `read` returned.

    Raises:
        BlockingIOError: If there are no bytes yet.
        TypeError: If it is something other than bytes.
    """
    if content is None:
        raise BlockingIOError("it has no bytes yet; open it in blocking mode")
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(f"read() gives {type(content).__name__}; open the file in binary mode")
    return bytes(content)
