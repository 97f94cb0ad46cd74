"""The file that FFmpeg reads, as the file object that PyAV takes."""

from __future__ import annotations

import io
from typing import IO

from claprt.errors import AudioDecodeError, AudioError

_TIMES = 16  # packets of sound between those of a video are small, and each read takes 32 KB
_LEAST = 1 << 26


class Source(io.RawIOBase):
    """A file object whose methods do not raise, as FFmpeg calls them: the first error is kept, and the file ends there.

    It also ends where it has been read sixteen times over: tables can send a demuxer back and forth without end.

    Args:
        file: seekable; it stays open.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._error: Exception | None = None
        self._allowed = self.seek(0, 2) * _TIMES + _LEAST
        self.seek(0)

    def readable(self) -> bool:  # noqa: D102 - as in `io`
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def read(self, size: int = -1) -> bytes:  # noqa: D102
        if self._error is not None:
            return b""
        try:
            content = bytes(self._file.read(size))
        except Exception as error:  # noqa: BLE001 - a file object may raise anything; raised by `check`
            self._error = error
            return b""
        self._allowed -= len(content)
        if self._allowed < 0:
            self._error = ValueError("its tables lead back and forth through the file")
        return content

    def seek(self, offset: int, whence: int = 0) -> int:  # noqa: D102
        if self._error is not None:
            return 0
        try:
            return self._file.seek(offset, whence)
        except Exception as error:  # noqa: BLE001 - as above
            self._error = error
            return 0

    def tell(self) -> int:  # noqa: D102
        return self.seek(0, 1)

    def check(self, name: str) -> None:
        """Raises what was kept.

        Raises:
            AudioError: reading failed.
        """
        if isinstance(self._error, AudioError):
            raise self._error
        if self._error is not None:
            reason = getattr(self._error, "strerror", None) or str(self._error) or type(self._error).__name__
            raise AudioDecodeError(f"{name} cannot be read: {reason}.") from self._error
