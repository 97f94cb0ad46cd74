"""The file that FFmpeg reads."""

from __future__ import annotations

import io

from claprt.audio.files.binary import BinaryFile

_TIMES = 16  # packets of sound between those of a video are small, and each read takes 32 KB
_LEAST = 1 << 26


class Source(BinaryFile):
    """A file that ends where it has been read sixteen times over: tables can send a demuxer back and forth without end.

    Args:
        file: Stays open.
    """

    def __init__(self, file: BinaryFile) -> None:
        super().__init__(file.size)
        self._file = file
        self._left = file.size * _TIMES + _LEAST

    def _read_at(self, offset: int, count: int) -> bytes:
        content = self._file.read_at(offset, count)
        self._left -= len(content)
        if self._left < 0:
            raise OSError("its tables lead back and forth through it")
        self.error = self._file.error
        return content


class References(list[str]):
    """What a container refers to. FFmpeg asks for it here and is given an empty file.

    It leads back to nothing: a method of whoever holds the container would keep both, and the file, in memory until the
    next collection of garbage.
    """

    def __call__(self, url: str, flags: int, options: object) -> io.BytesIO:
        """Note the address; the other two are FFmpeg's."""
        del flags, options
        self.append(url)
        return io.BytesIO()
