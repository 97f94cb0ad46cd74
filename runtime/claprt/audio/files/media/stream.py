"""One stream of sound out of a container: packets to frames, and what must hold between them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from av.stream import Discard, Disposition

from claprt.audio.files.containers import Container
from claprt.audio.files.media.errors import REWRITE, damaged
from claprt.audio.files.media.formats import (
    CONTIGUOUS,
    GAP,
    NOTHING_BEHIND,
    SHORT,
    SHORT_OF,
    STATES_LENGTH,
    TAGS,
    WITHOUT_TIMES,
)
from claprt.audio.files.media.samples import DECODERS, mono_samples
from claprt.audio.files.media.source import References, Source
from claprt.audio.resample import Samples
from claprt.errors import AudioDecodeError, AudioError, AudioShapeError, EmptyAudioError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_BLOCK_SAMPLES = 1 << 16
_MOST_CHANNELS = 64
_PADDING = 1 << 13  # samples that an encoder may have added to fill its last packets
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Tags of files are text in any encoding; from PyAV 19 on they are read whatever it is."""
_UNKNOWN_ORDERS: list[object] = []  # see `Stream._check_orders`


@dataclass(frozen=True, slots=True)
class Frame:
    """What a decoder gives at once."""

    rate: int
    """[Hz]"""
    channels: int
    mono: Samples
    """The mean of the channels [samples]."""


