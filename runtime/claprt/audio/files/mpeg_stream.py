"""The streams of MPEG frames in a file: what libmpg123 is given, so that it neither stops early nor complains.

An MP3 file is a row of frames, each of which says how long it is. Around and between them lie tags (ID3, APE), zeros and
junk, and where files were joined, a second first frame with the encoder's own count of frames ("Xing", "Info", "VBRI"). All
frames are found here by their headers and handed on without the rest; each counted part is a stream of its own. A part that
holds fewer frames than its encoder counted is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from claprt.audio.files.binary import BinaryFile, Part, Spliced
from claprt.audio.files.mpeg import MpegHeader, id3_size, is_damaged, mpeg_header
from claprt.errors import AudioDecodeError

SEARCHED_BYTES = 1 << 20
"""How far into a file of unknown kind the first frame is looked for, and how much junk may lie between frames."""

_WINDOW = 1 << 18
_MANY_TAGS = 100
_HEADER = re.compile(rb"\xff(?=[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x00-\xef])", re.DOTALL)
_FREE_FRAME_BYTES = 1 << 13
_FIRST_CHAIN, _RESYNC_CHAIN, _UNKNOWN_CHAIN = 2, 3, 8  # frames in a row that make a beginning
_TOLERATED_FRAMES = 2  # encoders count the first or the last frame differently


@dataclass(slots=True)
class _Stream:
    """Frames of one kind, in pieces (offset, length)."""

    kind: tuple[int, int, int, bool]
    counted: int | None = None
    """Frames, by the encoder's own tag."""
    info: tuple[int, MpegHeader] | None = None
    """Offset and header of the frame with that tag."""
    frames: int = 0
    """With that frame."""
    samples: int = 0
    damaged: int = 0
    """Frames whose own account of their bits cannot be true."""
    pieces: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def add(self, offset: int, header: MpegHeader, size: int) -> None:
        if self.pieces and sum(self.pieces[-1]) == offset:
            self.pieces[-1] = (self.pieces[-1][0], self.pieces[-1][1] + size)
        else:
            self.pieces.append((offset, size))
        self.frames += 1
        self.samples += header.samples


class _Window:
    """A file in large reads."""

    def __init__(self, file: BinaryFile, end: int) -> None:
        self.file, self.end = file, end
        self._free: tuple[object, int] | None = None
        self._begin, self._content = 0, b""

    def at(self, offset: int, count: int) -> bytes:
        inside = offset - self._begin
        if inside < 0 or inside + count > len(self._content):
            self._begin, inside = offset, 0
            self._content = self.file.read_at(offset, min(max(count, _WINDOW), self.end - offset))
        return self._content[inside : inside + count]

    def header(self, offset: int) -> MpegHeader | None:
        return mpeg_header(self.at(offset, 4))

    def size(self, header: MpegHeader, offset: int) -> int:
        """Bytes of a frame; 0 where they cannot be told."""
        if header.size:
            return header.size
        if self._free is None or self._free[0] != header.kind:
            self._free = (header.kind, self._free_size(header, offset))
        return self._free[1] + header.padding if self._free[1] else 0

    def _free_size(self, header: MpegHeader, offset: int) -> int:
        """Frames of the free format do not state their size: the distance to the second and the third says it."""
        content = self.at(offset, min(_FREE_FRAME_BYTES, self.end - offset))
        inside = 0
        while (inside := content.find(content[:2], inside + 24)) > 0:
            second, size = mpeg_header(content[inside : inside + 4]), inside - header.padding
            if second is not None and second.kind == header.kind and not second.size:
                third = self.header(offset + inside + size + second.padding)
                if offset + inside + size >= self.end or (third is not None and third.kind == header.kind):
                    return size
        return 0

    def chain(self, offset: int, frames: int) -> bool:
        """Whether this many frames of one kind follow each other here, or fewer up to the very end."""
        first = header = self.header(offset)
        for _ in range(frames - 1):
            if header is None or first is None or header.kind != first.kind or not self.size(header, offset):
                return False
            offset += self.size(header, offset)
            if offset >= self.end:
                return offset == self.end
            if self.end - offset < 4 or self.at(offset, 3) in {b"TAG", b"ID3", b"APE"}:
                return True
            header = self.header(offset)
        return header is not None and first is not None and header.kind == first.kind

    def find(self, offset: int, frames: int, end: int) -> int | None:
        """Where the next such row of frames begins."""
        while offset < end:
            content = self.at(offset, min(4096, self.end - offset))
            for found in _HEADER.finditer(content):
                if offset + found.start() < end and self.chain(offset + found.start(), frames):
                    return offset + found.start()
            if len(content) < 4096:
                return None
            offset += len(content) - 3
        return None


