"""The content of a sound's file as browsers play it: the file itself, or 16-bit WAV that is decoded as it is read.

| files | are sent |
|---|---|
| WAV of 8, 16 or 24 bits or float32, FLAC, MP3, Ogg, M4A/MP4, WebM, AAC | as they are |
| what else libsndfile reads: AIFF, AU, CAF, W64, RF64, other WAV | as 16-bit WAV, decoded as far as it is asked for |
| others | not at all |
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from io import FileIO

import numpy as np
import soundfile

from claprt.audio.files import magic
from claprt.audio.files.containers import HEAD_BYTES, Container, Reader, recognise
from claprt.serve.library.errors import NotPlayableError
from claprt.serve.library.ranges import Content

_AS_THEY_ARE = {
    magic.FLAC: "audio/flac",
    magic.MPEG: "audio/mpeg",
    magic.OGG: "audio/ogg",
    magic.MP4: "audio/mp4",
    magic.ADTS: "audio/aac",
}
_PLAIN_WAV = ("PCM_U8", "PCM_16", "PCM_24", "FLOAT")
_HEADER_BYTES = 44
_MOST_BYTES = (1 << 32) - 1 - _HEADER_BYTES
"""Of samples in a WAV file: six hours of stereo at 48 kHz."""


@dataclass(slots=True)
class FileContent:
    """A file as it is."""

    file: FileIO
    media_type: str
    size: int

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`."""
        self.file.seek(start)
        return self.file.read(end - start)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


@dataclass(slots=True)
class WavContent:
    """A file of another format as 16-bit WAV; more than two channels are mixed to one."""

    name: str
    """For messages."""
    file: FileIO
    media_type: str = field(default="audio/wav", init=False)
    size: int = field(init=False)
    _sound: soundfile.SoundFile = field(init=False)
    _channels: int = field(init=False)
    _frames: int = field(init=False)

    def __post_init__(self) -> None:
        self._sound = _opened(self.name, self.file)
        self._channels = self._sound.channels if self._sound.channels <= 2 else 1
        self._frames = min(self._sound.frames, _MOST_BYTES // (2 * self._channels))
        self.size = _HEADER_BYTES + 2 * self._channels * self._frames

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`; decodes the frames that they are of.

        Raises:
            NotPlayableError: If the file cannot be decoded.
        """
        head = self._header()[start:end] if start < _HEADER_BYTES else b""
        size = 2 * self._channels  # of a frame
        first, last = max(0, start - _HEADER_BYTES) // size, -(-max(0, end - _HEADER_BYTES) // size)
        if last <= first:
            return head
        try:
            self._sound.seek(first)
            frames = self._sound.read(last - first, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise NotPlayableError(f"{self.name} cannot be decoded: {error}.") from error
        if self._channels != frames.shape[1]:
            frames = frames.mean(1, keepdims=True)
        body = np.clip(np.rint(frames * 32_768), -32_768, 32_767).astype("<i2").tobytes()
        body += bytes(max(0, (last - first) * size - len(body)))  # a file that holds less than it states
        skipped = max(0, start - _HEADER_BYTES) - first * size
        return head + body[skipped : end - max(start, _HEADER_BYTES) + skipped]

    def close(self) -> None:
        """Close the file."""
        self._sound.close()
        self.file.close()

    def _header(self) -> bytes:
        rate, size = self._sound.samplerate, self.size - _HEADER_BYTES
        wave = struct.pack("<HHIIHH", 1, self._channels, rate, rate * 2 * self._channels, 2 * self._channels, 16)
        return b"".join(
            (
                b"RIFF",
                struct.pack("<I", 36 + size),
                b"WAVEfmt ",
                struct.pack("<I", 16),
                wave,
                b"data",
                struct.pack("<I", size),
            )
        )


def content_of(name: str, file: FileIO) -> Content:
    """The content of an opened file as browsers play it. It closes the file.

    Args:
        name: For messages.
        file: The file.

    Raises:
        NotPlayableError: If its format is neither played by browsers nor converted here.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    container = recognise(head)
    media_type = None if container is None else _media_type(name, file, container, head)
    if media_type is not None:
        return FileContent(file, media_type, os.fstat(file.fileno()).st_size)
    if container is None or container.reader is not Reader.LIBSNDFILE:
        what = "of a format that is not recognised" if container is None else container.name
        raise NotPlayableError(f"{name} is {what}: browsers do not play it, and it is not converted here.")
    return WavContent(name, file)


def _media_type(name: str, file: FileIO, container: Container, head: bytes) -> str | None:
    """The media type of a file that browsers play as it is; None for others."""
    if container is magic.MATROSKA:
        return "audio/webm" if b"webm" in head[:64] else None
    if container is magic.WAV and head[:4] == b"RIFF":
        with _opened(name, file) as sound:
            return "audio/wav" if sound.subtype in _PLAIN_WAV else None
    return _AS_THEY_ARE.get(container)


def _opened(name: str, file: FileIO) -> soundfile.SoundFile:
    file.seek(0)
    try:
        return soundfile.SoundFile(file.fileno(), closefd=False)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise NotPlayableError(f"{name} cannot be opened as a sound: {error}.") from error
