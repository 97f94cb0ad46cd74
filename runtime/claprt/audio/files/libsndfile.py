"""Streams to blocks of mono samples, through libsndfile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import soundfile

from claprt.audio.files.binary import Part
from claprt.audio.files.containers import Container, Opened
from claprt.audio.resample import Samples
from claprt.errors import AudioDecodeError, AudioError, EmptyAudioError

_BLOCK_SAMPLES = 1 << 18
_BEYOND_SAMPLES = 1 << 12  # what is asked for where a stream should have ended
_UNKNOWN_FRAMES = 1 << 60  # libsndfile says 2^63 - 1 where it cannot know
_UNIMPLEMENTED = {4, 18}
_UNDECODED = {1, 7, 161}  # not recognised, no frames of MPEG, FLAC that libFLAC does not begin with
_STATED_LOGS = re.compile(
    r"File seems to be truncated. (?P<found>\d+) <--> (?P<stated>\d+)",  # MAT4
)


class UndecodableError(AudioDecodeError):
    """libsndfile does not decode it; another library may."""

    unimplemented = False
    """Whether libsndfile says that it has no such codec."""


class _Stream(soundfile.SoundFile):
    """Read from the beginning to the end. Where it may, soundfile seeks after each block, which open streams cannot do."""

    def seekable(self) -> bool:
        return False


def open_parts(name: str, parts: Sequence[Part], container: Container) -> Opened:
    """Open the streams of a file, to be read one after the other.

    Args:
        name: What to call the file in messages.
        parts: One or several.
        container: What the file is.

    Raises:
        AudioDecodeError: If the first cannot be decoded, or holds less than its headers state.
    """
    first = _open(name, parts[0], container)
    return Opened(first.samplerate, first.channels, _blocks(name, parts, first, container), first.close)


def _open(name: str, part: Part, container: Container) -> Any:
    part.file.seek(0)
    try:
        stream = cast("Any", _Stream(cast("Any", part.file)))
    except (RuntimeError, TypeError, ValueError, OSError) as error:
        part.file.raise_error(name)
        raise _refusal(name, container, error) from error  # a variable here would keep this frame, and be kept by it
    try:
        part.file.raise_error(name)
        _refuse_truncated(name, part, stream)
    except AudioError:
        stream.close()
        raise
    return stream


def _refusal(name: str, container: Container, error: Exception) -> AudioDecodeError:
    reason = str(error).rpartition(": ")[2].rstrip(".")
    code = getattr(error, "code", None)
    kind = UndecodableError if code in _UNDECODED | _UNIMPLEMENTED else AudioDecodeError
    refusal = kind(
        f"{name} begins as {container.name} and cannot be decoded: {reason}. It may be cut off or damaged; if a player "
        "plays it, convert it first (ffmpeg -i FILE out.wav)."
    )
    if isinstance(refusal, UndecodableError):
        refusal.unimplemented = code in _UNIMPLEMENTED
    return refusal


def _refuse_truncated(name: str, part: Part, stream: Any) -> None:
    stated, found = part.samples, stream.frames
    if stated is None and (match := _STATED_LOGS.search(stream.extra_info)):
        stated, found = int(match["stated"]), int(match["found"])
    if stated is not None and found < stated:
        raise AudioDecodeError(
            f"{name} is truncated: its header states {stated} and {found} are there. Get the whole file, or "
            "rewrite it (sox FILE out.wav) if what is left is all you want."
        )


def _blocks(name: str, parts: Sequence[Part], first: Any, container: Container) -> Iterator[Samples]:
    total = 0
    for number, part in enumerate(parts):
        stream = _open(name, part, container) if number else first
        with stream:
            if stream.samplerate != first.samplerate:
                raise AudioDecodeError(
                    f"{name} consists of parts that were joined, of {first.samplerate} and {stream.samplerate} Hz; give it "
                    "one rate first (ffmpeg -i FILE -ar 48000 out.wav)."
                )
            for block in _stream_blocks(name, part, stream):
                total += len(block)
                yield block
    if total == 0:
        raise EmptyAudioError(f"{name} holds no samples.")


def _stream_blocks(name: str, part: Part, stream: Any) -> Iterator[Samples]:
    is_estimate = stream.format == "MP3"  # from the bit rate
    stated = max(part.samples or 0, 0 if is_estimate or stream.frames >= _UNKNOWN_FRAMES else stream.frames)
    if part.limit is not None:
        stated = part.limit
    open_end = part.limit is None and (part.open_end or not stated)
    step = max(1, _BLOCK_SAMPLES // stream.channels)
    read = 0
    while True:
        count = min(step, stated - read) if read < stated else _BEYOND_SAMPLES if stated else step
        if read >= stated and not open_end:
            break
        try:
            block = cast("Samples", stream.read(count, dtype="float32", always_2d=True))
        except (RuntimeError, ValueError) as error:
            part.file.raise_error(name)
            if stated and read >= stated:  # something else lies behind the sound
                break
            raise AudioDecodeError(f"{name} breaks off after {read} samples: {error}") from error
        part.file.raise_error(name)
        if not len(block):
            break
        read += len(block)
        if is_estimate and read <= stream.frames:
            stream.seek(read)  # libmpg123 synthesises the next block from there, by a bit other than if it went on
        yield _mono(block)
    if read < stated:
        raise (EmptyAudioError if not read else AudioDecodeError)(
            f"{name} is truncated or corrupt: {read} of {stated} samples could be decoded."
        )


def _mono(block: Samples) -> Samples:
    if block.shape[1] == 1:
        return block[:, 0]
    with np.errstate(invalid="ignore", over="ignore"):  # `claprt.audio.decode.check_finite` says it in words
        return block.mean(axis=1)
