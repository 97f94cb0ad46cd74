"""What a container says about itself, looked at before FFmpeg's demuxers read it.

A demuxer plays what it can: it takes a file that was cut as far as it goes, passes over damage to the next place that it
knows, stops at the end of the first of two recordings that were joined, and makes tables as long as a header asks for.
Here the elements of Matroska, the headers of ASF and RIFF and the last page of Ogg are followed (the boxes of MPEG-4 in
`claprt.audio.files.media.boxes`): what does not reach its stated end, or is not what should stand in its place, is refused.
"""

from __future__ import annotations

import re
import struct

from claprt.audio.files.binary import BinaryFile
from claprt.audio.files.media.boxes import check_mp4
from claprt.audio.files.media.errors import REWRITE, damaged, joined, overstated, truncated
from claprt.errors import AudioDecodeError

_ELEMENTS = 1 << 21
_OGG_PAGE = 27 + 255 + 255 * 255


def check_structure(name: str, file: BinaryFile, media_format: str) -> None:
    """Follow the structure of a container to its end.

    Args:
        name: What to call the file in messages.
        file: The whole of it.
        media_format: FFmpeg's name of the demuxer.

    Raises:
        AudioDecodeError: If it is cut or damaged, holds several recordings, or states more than a sound can have.
    """
    check = _CHECKS.get(media_format)
    if check is not None:
        check(name, file)
    if media_format in _HEADS:
        _check_heads(name, file, _HEADS[media_format])


# Matroska: elements of an identifier, a size and content; a recorder that cannot seek back leaves the outer sizes open.

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_IN_SEGMENT = {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
_IN_CLUSTER = {0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0x5854}
_ANYWHERE = {0xEC, 0xBF}  # padding and checksum


def _check_matroska(name: str, file: BinaryFile) -> None:
    size = file.size
    heads = _Heads(file)
    at, segment, cluster = 0, 0, 0  # where the outer ones end, if one has begun
    for _ in range(_ELEMENTS):
        if at >= size:
            break
        kind, content, end, is_open = _element(name, heads.at(at), at, size)
        if kind == _EBML and segment:
            raise joined(name, at)
        if segment and at >= segment:  # whatever follows the recording
            return
        if at >= cluster or kind not in _IN_CLUSTER | _ANYWHERE:
            cluster = 0
        if kind == _SEGMENT and not segment:
            segment, at = end, content
        elif kind == _CLUSTER and segment and end <= segment:
            cluster, at = end, content
        elif is_open or kind not in _allowed(segment, cluster) or end > (cluster or segment or size):
            raise damaged(name, at)
        else:
            at = end
    else:
        raise overstated(name, "elements or more", _ELEMENTS)
    if not segment:
        raise damaged(name, at)


def _allowed(segment: int, cluster: int) -> set[int]:
    return (_IN_CLUSTER if cluster else _IN_SEGMENT) | _ANYWHERE if segment else {_EBML, *_ANYWHERE}


def _element(name: str, head: bytes, at: int, size: int) -> tuple[int, int, int, bool]:
    """Identifier, where the content begins and ends, and whether its size is left open.

    Raises:
        AudioDecodeError: If it is truncated or damaged.
    """  # noqa: DOC501 - functions that make the error
    width = 9 - head[0].bit_length()
    size_width = 9 - head[width].bit_length() if len(head) > width else 9
    if width > 4 or size_width > 8:
        raise truncated(name, at + 12, size) if len(head) <= width else damaged(name, at)
    if len(head) < width + size_width:
        raise truncated(name, at + width + size_width, size)
    ones = (1 << 7 * size_width) - 1
    length = int.from_bytes(head[width : width + size_width], "big") & ones
    content = at + width + size_width
    if length != ones and content + length > size:
        raise truncated(name, content + length, size)
    return int.from_bytes(head[:width], "big"), content, size if length == ones else content + length, length == ones


class _Heads:
    """Short pieces of a file, out of long reads."""

    def __init__(self, file: BinaryFile) -> None:
        self._file = file
        self._begin, self._piece = 0, b""

    def at(self, where: int, length: int = 12) -> bytes:
        if not self._begin <= where <= min(self._begin + len(self._piece), self._file.size) - length:
            self._begin, self._piece = where, self._file.read_at(where, 1 << 16)
        return self._piece[where - self._begin : where - self._begin + length]


# ASF

_ASF_HEADER, _ASF_FILE = (
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"),
)


def _check_asf(name: str, file: BinaryFile) -> None:
    header, size = file.read_at(0, 1 << 16), file.size
    end = struct.unpack_from("<Q", header, 16)[0] if header[:16] == _ASF_HEADER and len(header) >= 30 else 0
    if end > size:
        raise truncated(name, end, size)
    at = 30
    while at + 24 <= min(end, len(header)):
        length = struct.unpack_from("<Q", header, at + 16)[0]
        if length < 24:
            raise damaged(name, at)
        if header[at : at + 16] == _ASF_FILE and at + 92 <= len(header):
            (stated,) = struct.unpack_from("<Q", header, at + 40)
            (flags,) = struct.unpack_from("<I", header, at + 88)
            if not flags & 1 and stated > size:  # no broadcast
                raise truncated(name, stated, size)
        at += length


# RIFF


def _check_riff(name: str, file: BinaryFile) -> None:
    stated = 8 + int.from_bytes(file.read_at(4, 4), "little")
    if file.size + 1 < stated < 0x7FFF_0000:  # larger: never filled in
        raise truncated(name, stated, file.size)


# Ogg: the last page of a stream says that it is the last.


def _check_ogg(name: str, file: BinaryFile) -> None:
    size = file.size
    begin = max(0, size - 2 * _OGG_PAGE)
    tail = file.read_at(begin, 2 * _OGG_PAGE)
    at = tail.rfind(b"OggS\0")
    segments = tail[at + 27 : at + 27 + tail[at + 26]] if 0 <= at <= len(tail) - 27 else b""
    end = begin + at + 27 + len(segments) + sum(segments)
    if at < 0 or len(tail) < at + 27 or len(segments) < tail[at + 26] or end > size:
        raise truncated(name, max(end, size + 1), size)
    if not tail[at + 5] & 4:
        raise AudioDecodeError(
            f"{name} is truncated: its last page is not marked as the end. Get the whole file, or {REWRITE}."
        )


# Formats whose demuxers stop at the end of the first of several recordings; the head of one is 8 bytes or more.

_HEADS = {
    "tta": re.compile(rb"TTA1[\x01\x02]\x00[\x01-\x20]\x00[\x08\x10\x18\x20]\x00"),
    "flv": re.compile(rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00"),
    "ape": re.compile(rb"MAC [\x00-\xff]\x0f\x00\x00\x34\x00\x00\x00"),
    "dsf": re.compile(rb"DSD \x1c\x00{7}"),
}
_PIECE = 1 << 20


def _check_heads(name: str, file: BinaryFile, head: re.Pattern[bytes]) -> None:
    for at in range(1, file.size, _PIECE):
        found = head.search(file.read_at(at, _PIECE + 16))
        if found is not None:
            raise joined(name, at + found.start())


_CHECKS = {
    "mov": check_mp4,
    "matroska": _check_matroska,
    "asf": _check_asf,
    "avi": _check_riff,
    "xwma": _check_riff,
    "ogg": _check_ogg,
}
