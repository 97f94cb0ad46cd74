"""Sound files to blocks of mono samples, through libsndfile.

Files are read in blocks, so an hour of sound never stands in memory. Nothing is repaired: a file that ends early, a stream
that breaks off, NaN in the data are refused with the reason, because a vector of half a sound looks like any other vector.
Where a format states its length (WAV, AIFF, FLAC, RF64, W64, AU and others), a shorter file is noticed; MP3 states only an
estimate and Ogg nothing, so those are taken as far as they go.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from claprt.arrays import Waveform
from claprt.containers import Opened
from claprt.errors import (
    AudioDecodeError,
    AudioError,
    AudioNotFoundError,
    AudioTypeError,
    EmptyAudioError,
    NonFiniteAudioError,
)
from claprt.resample import Samples

if TYPE_CHECKING:
    import soundfile

T = TypeVar("T")

_BLOCK_SAMPLES = 1 << 18
_UNKNOWN_FRAMES = 1 << 60  # libsndfile says 2^63 - 1 where it cannot know
_UNKNOWN_BYTES = 0x7FFF_0000  # what programs write as the size of a stream that they cannot seek back in
_TRUNCATION_LOGS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        # WAV, AIFF, SVX, AU, W64
        r"^\s*(?:data|SSND|BODY|Data Size|riff)\s*:\s*(?P<stated>\d+)\s*\(should be (?P<found>\d+)\)",
        r"Calculated frame count (?P<found>\d+) does not match value from 'ds64' chunk of (?P<stated>\d+)",  # RF64
        r"File seems to be truncated. (?P<found>\d+) <--> (?P<stated>\d+)",  # MAT4
    )
)


def open_file(name: str, source: object) -> Opened:
    """Opens a path, the bytes of a file, or a binary file object.

    Raises:
        AudioError: it cannot be read or is no sound.
    """
    with _ours(name):
        readable = _readable(name, source)
    file = _open(name, readable)
    try:
        _raise_noted(name, readable)
        _refuse_truncated(name, file)
    except AudioError:
        file.close()
        raise
    return Opened(file.samplerate, file.channels, _blocks(name, file, readable), file.close)


def check_finite(name: str, block: Samples) -> Samples:
    """The block itself.

    Raises:
        NonFiniteAudioError: it holds NaN or infinity.
    """
    if not np.isfinite(block).all():
        where = int(np.flatnonzero(~np.isfinite(block))[0])
        raise NonFiniteAudioError(
            f"{name} holds {block[where]} near sample {where} of a block; clean it first (numpy.nan_to_num)."
        )
    return block


@contextmanager
def _ours(name: str) -> Generator[None]:
    """Turns what operating system and foreign file objects raise into our own error."""
    try:
        yield
    except AudioError:
        raise
    except FileNotFoundError as error:
        raise AudioNotFoundError(f"{name} was asked for, and there is no such file.") from error
    except Exception as error:  # file objects may raise anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise AudioDecodeError(f"{name} cannot be read: {reason}.") from error


def _open(name: str, readable: bytes | str | _Watched) -> Any:
    import soundfile

    try:
        return soundfile.SoundFile(cast("Any", readable))
    except (RuntimeError, TypeError, ValueError, OSError) as error:
        _raise_noted(name, readable)
        reason = str(error).rpartition(": ")[2].rstrip(".")
        # libsndfile's words for an MPEG stream without a frame that it can start from
        reason = "no audio frames were found" if "does not exist or is not a regular file" in reason else reason
        raise AudioDecodeError(
            f"{name} cannot be decoded: {reason}. WAV, FLAC, Ogg, Opus, MP3, AIFF and the other formats of libsndfile "
            "are read; convert others first (ffmpeg -i FILE out.wav)."
        ) from error


def _readable(name: str, source: object) -> bytes | str | _Watched:
    if isinstance(source, str | os.PathLike):
        return _checked_path(name, Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    elif hasattr(source, "read"):
        file = cast("IO[bytes]", source)
        if hasattr(file, "seekable") and file.seekable():
            return _Watched(file)
        content = file.read()
        if not isinstance(content, bytes | bytearray | memoryview):
            raise AudioTypeError(f"{name} gives {type(content).__name__}, not bytes; open it in binary mode.")
    else:
        raise AudioTypeError(
            f"A sound is a path, bytes, a binary file or an array; got {type(source).__name__} ({source!r:.40}). Samples "
            "go in as numpy.array(samples), several sounds as a list."
        )
    if not content:
        raise EmptyAudioError(f"{name} holds no bytes.")
    return _Watched(io.BytesIO(content))


def _checked_path(name: str, path: Path) -> bytes | str:
    if not name:
        raise AudioNotFoundError("An empty name was given where a sound file was expected.")
    if path.is_dir():
        raise AudioDecodeError(f"{name} is a folder; name the sound files in it.")
    with path.open("rb") as file:
        if path.is_file() and not file.read(1):
            raise EmptyAudioError(f"{name} is an empty file.")
    return os.fsencode(path) if os.name == "posix" else os.fspath(path)


class _Watched:
    """A file object for libsndfile, whose callbacks cannot raise: the first error is kept, and the file ends there."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: Exception | None = None

    def read(self, count: int = -1) -> bytes:
        content = self._kept(lambda: self._file.read(count), b"")
        if isinstance(content, bytes | bytearray | memoryview):
            return content
        self.error = TypeError(f"read() gives {type(content).__name__}; open the file in binary mode")
        return b""

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(memoryview(buffer).cast("B")))
        memoryview(buffer).cast("B")[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._kept(lambda: self._file.seek(offset, whence), 0)

    def tell(self) -> int:
        return self._kept(self._file.tell, 0)

    def _kept(self, call: Callable[[], T], otherwise: T) -> T:
        if self.error is None:
            try:
                return call()
            except Exception as error:  # noqa: BLE001 - raised by `_raise_noted`
                self.error = error
        return otherwise


def _raise_noted(name: str, readable: bytes | str | _Watched) -> None:
    if isinstance(readable, _Watched) and readable.error is not None:
        raise AudioDecodeError(f"{name} cannot be read: {readable.error}.") from readable.error


def _refuse_truncated(name: str, file: soundfile.SoundFile) -> None:
    """Many headers state how much sound follows; libsndfile silently takes less, and says so in its log."""
    for pattern in _TRUNCATION_LOGS:
        for match in pattern.finditer(file.extra_info):
            stated, found = int(match["stated"]), int(match["found"])
            if found < stated < _UNKNOWN_BYTES:
                raise AudioDecodeError(
                    f"{name} is truncated: its header states {stated} and {found} are there. Get the whole file, or "
                    "rewrite it (sox FILE out.wav) if what is left is all you want."
                )


def _blocks(name: str, file: soundfile.SoundFile, readable: bytes | str | _Watched) -> Iterator[Samples]:
    read = 0
    with file:
        step = max(1, _BLOCK_SAMPLES // file.channels)
        while True:
            try:
                block = np.asarray(file.read(step, dtype="float32", always_2d=True), np.float32)
            except (RuntimeError, ValueError) as error:
                raise AudioDecodeError(f"{name} breaks off after {read} samples: {error}") from error
            finally:
                _raise_noted(name, readable)
            if not len(block):
                break
            read += len(block)
            yield check_finite(name, block.mean(axis=1) if block.shape[1] > 1 else block[:, 0])
        _refuse_short(name, file, read)


def _refuse_short(name: str, file: soundfile.SoundFile, read: int) -> None:
    # The length of an MPEG stream is an estimate from its bit rate, so there only the absence of samples says something.
    stated = file.frames if file.format != "MP3" else 1
    if read < stated < _UNKNOWN_FRAMES:
        if read == 0:
            raise EmptyAudioError(f"{name} states {file.frames} samples and none could be decoded.")
        raise AudioDecodeError(f"{name} is truncated or corrupt: {read} of {stated} samples could be decoded.")
    if read == 0:
        raise EmptyAudioError(f"{name} holds no samples.")


def float_samples(data: bytes) -> Waveform:
    """Raw little-endian float32 mono, as services take it, as an array [samples].

    Raises:
        AudioDecodeError: the bytes are no whole number of samples.

    Example:
        >>> float_samples(bytes(8)).tolist()
        [0.0, 0.0]
    """
    if len(data) % 4:
        raise AudioDecodeError(f"Raw audio is float32 samples; {len(data)} bytes are no whole number of them.")
    return np.frombuffer(data, "<f4").astype(np.float32, copy=False)
