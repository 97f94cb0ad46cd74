"""FLAC as libsndfile is given it: without the number of samples that its header states, because it stops there.

STREAMINFO states how many samples follow, 0 where the encoder wrote into a pipe. A number that is too small would drop the
end of the sound, so the stream is read to its end and the number is compared: fewer samples are refused, more are read.
What libFLAC finds behind the stated samples and does not understand (tags, padding) is passed over.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from claprt.audio.files.binary import BinaryFile, Part, Spliced
from claprt.audio.files.mpeg import id3_size
from claprt.errors import AudioDecodeError

_MANY_TAGS = 10
_TOTAL_AT = 21  # of four bits and four bytes, counted from "fLaC"
_OTHER_BITS = set(range(4, 33)) - {8, 16, 24}  # which FLAC has and libsndfile does not decode

_HEADER = 42  # "fLaC" and STREAMINFO
_BEGIN = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_PIECE = 1 << 20


def flac(name: str, file: BinaryFile) -> list[Part] | None:
    """The streams of a FLAC file, behind ID3 tags if there are any; None where libsndfile decodes no such depth.

    There are several where files were joined (`cat a.flac b.flac`); libFLAC would pass over all but the first.

    Raises:
        AudioDecodeError: If it ends within a header.
    """
    begin, end = 0, _end(file)
    for _ in range(_MANY_TAGS):
        begin += id3_size(file.read_at(begin, 10))
    bounds = [begin, *_others(file, begin + 1, end), end]
    parts: list[Part] = []
    for at, following in itertools.pairwise(bounds):
        if following - at < _HEADER:
            raise AudioDecodeError(f"{name} is truncated: it ends within the header of FLAC. Get the whole file.")
        part = native(file if following - at == file.size else Spliced(file, [(at, following - at)]))
        if part is None:
            return None
        parts.append(part)
    return parts


def _others(file: BinaryFile, at: int, end: int) -> Iterator[int]:
    """Where further streams begin."""
    while at < end:
        piece = file.read_at(at, min(_PIECE + 7, end - at))
        yield from (at + found.start() for found in _BEGIN.finditer(piece))
        at += _PIECE


def native(file: BinaryFile) -> Part | None:
    """A stream that begins with "fLaC", with an open number of samples; None where libsndfile decodes no such depth."""
    head = file.read_at(0, _HEADER)
    if len(head) < _HEADER or head[:4] != b"fLaC" or head[4] & 0x7F:
        return Part(file)
    bits = ((head[20] & 1) << 4 | head[21] >> 4) + 1
    if bits in _OTHER_BITS:
        return None
    total = (head[_TOTAL_AT] & 0x0F) << 32 | int.from_bytes(head[_TOTAL_AT + 1 : _TOTAL_AT + 5], "big")
    opened = head[:_TOTAL_AT] + bytes([head[_TOTAL_AT] & 0xF0]) + bytes(4) + head[_TOTAL_AT + 5 :]
    return Part(Spliced(file, [opened, (_HEADER, file.size - _HEADER)]), total or None, open_end=True)


def _end(file: BinaryFile) -> int:
    """Where the tags at the end begin: ID3v1, APE."""
    end = file.size
    if end > 128 and file.read_at(end - 128, 3) == b"TAG":
        end -= 128
    footer = file.read_at(end - 32, 32) if end > 32 else b""
    if footer[:8] == b"APETAGEX":
        size = int.from_bytes(footer[12:16], "little") + (32 if footer[23] & 0x80 else 0)
        end -= size if size <= end else 0
    return end
