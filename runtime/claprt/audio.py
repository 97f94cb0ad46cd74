"""From whatever a caller has (a path, bytes, an open file, an array) to blocks of mono samples at their own rate.

Files are read in blocks through libsndfile, so an hour of sound never stands in memory. Nothing is repaired: a file that
ends early, a stream that breaks off, NaN in the data are refused with the reason, because a vector of half a sound looks
like any other vector.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from claprt.errors import (
    AudioDecodeError,
    AudioError,
    AudioNotFoundError,
    AudioShapeError,
    AudioTypeError,
    EmptyAudioError,
    NonFiniteAudioError,
    SampleRateError,
)
from claprt.resample import Samples

if TYPE_CHECKING:
    import soundfile
    from typing_extensions import TypeIs

AudioSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | NDArray[Any]
"""One sound: a path, the bytes of a file, a file opened in binary mode, or an array of samples (numpy, or what numpy can
take as one, such as a torch tensor on the CPU)."""

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates taken, in Hz."""

MAX_CHANNELS = 16
"""Channels taken; more is nearly always a batch that was meant as a list."""

_BLOCK_SAMPLES = 1 << 18
_UNKNOWN_FRAMES = 1 << 60  # libsndfile says 2^63 - 1 where it cannot know
_UNKNOWN_BYTES = 0x7FFF_0000  # what programs write as the size of a stream that they cannot seek back in
_CHUNK_LOG = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+)\s*\(should be (\d+)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sound:
    """A source that has been opened: its rate, and its samples as an iterator of mono blocks to be used once."""

    name: str
    rate: int
    blocks: Iterator[Samples]


def is_one_source(sources: object) -> TypeIs[AudioSource]:
    """Whether an argument is one source rather than an iterable of them."""
    return (
        isinstance(sources, str | os.PathLike | bytes | bytearray | memoryview)
        or hasattr(sources, "read")
        or hasattr(sources, "__array__")
        or not isinstance(sources, Iterable)
    )


def source_name(source: AudioSource) -> str:
    """What to call a source in messages and results: its path or file name, or what kind of thing it is."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if hasattr(source, "__array__"):
        source = np.asarray(source)
    if isinstance(source, np.ndarray):
        return f"array[{', '.join(map(str, source.shape))}]"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"bytes[{len(source)}]"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else type(source).__name__


def open_sound(source: AudioSource, sample_rate: int | None, default_rate: int) -> Sound:
    """Opens a source; its samples are read, checked and mixed to mono as the blocks are asked for.

    Args:
        source: see `AudioSource`. Arrays are [samples], [channels, samples], or [samples, channels] with two channels
            (with any number up to 16 where the other axis is longer than that); integers are scaled by their full range.
        sample_rate: rate of an array in Hz. Files state their own.
        default_rate: rate of an array for which none was given.

    Raises:
        AudioError: the source is no sound; the message says why.
    """
    name = source_name(source)
    if hasattr(source, "__array__"):
        source = np.asarray(source)
    if isinstance(source, np.ndarray):
        rate = check_rate(default_rate if sample_rate is None else sample_rate)
        return Sound(name, rate, _array_blocks(name, source))
    file = _open_file(name, source)
    try:
        rate = check_rate(file.samplerate, f"{name} states")
        if file.channels > MAX_CHANNELS:
            raise AudioShapeError(f"{name} has {file.channels} channels; at most {MAX_CHANNELS} are mixed to mono.")
        _refuse_truncated(name, file)
    except AudioError:
        file.close()
        raise
    return Sound(name, rate, _file_blocks(name, file))


def check_rate(rate: float, who: str = "sample_rate is") -> int:
    """The rate as an integer.

    Raises:
        SampleRateError: not a whole number of Hz from 1 kHz to 768 kHz.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise SampleRateError(f"{who} {rate!r}; give a whole number of Hz from {MIN_RATE} to {MAX_RATE}.")
    if not (MIN_RATE <= rate <= MAX_RATE) or rate != int(rate):
        raise SampleRateError(f"{who} {rate} Hz; a whole number from {MIN_RATE} to {MAX_RATE} Hz is taken.")
    return int(rate)


def _array_blocks(name: str, array: NDArray[Any]) -> Iterator[Samples]:
    channels = _channels_first(name, array)
    if channels.shape[1] == 0:
        raise EmptyAudioError(f"{name} holds no samples; a sound needs at least one.")
    mono = _to_float(name, channels).mean(axis=0) if len(channels) > 1 else _to_float(name, channels)[0]
    yield _check_finite(name, mono)


def _channels_first(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 1:
        return array[None]
    if array.ndim != 2:
        raise AudioShapeError(
            f"{name} has {array.ndim} axes; one sound is [samples] or [channels, samples]. For several sounds, pass a "
            "list of arrays."
        )
    first, second = array.shape
    transposed = (second == 2 and first != 2) or (first > MAX_CHANNELS >= second > 0)
    channels = array.T if transposed else array
    if not 1 <= len(channels) <= MAX_CHANNELS:
        raise AudioShapeError(
            f"{name} would be {len(channels)} channels; from 1 to {MAX_CHANNELS} are mixed to mono. For a batch of "
            "sounds, pass a list of arrays."
        )
    return channels


def _to_float(name: str, array: NDArray[Any]) -> Samples:
    """float64 stays float64, every other dtype becomes float32; integers are scaled to [-1, 1)."""
    if array.dtype.kind == "f":
        return array if array.dtype == np.float64 else array.astype(np.float32)
    if array.dtype.kind in "iu":
        full_scale = 2.0 ** (8 * array.dtype.itemsize - 1)
        middle = full_scale if array.dtype.kind == "u" else 0.0
        return ((array.astype(np.float64) - middle) / full_scale).astype(np.float32)
    raise AudioShapeError(f"{name} is {array.dtype}; samples are real numbers (any float or integer dtype).")


def _check_finite(name: str, block: Samples) -> Samples:
    if not np.isfinite(block).all():
        where = int(np.flatnonzero(~np.isfinite(block))[0])
        raise NonFiniteAudioError(
            f"{name} holds {block[where]} near sample {where} of a block; clean it first (numpy.nan_to_num)."
        )
    return block


def _open_file(name: str, source: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]) -> Any:
    import soundfile

    readable = _readable(name, source)
    try:
        return soundfile.SoundFile(readable)
    except (RuntimeError, TypeError, ValueError, OSError) as error:
        reason = str(error).rpartition(": ")[2].rstrip(".")
        # libsndfile's words for an MPEG stream without a frame that it can start from
        reason = "no audio frames were found" if "does not exist or is not a regular file" in reason else reason
        raise AudioDecodeError(
            f"{name} cannot be decoded: {reason}. WAV, FLAC, Ogg, Opus, MP3, AIFF and the other formats of libsndfile "
            "are read; convert others first (ffmpeg -i FILE out.wav)."
        ) from error


def _readable(name: str, source: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]) -> Any:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise AudioNotFoundError(f"{name} was asked for, and there is no such file.")
        if path.is_dir():
            raise AudioDecodeError(f"{name} is a folder; name the sound files in it.")
        if path.is_file() and path.stat().st_size == 0:
            raise EmptyAudioError(f"{name} is an empty file.")
        return os.fspath(path)
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    elif hasattr(source, "read"):
        if source.seekable():
            return source
        content = source.read()
    else:
        raise AudioTypeError(
            f"A sound is a path, bytes, a binary file or an array; got {type(source).__name__} ({source!r:.40}). Samples "
            "go in as numpy.array(samples), several sounds as a list."
        )
    if not content:
        raise EmptyAudioError(f"{name} holds no bytes.")
    return io.BytesIO(content)


def _refuse_truncated(name: str, file: soundfile.SoundFile) -> None:
    """WAV and AIFF state how many bytes of sound follow; libsndfile silently takes fewer, and says so in its log."""
    for stated, found in _CHUNK_LOG.findall(file.extra_info):
        if int(found) < int(stated) < _UNKNOWN_BYTES:
            raise AudioDecodeError(
                f"{name} is truncated: its header states {stated} bytes of sound and {found} are there. Get the whole "
                "file, or rewrite it (sox FILE out.wav) if what is left is all you want."
            )


def _file_blocks(name: str, file: soundfile.SoundFile) -> Iterator[Samples]:
    read = 0
    with file:
        step = max(1, _BLOCK_SAMPLES // file.channels)
        while True:
            try:
                block = np.asarray(file.read(step, dtype="float32", always_2d=True), np.float32)
            except (RuntimeError, ValueError) as error:
                raise AudioDecodeError(f"{name} breaks off after {read} samples: {error}") from error
            if not len(block):
                break
            read += len(block)
            yield _check_finite(name, block.mean(axis=1) if block.shape[1] > 1 else block[:, 0])
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