def find_frames(file: BinaryFile) -> int | None:
    """Where MPEG audio begins in a file that starts with something else, or None [bytes]."""
    return _Window(file, file.size).find(0, _UNKNOWN_CHAIN, min(file.size, SEARCHED_BYTES))


def behind_tags(file: BinaryFile) -> int:
    """Where the tags at the beginning of a file end [bytes]."""
    return _behind_tags(_Window(file, file.size), 0)


def streams(name: str, file: BinaryFile, begin: int = 0, end: int | None = None) -> list[Part]:
    """The streams of a file, one after the other.

    Args:
        name: What to call the file in messages.
        file: The file.
        begin: Where to look from [bytes].
        end: Where the sound ends at the latest [bytes].

    Raises:
        AudioDecodeError: If there are no frames, or fewer than the encoder counted.
    """
    window = _Window(file, file.size if end is None else end)
    found = _scan(name, window, _behind_tags(window, begin))
    parts: list[Part] = []
    for stream in found:
        counted = stream.counted
        frames = stream.frames - (stream.info is not None)
        if counted is not None and frames < counted - _TOLERATED_FRAMES:
            seconds = stream.samples / max(1, stream.frames) / stream.kind[2]
            raise AudioDecodeError(
                f"{name} is truncated: its encoder counted {counted} frames ({counted * seconds:.1f} s) and {frames} are "
                f"there ({frames * seconds:.1f} s). Get the whole file, or rewrite it (ffmpeg -i FILE out.wav) if what is "
                "left is all you want."
            )
        if stream.damaged > _TOLERATED_FRAMES + frames // 100:
            raise AudioDecodeError(
                f"{name} is damaged: {stream.damaged} of {frames} frames of MPEG audio say of themselves what cannot be. "
                "Get it again."
            )
        if frames:
            parts.append(_part(window, stream, frames))
    if not parts:
        raise AudioDecodeError(
            f"{name} is MPEG audio (MP3) by its beginning, and no frames of it follow each other: it is cut off, damaged, "
            "or consists of tags alone."
        )
    return parts


def _behind_tags(window: _Window, offset: int) -> int:
    for _ in range(_MANY_TAGS):
        size = id3_size(window.at(offset, 10)) or _ape_size(window.at(offset, 32))
        if not size:
            break
        offset += size
    return offset


def _ape_size(head: bytes) -> int:
    """Bytes of an APE tag from its header on; 0 where there is none, or where only its footer is."""
    if head[:8] != b"APETAGEX" or len(head) < 32:
        return 0
    footer_only = not int.from_bytes(head[20:24], "little") >> 29 & 1
    return 32 if footer_only else 32 + int.from_bytes(head[12:16], "little")


