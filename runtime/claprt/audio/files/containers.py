"""What a file is, told from its first bytes and never from its name, and which library reads it.

`recognise` knows containers of sound, containers that may hold sound among other things, and the files that are handed in
by mistake: web pages, pictures, archives, texts, pointers of git-lfs. What it does not know is headerless samples, an MPEG
stream behind something else, or noise; `claprt.audio.files.sound_file` looks further.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from claprt.audio.files.magic import (
    ADTS,
    AIFF,
    ATOMS,
    FORM,
    HTK,
    IRCAM,
    MAGIC,
    MP4,
    MPEG,
    OGG,
    OGG_OTHER,
    PICTURES,
    RIFF,
    SDS,
    TEXT,
    TEXTS,
    WAV,
    Container,
    Reader,
    kind_of_media,
    not_sound,
)
from claprt.audio.files.mpeg import id3_size, mpeg_header
from claprt.audio.resample import Samples

__all__ = ["HEAD_BYTES", "Container", "Opened", "Reader", "recognise"]

HEAD_BYTES = 4096
"""How many of the first bytes `recognise` looks at."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that has been opened: what it states, and its samples."""

    rate: int
    """[Hz]"""
    channels: int
    """As the file has them; the blocks are their mean."""
    blocks: Iterator[Samples]
    """Mono float32 blocks [samples], to be used once; the file is closed at their end."""
    close: Callable[[], None]
    """Closes the file where the blocks are not used up. May be called again."""


def recognise(head: bytes) -> Container | None:
    """What a file is, from its first bytes.

    Args:
        head: The first `HEAD_BYTES` of the file, or all of a shorter one.

    Returns:
        None where nothing says what it is: headerless samples, an MPEG stream behind something else, or noise.
    """
    if head[:3] == b"ID3":
        return _behind_tag(head)
    for words, kinds, unfinished, family in _FAMILIES:
        if head[:4] in words:
            unknown = unfinished if len(head) < 12 else not_sound(f"{family} of the kind {head[8:12].decode('latin-1')!r}")
            return kinds.get(head[8:12], unknown)
    if head[:4] == b"OggS":
        return _ogg(head)
    if head[4:8] in ATOMS:
        return not_sound("a HEIF or AVIF picture") if head[4:8] == b"ftyp" and head[8:12] in PICTURES else MP4
    return next((container for magic, container in MAGIC if head.startswith(magic)), None) or _by_shape(head)


def _by_shape(head: bytes) -> Container | None:
    """Kinds without a word of their own: a few bits, repeated, or text."""
    if (text := _text(head)) is not None:
        return (
            next((container for pattern, container in TEXTS if re.match(pattern, text, re.IGNORECASE)), TEXT)
            if text
            else None
        )
    return (_frames(head) if head[:1] == b"\xff" else None) or next((kind for fits, kind in _SHAPES if fits(head)), None)


def _is_ircam(head: bytes) -> bool:
    def is_mark(mark: bytes) -> bool:
        return mark[:2] == b"\x64\xa3" and mark[2] & 0xF8 == 0 and mark[3] == 0

    return len(head) >= 4 and (is_mark(head[:4]) or is_mark(head[3::-1]))


_SHAPES: tuple[tuple[Callable[[bytes], bool], Container], ...] = (
    (lambda head: head[257:262] == b"ustar", not_sound("a tar archive; unpack it first")),
    (_is_ircam, IRCAM),
    (lambda head: head[:2] == b"\xf0\x7e" and head[3:4] == b"\x01", SDS),
    (lambda head: head[8:12] == b"\x00\x02\x00\x00" and head[:4] != bytes(4), HTK),
    (
        lambda head: head[:1] == head[188:189] == head[376:377] == b"\x47",
        kind_of_media("an MPEG transport stream (ts)", "mpegts"),
    ),
    (lambda head: head[:1] == b"\x56" and head[1:2] >= b"\xe0", kind_of_media("AAC (LATM)", "loas")),
)
_FAMILIES = (
    ({b"RIFF", b"RIFX", b"RF64", b"BW64"}, RIFF, WAV, "RIFF"),
    ({b"FORM"}, FORM, AIFF, "IFF"),
)


def _behind_tag(head: bytes) -> Container:
    """ID3 stands in front of MPEG nearly always; where the tag ends within the head, what follows decides."""
    at = 0
    while size := id3_size(head[at : at + 10]):
        at += size
    rest = head[at:].lstrip(b"\0")
    return (recognise(rest) if at and len(rest) > 16 and not rest.startswith(b"ID3") else None) or MPEG


def _ogg(head: bytes) -> Container:
    """The first packet of each stream that begins in the head says what its codec is."""
    codecs_found: list[bytes] = []
    for page in re.finditer(rb"OggS\x00[\x02\x03\x06\x07].{20}", head, re.DOTALL):
        segments = head[page.end() : page.end() + 1]
        if segments:
            begin = page.end() + 1 + segments[0]
            codecs_found.append(head[begin : begin + 8])
    sounds = [first for first in codecs_found if first.startswith((b"\x01vorbis", b"OpusHead", b"\x7fFLAC"))]
    others = [first for first in codecs_found if first not in sounds and not first.startswith(b"fishead\0")]
    if others and not sounds and all(first.startswith(b"Speex") for first in others):
        return kind_of_media("Ogg Speex (spx)", "ogg")
    if any(first.startswith((b"\x80theora", b"BBCD", b"OVP80", b"\x01video")) for first in others):
        return kind_of_media("Ogg with video (ogv)", "ogg")
    return OGG_OTHER if others else OGG


def _frames(head: bytes) -> Container | None:
    """ADTS or MPEG audio, where the second frame follows as the first one says."""
    if len(head) >= 7 and head[1] & 0xF6 == 0xF0:
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        following = head[size : size + 2]
        chained = len(following) < 2 or (following[0] == 0xFF and following[1] & 0xF6 == 0xF0)
        return ADTS if head[2] >> 2 & 15 < 13 and size >= 7 and chained else None
    first = mpeg_header(head[:4])
    if first is None:
        return None
    if not first.size:  # the free format
        return MPEG if re.search(re.escape(head[:2]), head[24:]) else None
    if head[first.info_at : first.info_at + 4] in {b"Xing", b"Info"}:
        return MPEG
    following = head[first.size : first.size + 4]
    second = mpeg_header(following)
    return MPEG if len(following) < 4 or (second is not None and second.kind == first.kind) else None


def _text(head: bytes) -> str | None:
    """The head as text without what stands before its first letter, or None where it is not text."""
    if head[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        encoding = "utf-16"
    elif b"\0" in head:
        return None
    else:
        encoding = "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        ordinary = sum(byte >= 0xA0 for byte in head)
        if ordinary * 8 > len(head):  # Latin-1 has a few such letters
            return None
        text = head.decode("latin-1")
    text = text.lstrip("\ufeff")
    strange = sum(not (letter.isprintable() or letter in "\t\n\r\f\x1b\u200b") for letter in text)
    return text.lstrip() if text.strip() and not strange else None