class Stream:
    """The sound of a container, to be read once.

    Raises:
        AudioDecodeError: If it has no sound, or none that can be decoded.
        AudioShapeError: If it has too many channels.
    """

    def __init__(self, name: str, source: Source, container: Container) -> None:
        self._name, self._source = name, source
        self._format = container.media_format or ""
        self._referred = References()
        self._seconds = 0.0  # decoded so far
        self._begin = 0.0  # when the first frame begins: a track may start later than the file
        self._due: float | None = None  # when the next frame should begin
        self._next_byte: int | None = None
        self._container = self._open(container)
        try:
            self._stream = self._chosen(container)
            self._codec = self._prepared()
        except AudioError:
            self._container.close()
            raise
        except Exception as error:  # see `_open`
            self._container.close()
            raise self._undecodable(error, f"begins as {container.name} and cannot be decoded") from error
        self._frames = self._decoded()

    def _open(self, container: Container) -> InputContainer:
        options = {
            "codec_whitelist": ",".join(sorted(DECODERS)),
            "protocol_whitelist": "none",
            "max_streams": "100",
            "enable_drefs": "0",
            "use_absolute_path": "0",
        }
        try:
            opened = av.open(
                self._source,
                format=container.media_format,
                container_options=options,
                io_open=self._referred,
                **_METADATA,
            )
        except Exception as error:  # PyAV has one for each of FFmpeg's errors, and raises built-in ones too
            self._source.raise_error(self._name)
            raise self._undecodable(error, f"begins as {container.name} and cannot be decoded") from error
        return cast("InputContainer", opened)

    def _chosen(self, container: Container) -> AudioStream:
        streams = self._container.streams
        if not streams.audio:
            pictures = any(not stream.disposition & Disposition.attached_pic for stream in streams.video)
            what = "a video without sound" if pictures else f"{container.name} without sound"
            raise AudioDecodeError(f"{self._name} is {what}; there is nothing to embed.")
        return next((stream for stream in streams.audio if stream.disposition & Disposition.default), streams.audio[0])

    def _prepared(self) -> str:
        """Prepare the decoder, and return its name.

        Raises:
            AudioDecodeError: If there is no decoder, or the sound is encrypted.
            AudioShapeError: If it has too many channels.
        """
        context: Any = self._stream.codec_context
        codec = str(getattr(getattr(context, "codec", None), "name", "an unknown way"))  # None where FFmpeg has no decoder
        if codec not in DECODERS:
            raise AudioDecodeError(
                f"{self._name} cannot be decoded: its sound is coded in {codec}, which is not read here. Convert it first "
                "(ffmpeg -i FILE out.wav)."
            )
        if _is_encrypted(context):
            raise AudioDecodeError(f"{self._name} cannot be decoded: its sound is encrypted.")
        layout = context.layout
        channels = layout.nb_channels
        if channels > 0 and _is_unnamed(layout):
            # An order of channels that has no name: PyAV copies the pointer to it and frees it twice. The number is enough.
            context.layout = f"{channels} channels"
            if codec == "aac":
                raise self._of_unknown_order()
        if channels > _MOST_CHANNELS:
            raise AudioShapeError(f"{self._name} has {channels} channels; so many are not mixed to mono.")
        context.thread_count = 1
        context.options = {"err_detect": "crccheck+bitstream+buffer+explode", "max_samples": str(1 << 21)}
        for stream in self._container.streams:
            if stream.index != self._stream.index:
                stream.discard = Discard.all
        return codec

    def close(self) -> None:
        """End decoding. May be called again."""
        self._frames.close()
        self._container.close()

    def first(self) -> Frame | None:
        """The first frame, if there is one."""
        return next(self._frames, None)

    def _decoded(self) -> Generator[Frame]:
        try:
            for packet in self._container.demux(self._stream):
                self._source.raise_error(self._name)
                if packet.size:
                    self._check_packet(packet)
                frames = packet.decode()
                if self._codec == "aac":
                    self._check_orders(frames)
                yield from (self._taken(frame) for frame in frames if frame.samples)
            self._source.raise_error(self._name)
            self._check_end()
        except AudioError:
            raise
        except Exception as error:  # see `_open`
            self._source.raise_error(self._name)
            raise self._undecodable(error, f"breaks off after {self._seconds:.2f} s") from error

    def _undecodable(self, error: Exception, what: str) -> AudioDecodeError:
        if self._referred:
            return self._referring()
        reason = str(getattr(error, "strerror", None) or error or type(error).__name__).rstrip(".")
        if isinstance(error, MemoryError):
            reason = "it has too many streams, or asks for too much memory"
        elif isinstance(error, BlockingIOError) or reason.startswith("Error number"):  # what decoders return without a word
            reason = "Invalid data found when processing input"
        return AudioDecodeError(f"{self._name} {what}: {reason}.")

    def _referring(self) -> AudioDecodeError:
        return AudioDecodeError(f"{self._name} refers to another file, {self._referred[0]!r:.60}, which is not opened.")

    def _of_unknown_order(self) -> AudioDecodeError:
        return AudioDecodeError(f"{self._name} cannot be decoded: its AAC has channels in an unknown order.")

    def _check_packet(self, packet: Any) -> None:
        self._check_whole(packet)
        if self._format in CONTIGUOUS:
            if self._next_byte is not None and packet.pos is not None and packet.pos != self._next_byte:
                raise damaged(self._name, self._next_byte)
            self._next_byte = None if packet.pos is None else packet.pos + packet.size
        if self._codec == "aac" and packet.has_sidedata("new_extradata"):
            raise AudioDecodeError(f"{self._name} cannot be decoded: its coding changes after {self._seconds:.2f} s.")

    def _check_whole(self, part: Any) -> None:
        if part.is_corrupt:
            raise AudioDecodeError(
                f"{self._name} is truncated or damaged: what comes after {self._seconds:.2f} s is not whole. Get the whole "
                f"file, or {REWRITE}."
            )

    def _taken(self, frame: AudioFrame) -> Frame:
        self._check_whole(frame)
        rate = frame.rate
        if rate <= 0:
            raise AudioDecodeError(f"{self._name} cannot be decoded: it states a rate of {rate} Hz.")
        seconds = frame.samples / rate
        if frame.pts is not None and frame.time_base is not None and self._format not in WITHOUT_TIMES:
            begin = float(frame.pts * frame.time_base)
            self._check_time(begin)
            self._begin = begin if self._due is None else self._begin
            self._due = begin + seconds
        self._seconds += seconds
        return Frame(rate, frame.layout.nb_channels, mono_samples(self._name, frame))

    def _check_orders(self, frames: list[AudioFrame]) -> None:
        unknown = [frame.layout for frame in frames if _is_unnamed(frame.layout)]
        if unknown:
            _UNKNOWN_ORDERS.extend(unknown)  # see `_prepared`: kept for ever, as each is freed with its frame
            raise self._of_unknown_order()

    def _check_time(self, begin: float) -> None:
        gap = 0.0 if self._due is None else begin - self._due
        if gap > GAP or (gap < -GAP and self._format != "ogg"):  # in Ogg another sound may follow, with times of its own
            what = f"{gap:.2f} s are missing" if gap > 0 else f"it goes back by {-gap:.2f} s"
            raise AudioDecodeError(
                f"{self._name} is not one sound: after {self._seconds:.2f} s {what}. Get the whole file, or {REWRITE}."
            )

    def _check_end(self) -> None:
        if self._referred:
            raise self._referring()
        if self._format in NOTHING_BEHIND and self._next_byte is not None:
            behind = self._source.read_at(self._next_byte, 16)
            if behind and not behind.startswith(TAGS):
                raise damaged(self._name, self._next_byte)
        stated = self._stated_seconds()
        if stated - max(self._seconds, self._due or 0.0) > max(SHORT, SHORT_OF.get(self._format, 0.0)):
            kind = AudioDecodeError if self._seconds else EmptyAudioError
            raise kind(
                f"{self._name} is truncated or damaged: it states {stated:.2f} s, and {self._seconds:.2f} s could be "
                f"decoded. Get the whole file, or {REWRITE}."
            )

    def _stated_seconds(self) -> float:
        stream = self._stream
        if self._format in STATES_LENGTH and stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if self._format in {"matroska", "flv"} and len(self._container.streams) == 1 and self._container.duration:
            return self._container.duration / av.time_base
        return 0.0

    def _stated_samples(self, rate: int) -> int | None:
        """How many samples come before those that fill the last packet, where a table states it."""
        stream = self._stream
        if self._format != "mov" or not stream.frames or not stream.duration or not stream.time_base:
            return None
        return max(0, round((float(stream.duration * stream.time_base) - self._begin) * rate))

    def blocks(self, first: Frame) -> Iterator[Samples]:
        """All samples in blocks [samples], a second or more at a time.

        Args:
            first: What `first` returned.
        """
        try:
            held: list[Samples] = []
            count = 0
            for mono in self._without_padding(first):
                held.append(mono)
                count += len(mono)
                if count >= _BLOCK_SAMPLES:
                    yield np.concatenate(held)
                    held, count = [], 0
            if held:
                yield np.concatenate(held)
        finally:
            self.close()

    def _without_padding(self, first: Frame) -> Iterator[Samples]:
        left = self._stated_samples(first.rate)
        behind: list[Samples] = []
        for frame in chain((first,), self._frames):
            if frame.rate != first.rate:
                raise AudioDecodeError(
                    f"{self._name} changes its rate from {first.rate} to {frame.rate} Hz; give its parts one by one."
                )
            if left is None:
                yield frame.mono
                continue
            if left:
                yield frame.mono[:left]
            if len(frame.mono) > left:
                behind.append(frame.mono[left:])
            left = max(0, left - len(frame.mono))
            if sum(map(len, behind)) > _PADDING:  # the table states less than there is
                yield from behind
                left = None


def _is_encrypted(context: Any) -> bool:
    try:
        return context.codec_tag in {"enca", "drms"}
    except UnicodeDecodeError:  # a number, as AVI and ASF have it
        return False


def _is_unnamed(layout: Any) -> bool:
    return "(" in layout.name
