"""The streams of an Ogg file: each part of a chain, and FLAC taken out of its pages.

Ogg is a row of pages, each with the number of its stream, a count, and marks at the first and last page. Internet radio and
`cat` chain whole streams one after the other, of which libsndfile would decode the first; here each is a part of its own.
A stream without its last page, one that is cut within a page, and one that lacks pages in the middle are refused. A
recording of a radio programme may begin anywhere: pages may lack between the headers and the first sound.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from claprt.audio.files.binary import BinaryFile, Part, Spliced
from claprt.audio.files.flac import native
from claprt.errors import AudioDecodeError

_HEADER = 27
_WINDOW = 1 << 16
_SOUNDS = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC"}
_FIRST, _LAST = 2, 4  # flags of a page
_MANY_PAGES = 100_000
_SMALL_PAGE = 64  # [bytes]; that many of them are not a sound


@dataclass(slots=True)
class _Link:
    """A part of a chain, with one sound."""

    codec: str
    serial: bytes
    end: int = 0
    closed: bool = False
    """Whether its last page came."""
    count: int = 0
    """Of the page that came last."""
    has_sound: bool = False
    others: int = 0
    """Streams beside it that are more than a skeleton."""
    pages: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Its pages (offset, length), those that follow each other as one."""
    bodies: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """What the pages hold (offset, length), for FLAC."""


def streams(name: str, file: BinaryFile) -> list[Part] | None:
    """The streams of an Ogg file, one after the other.

    Returns:
        None where another library has to look: several streams at once, or FLAC of a depth that libsndfile does not decode.

    Raises:
        AudioDecodeError: If pages are missing.
    """
    links = _links(name, file)
    if not links or any(link.others for link in links):
        return None
    parts: list[Part] = []
    for number, link in enumerate(links):
        which = f"{name} is truncated: part {number + 1} of {len(links)}" if len(links) > 1 else f"{name} is truncated: it"
        if not link.closed:
            raise AudioDecodeError(
                f"{which} ends after {link.end} of {file.size} bytes without the page that closes an Ogg stream. Get the "
                "whole file, or rewrite it (ffmpeg -i FILE out.wav) if what is left is all you want."
            )
        if link.codec == "FLAC":
            part = native(Spliced(file, _without_mapping(link.bodies)))
            if part is None:
                return None
            parts.append(part)
        else:
            parts.append(Part(file if len(links) == len(link.pages) == 1 else Spliced(file, link.pages)))
    return parts


def _without_mapping(bodies: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The native stream begins 9 bytes into the first packet."""
    offset, length = bodies[0]
    return [(offset + 9, length - 9), *bodies[1:]]


def _links(name: str, file: BinaryFile) -> list[_Link]:  # noqa: PLR0912 - one turn for each page
    links: list[_Link] = []
    link: _Link | None = None
    aside: set[bytes] = set()  # the numbers of streams beside the sound
    at = _next_page(file, 0)
    number = 0
    while at is not None:
        number += 1
        if number > _MANY_PAGES and at < number * _SMALL_PAGE:
            raise AudioDecodeError(
                f"{name} is damaged: {number} pages of its Ogg stream in {at} bytes hold next to nothing."
            )
        head = file.read_at(at, _HEADER + 255)
        segments = head[_HEADER : _HEADER + head[26]] if len(head) > 26 else b""
        body, length = at + _HEADER + len(segments), sum(segments)
        if len(head) < _HEADER or len(segments) < head[26] or body + length > file.size:
            break  # cut within this page
        flags, serial, count = head[5], head[14:18], int.from_bytes(head[18:22], "little")
        if flags & _FIRST:
            packet = file.read_at(body, 8)
            codec = next((codec for word, codec in _SOUNDS.items() if packet.startswith(word)), None)
            if codec is not None and (link is None or link.has_sound or link.closed):
                link = _Link(codec, serial)
                links.append(link)
            else:
                aside.add(serial)
                if link is not None:
                    link.others += not packet.startswith(b"fishead")
        elif link is not None and serial == link.serial and not (link.closed and length):
            if count not in {link.count, link.count + 1} and link.has_sound and not link.closed:
                raise AudioDecodeError(
                    f"{name} lacks pages {link.count + 1} to {count - 1} of its Ogg stream, at {at} of {file.size} bytes: "
                    "a part of the sound is missing. Get the whole file."
                )
            link.has_sound = link.has_sound or 0 < int.from_bytes(head[6:14], "little") < 1 << 63
        elif serial not in aside:
            raise AudioDecodeError(
                f"{name} holds pages of an Ogg stream without its beginning, at {at} of {file.size} bytes: headers are "
                "missing. Get the whole file."
            )
        if link is not None and serial == link.serial:
            if (
                _checksum(head[:22] + bytes(4) + head[26 : _HEADER + len(segments)], file.read_at(body, length))
                != head[22:26]
            ):
                raise AudioDecodeError(
                    f"{name} is damaged: the page of Ogg at {at} of {file.size} bytes has a wrong checksum, so that what "
                    "it holds would be missing. Get it again, or rewrite it (ffmpeg -i FILE out.wav)."
                )
            link.count, link.end = count, body + length
            link.closed = link.closed or bool(flags & _LAST)
            if link.pages and sum(link.pages[-1]) == at:
                at, _ = link.pages.pop()
            link.pages.append((at, body + length - at))
            if link.codec == "FLAC":
                link.bodies.append((body, length))
        at = _next_page(file, body + length)
    return links


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _checksum(*parts: bytes) -> bytes:
    """The checksum of a page: that of zlib over bytes with their bits reversed, from 0 on, and reversed again."""
    value = 0xFFFF_FFFF
    for part in parts:
        value = zlib.crc32(part.translate(_REVERSED), value)
    return (value ^ 0xFFFF_FFFF).to_bytes(4, "big").translate(_REVERSED)


def _next_page(file: BinaryFile, at: int) -> int | None:
    if file.read_at(at, 4) == b"OggS":
        return at
    while at < file.size:
        found = file.read_at(at, _WINDOW).find(b"OggS")
        if found >= 0:
            return at + found
        at += _WINDOW - 3
    return None
