"""The boxes of MPEG-4 and QuickTime files, followed before a demuxer reads them.

Each box of the outermost level must end within the file, there must be one header (`moov`), and its tables must not ask for
more memory than a sound needs: a few bytes can state a thousand million packets of one size, for each of which a demuxer
makes an entry.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np

from claprt.audio.files.binary import BinaryFile
from claprt.audio.files.media.errors import damaged, joined, overstated, truncated
from claprt.errors import AudioDecodeError

_ENTRIES = 1 << 21
"""Packets that a table may have: half a day of AAC. The demuxer holds up to 36 bytes for each."""
_IN_ENTRY = 1 << 10
"""Raw samples that the demuxer takes as one packet."""
_BOXES = 1 << 18
_EDITS = 256
_PIECE = 1 << 20
_REFERENCES = {0x616C6973, 0x75726C20}  # "alis" and "url "


def check_mp4(name: str, file: BinaryFile) -> None:
    """Check every box of the outermost level, and the tables in all of them but those of the sound itself.

    Args:
        name: What to call the file in messages.
        file: The whole of it.

    Raises:
        AudioDecodeError: If it is cut or damaged, has no header or several, or states more than a sound can have.
    """  # noqa: DOC501 - functions that make the error
    headers: list[int] = []
    size = file.size
    tables = _Tables(name, size)
    fragmented = False
    for kind, begin, end in _boxes(name, file):
        if end > size:
            raise truncated(name, end, size)
        if kind == b"moov":
            headers.append(begin)
        fragmented |= kind == b"moof"
        if kind not in {b"mdat", b"free", b"skip", b"wide"}:
            tables.read(file, begin, end)
    if len(headers) > 1:
        raise joined(name, headers[1])
    if not headers:
        found = "it is a piece of a stream, without the header that comes first" if fragmented else "it has no header"
        raise AudioDecodeError(
            f"{name} cannot be decoded: {found} (moov; a recorder writes it when it finishes). Get the whole file."
        )
    tables.check()


def _boxes(name: str, file: BinaryFile) -> Iterator[tuple[bytes, int, int]]:
    at, size = 0, file.size
    for _ in range(_BOXES):
        head = file.read_at(at, 16)
        if not head.strip(b"\0"):  # the end, or padding
            if any(file.read_at(begin, _PIECE).strip(b"\0") for begin in range(at, size, _PIECE)):
                raise damaged(name, at)
            return
        if len(head) < 8:
            raise truncated(name, at + 8, size)
        length, kind = struct.unpack(">I4s", head[:8])
        least = 8
        if length == 1:
            length, least = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = size - at
        if length < least:
            raise damaged(name, at)
        yield kind, at, at + length
        at += length
    raise overstated(name, "boxes or more", _BOXES)


class _Tables:
    """What the tables of a header ask a demuxer to hold in memory.

    They are found by name and not by place, as a demuxer takes them from places where they do not belong.
    """

    _NAMES = re.compile(rb"cmov|dref|stsz|stz2|stsc|stco|co64|elst|trun|stts")
    _LENGTH = 24  # of a name and what is read behind it

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._packets = self._chunks = self._in_chunk = self._edits = self._in_fragments = 0
        self._of_one_size: list[int] = []  # packets of tables that state one size for all
        self._raw: list[int] = []  # samples of tables that state the duration 1 for all

    def read(self, file: BinaryFile, begin: int, end: int) -> None:
        for at in range(begin, end, _PIECE):
            piece = file.read_at(at, min(_PIECE + self._LENGTH, end - at))
            for found in self._NAMES.finditer(piece, 0, _PIECE + 3):
                if found.start() < _PIECE:
                    behind = piece[found.end() : found.start() + self._LENGTH].ljust(20, b"\0")
                    self._take(found[0], *struct.unpack(">5I", behind))
                    if found[0] == b"stsc":
                        self._take_chunks(file, at + found.end() + 8, end)

    def _take(self, kind: bytes, flags: int, first: int, second: int, third: int, fourth: int) -> None:
        del flags
        match kind:
            case b"cmov":
                raise AudioDecodeError(
                    f"{self._name} cannot be decoded: its header is compressed (cmov). Rewrite it (ffmpeg -i FILE out.wav)."
                )
            case b"dref" if first and second > 13 and third in _REFERENCES and not fourth & 1:
                raise AudioDecodeError(
                    f"{self._name} refers to another file for its sound, which is not opened. Give that one."
                )
            case b"stsz" if first:
                self._of_one_size.append(second)
            case b"stsz" | b"stz2":
                self._packets = max(self._packets, second)
            case b"stco" | b"co64":
                self._chunks = max(self._chunks, first)
            case b"elst":
                self._edits = max(self._edits, first)
            case b"trun":
                self._in_fragments += first
            case b"stts" if first == third == 1:
                self._raw.append(second)
            case _:
                pass

    def _take_chunks(self, file: BinaryFile, begin: int, end: int) -> None:
        """Of how many samples the largest chunk of a table is; it has three numbers for each kind of chunk."""
        count = int.from_bytes(file.read_at(begin - 4, 4), "big")
        table = file.read_at(begin, min(12 * count, end - begin, 12 * _ENTRIES))
        column = np.frombuffer(table, ">u4", len(table) // 12 * 3)[1::3]
        self._in_chunk = max(self._in_chunk, int(column.max(initial=0)))

    def check(self) -> None:
        self._at_most("packets", self._packets, _ENTRIES)
        self._at_most("packets in fragments", self._in_fragments, _ENTRIES)
        self._at_most("edits", self._edits, _EDITS)
        self._at_most("samples in chunks", self._chunks * self._in_chunk, _ENTRIES * _IN_ENTRY)
        for count in self._of_one_size:
            self._at_most("packets", count, self._size)
            if count > _ENTRIES and self._raw.count(count) < self._of_one_size.count(count):
                raise overstated(self._name, "packets", count)
        packets = max((self._packets, *(count for count in self._of_one_size if count <= _ENTRIES)))
        self._at_most("packets in edits", self._edits * packets, _ENTRIES)

    def _at_most(self, what: str, count: int, most: int) -> None:
        if count > most:
            raise overstated(self._name, what, count)