def _scan(name: str, window: _Window, offset: int) -> list[_Stream]:
    found: list[_Stream] = []
    stream: _Stream | None = None
    end, junk = window.end, 0
    while offset < end - 3:
        header = window.header(offset)
        usual = stream is not None and header is not None and header.kind == stream.kind
        begins = _FIRST_CHAIN if stream is None else _RESYNC_CHAIN
        if header is None or not window.size(header, offset) or not (usual or window.chain(offset, begins)):
            behind = _behind_tag(window, offset)
            following = behind or window.find(offset + 1, _RESYNC_CHAIN, min(end, offset + SEARCHED_BYTES - junk))
            junk += 0 if behind else (following or end) - offset
            if junk >= SEARCHED_BYTES:
                raise AudioDecodeError(
                    f"{name} is damaged: 1 MB of it, up to {min(end, offset + SEARCHED_BYTES)} of {end} bytes, are not "
                    "frames of MPEG audio. Get it again."
                )
            if following is None:
                break
            offset = following
            continue
        size = window.size(header, offset)
        if offset + size > end:
            break
        content = window.at(offset, min(size, 64))
        counted = _counted(content, header)
        if stream is None or header.kind != stream.kind or counted is not None:
            stream = _Stream(header.kind, counted, (offset, header) if counted is not None else None)
            found.append(stream)
        stream.add(offset, header, size)
        stream.damaged += is_damaged(content, header, size)
        offset += size
    return found


def _behind_tag(window: _Window, offset: int) -> int | None:
    """Where what follows a tag begins, or None where there is no tag."""
    behind = _behind_tags(window, offset)
    if behind == offset and window.at(offset, 3) == b"TAG":
        behind = offset + 128
    return behind if behind > offset else None


def _counted(content: bytes, header: MpegHeader) -> int | None:
    """Frames that the encoder counted, 0 where it left its tag without a count, None where this is no such tag."""
    if header.kind[1] != 3:
        return None
    tag = content[header.info_at : header.info_at + 12]
    if tag[:4] in {b"Xing", b"Info"}:
        return int.from_bytes(tag[8:12], "big") if tag[7:8] and tag[7] & 1 else 0
    if content[36:40] == b"VBRI":
        return int.from_bytes(content[50:54], "big")
    return None


def _part(window: _Window, stream: _Stream, frames: int) -> Part:
    """The frames, with a count that is right: libmpg123 stops at it, and libsndfile at an estimate where there is none."""
    begin, length = stream.pieces[0]
    if not stream.counted or window.at(begin + 36, 4) == b"VBRI":  # which libmpg123 does not know
        if frames == 1 and stream.info is None:  # libmpg123 believes in a frame if another follows
            return Part(Spliced(window.file, stream.pieces * 2), limit=stream.samples)
        first = window.header(begin)
        size = frames * (window.size(first, begin) if first else 0) * 17 // 16
        return Part(_Overstated(Spliced(window.file, stream.pieces), size))
    tag = _true_tag(window, stream, frames)
    return Part(Spliced(window.file, [tag, (begin + len(tag), length - len(tag)), *stream.pieces[1:]]))


def _true_tag(window: _Window, stream: _Stream, frames: int) -> bytes:
    """The beginning of the frame with the encoder's tag, which may state less than there is, and another size."""
    if stream.info is None:
        return b""
    offset, header = stream.info
    at = header.info_at + 8
    tag = bytearray(window.at(offset, at + 8))
    if stream.counted and stream.counted < frames:
        tag[at : at + 4] = frames.to_bytes(4, "big")
    if tag[at - 1] & 2:
        tag[at + 4 : at + 8] = min(sum(size for _, size in stream.pieces), 0xFFFF_FFFF).to_bytes(4, "big")
    return bytes(tag)


class _Overstated(BinaryFile):
    """A stream that seems longer than it is.

    libsndfile takes the size of a stream without a count, divides it by the size of its first frame, and reads no further.
    Where frames differ in size that drops the end, so the size is what this many of the first frame would take at least.
    """

    _MARGIN = 1 << 13  # more than a frame; the last 128 bytes are there, because libmpg123 looks for a tag in them

    def __init__(self, file: BinaryFile, size: int) -> None:
        super().__init__(max(file.size, size) + self._MARGIN)
        self._file = file

    def _read_at(self, offset: int, count: int) -> bytes:
        if offset >= self._file.size:
            return bytes(count) if offset >= self.size - 128 else b""
        content = self._file.read_at(offset, count)
        self.error = self._file.error
        return content
