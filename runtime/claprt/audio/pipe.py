"""Sound from a pipe as it arrives: raw samples, or a WAV file whose end is not known yet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from claprt.audio.levels import MAX_CHANNELS
from claprt.audio.sources import check_rate
from claprt.errors import AudioDecodeError, OptionError

FORMATS = MappingProxyType({"s16le": "<i2", "s32le": "<i4", "f32le": "<f4"})
"""Raw samples by FFmpeg's names, as numpy's dtypes."""
_AT_ONCE = 1 << 16
_MOST_HEADER = 1 << 20
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_DTYPES = {(_PCM, 16): "<i2", (_PCM, 32): "<i4", (_FLOAT, 32): "<f4", (_FLOAT, 64): "<f8"}


class Readable(Protocol):
    """A binary file that gives what is there."""

    def read(self, size: int, /) -> bytes:
        """So many bytes; fewer only at the end."""
        ...

    def read1(self, size: int, /) -> bytes:
        """Up to so many bytes, as soon as there are some; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Pipe:
    """Sound that arrives."""

    rate: int
    """[Hz]"""
    blocks: Iterator[NDArray[Any]]
    """[samples, channels] each, of an integer or float dtype."""


def open_pipe(file: Readable, rate: int | None, form: str = "s16le", channels: int = 1) -> Pipe:
    """Begin to read a pipe: a WAV file by its header, anything else as raw samples.

    Args:
        file: The pipe.
        rate: Of raw samples, in Hz.
        form: Of raw samples, one of `FORMATS`.
        channels: Of raw samples, interleaved.

    Raises:
        AudioDecodeError: If it begins as a WAV file and is none that can be read, or ends within the header.
        OptionError: If there is no rate for raw samples, or another one than a WAV file states.
        SampleRateError: If sounds cannot have this rate.
    """
    begin = file.read(12)
    if begin[:4] in (b"RIFF", b"RF64") and begin[8:] == b"WAVE":
        stated, channels, dtype, left = _wav_header(file)
        if rate is not None and rate != stated:
            raise OptionError(f"The WAV file states {stated} Hz, and {rate} Hz were named; leave --rate out.")
        return Pipe(check_rate(stated, "the WAV file states"), _blocks(file, b"", dtype, channels, left))
    if rate is None:
        raise OptionError("The input is no WAV file, and raw samples do not state their rate: name it with --rate.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise OptionError(f"--channels {channels} is not possible; from 1 to {MAX_CHANNELS} are mixed to mono.")
    return Pipe(check_rate(rate), _blocks(file, begin, FORMATS[form], channels, None))


def _wav_header(file: Readable) -> tuple[int, int, str, int | None]:
    """Rate, channels, dtype, and bytes of samples; None where these go on to the end of the pipe.

    Raises:
        AudioDecodeError: If there are none.
    """
    found: tuple[int, int, str] | None = None
    passed = 0
    while passed < _MOST_HEADER:
        head = _exactly(file, 8)
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data":
            if found is None:
                raise AudioDecodeError("The WAV file has samples before it says what they are.")
            return *found, None if size in (0, 0xFFFFFFFF) or size >= 0x7F000000 else size
        if size > _MOST_HEADER:
            break
        content = _exactly(file, size + size % 2)
        passed += 8 + len(content)
        if name == b"fmt ":
            found = _wav_format(content)
    raise AudioDecodeError("The WAV file has no samples within its first megabyte.")


def _wav_format(content: bytes) -> tuple[int, int, str]:
    if len(content) < 16:
        raise AudioDecodeError("The WAV file's header is too short.")
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if code == _EXTENSIBLE and len(content) >= 26:
        code = struct.unpack("<H", content[24:26])[0]
    dtype = _DTYPES.get((code, bits))
    if dtype is None or not 1 <= channels <= MAX_CHANNELS:
        raise AudioDecodeError(
            f"A WAV file in a pipe is read in 16 or 32-bit integers or floats, with up to {MAX_CHANNELS} channels; this "
            f"one has codec {code} with {bits} bits and {channels} channels."
        )
    return rate, channels, dtype


def _exactly(file: Readable, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise AudioDecodeError("The WAV file ends within its header.")
    return content


def _blocks(file: Readable, held: bytes, dtype: str, channels: int, left: int | None) -> Iterator[NDArray[Any]]:
    frame = np.dtype(dtype).itemsize * channels
    ended = False
    while held or not ended:
        if len(held) >= frame:
            whole = len(held) // frame * frame
            yield np.frombuffer(held[:whole], dtype).reshape(-1, channels)
            held = held[whole:]
        elif ended:
            raise AudioDecodeError(f"The input ends within a frame: {len(held)} of {frame} bytes are there.")
        part = b"" if ended else file.read1(_AT_ONCE if left is None else min(left, _AT_ONCE))
        left = None if left is None else left - len(part)
        ended = ended or not part
        held += part
