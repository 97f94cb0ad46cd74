"""Chunks of WAV, RF64, BW64, Wave64, AIFF, 8SVX, CAF and AU files: how many bytes of samples are there.

The header states how many bytes of samples follow. Fewer are refused as truncated, unless less than one sample frame is
missing. More are refused too, unless what follows are other chunks, a tag or padding: otherwise a part of the sound would
be taken for the whole. Three kinds of header state no length, and all that follows is read: the largest size that fits,
which programs write into a pipe; zero, of a header that was never finished, with an `UnfinishedHeaderWarning`; and sizes
modulo 2^32 in a WAV beyond 4 GB.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from claprt.audio.files.binary import BinaryFile
from claprt.errors import AudioDecodeError, UnfinishedHeaderWarning

_PLACEHOLDER = 0x7F00_0000  # and beyond: what programs write as the size of a stream that they cannot seek back in
_MANY_CHUNKS = 4096
_PADDING_BYTES = 1 << 16
_EXTRA_CHUNKS = {  # what follows the samples in files that people have
    b"LIST", b"list", b"INFO", b"id3 ", b"ID3 ", b"bext", b"fact", b"cue ", b"smpl", b"inst", b"JUNK", b"junk", b"PAD ",
    b"FLLR", b"iXML", b"axml", b"_PMX", b"DISP", b"acid", b"afsp", b"PEAK", b"chna", b"plst", b"strc", b"minf", b"elm1",
    b"regn", b"umid", b"DGDA", b"SAUR", b"LGWV", b"ResU", b"MARK", b"COMT", b"INST", b"MIDI", b"APPL", b"NAME", b"AUTH",
    b"ANNO", b"(c) ", b"AESD", b"CHAN", b"basc", b"trns", b"cate", b"FVER", b"COMM", b"CSET", b"levl", b"slnt", b"ltxt",
}  # fmt: skip

_FILES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff\x2e\x91", b"FORM", b"caff", b".snd", b"dns.", b"fLaC", b"OggS")
"""How other files begin: these are not chunks of this one."""


@dataclass(slots=True)
class SampleData:
    """The samples of a file, as its header states them."""

    begin: int
    """[bytes]"""
    stated: int
    """[bytes]"""
    frame: int = 1
    """Bytes of one sample of all channels; 1 where a codec packs them."""
    is_pcm: bool = False
    is_mpeg: bool = False
    is_foreign: bool = False
    """Whether it is a codec that libsndfile takes for a malformed header."""
    open_end: bool = False
    """Whether the header says that the samples reach to the end of the file."""


def extent(name: str, file: BinaryFile, header: SampleData, ends: Callable[[int], bool], *, wraps: bool = False) -> int:
    """Count the bytes of samples that are there.

    Args:
        name: What to call the file in messages.
        file: The file.
        header: What is stated.
        ends: Whether from an offset on there is nothing but other chunks.
        wraps: Whether sizes beyond 4 GB are stated modulo 2^32.

    Raises:
        AudioDecodeError: If there are fewer than stated, or more that may be samples.
    """
    stated, available = header.stated, file.size - header.begin
    if header.open_end or (stated >= _PLACEHOLDER and stated > available):
        return available
    if stated > available:
        if stated - available >= header.frame:
            raise AudioDecodeError(
                f"{name} is truncated: its header states {stated} and {available} are there (bytes of samples). Get the "
                "whole file, or rewrite it (sox FILE out.wav) if what is left is all you want."
            )
        return available

    def is_all(length: int) -> bool:
        return available - length < max(2, header.frame) or ends(header.begin + length)

    if is_all(stated):
        return stated
    if stated == 0:
        warnings.warn(
            f"The header of {name} was never finished: it states no samples, and {available} bytes of them follow. All are "
            "read.",
            UnfinishedHeaderWarning,
            stacklevel=2,
        )
        return available
    wrapped = stated + ((available - stated) >> 32 << 32)
    if wraps and wrapped > stated and is_all(wrapped):
        return wrapped
    for end in range(header.begin + stated, header.begin + stated + 8):  # sizes are made even, or multiples of 8
        if file.read_at(end, 6).startswith(_FILES):
            raise AudioDecodeError(
                f"{name} is several files in one: another begins at byte {end}. Give them one by one, or join "
                "their samples (ffmpeg -f concat)."
            )
    raise AudioDecodeError(
        f"{name} states {stated} bytes of samples and {available} follow, so that a part would be taken for the whole. Its "
        "header is wrong, or something was appended: rewrite it (ffmpeg -ignore_length 1 -i FILE out.wav), or cut the rest."
    )


def chunks(
    file: BinaryFile, at: int, form: str, *, inclusive: bool = False, align: int = 2
) -> list[tuple[bytes, int, int]]:
    """(kind, offset of the content, size) of the chunks up to the samples.

    Args:
        file: The file.
        at: Offset of the first chunk.
        form: Format of a header for `struct`: kind and size.
        inclusive: Whether sizes include the header.
        align: Multiple that sizes are padded to.
    """
    head = struct.Struct(form)
    found: list[tuple[bytes, int, int]] = []
    while len(found) < _MANY_CHUNKS and at + head.size <= file.size:
        kind, size = head.unpack(file.read_at(at, head.size).ljust(head.size, b"\0"))
        size -= head.size if inclusive else 0
        found.append((kind, at + head.size, size))
        if kind[:4] in {b"data", b"SSND", b"BODY"} or size < 0:
            break
        at += head.size + size + -size % align
    return found


def only_chunks(file: BinaryFile, at: int, form: str, *, inclusive: bool = False, align: int = 2) -> bool:
    """Whether nothing but chunks, a tag or padding follows. Some programs leave out the byte that makes sizes even.

    Args:
        file: The file.
        at: Offset of the first chunk.
        form: Format of a header for `struct`: kind and size.
        inclusive: Whether sizes include the header.
        align: Multiple that sizes are padded to.
    """
    return any(_are_chunks(file, begin, form, inclusive, align) for begin in {at, at + (-at % align)})


def _are_chunks(file: BinaryFile, at: int, form: str, inclusive: bool, align: int) -> bool:
    head = struct.Struct(form)
    for number in range(_MANY_CHUNKS):
        rest = file.size - at
        if number and rest < head.size:  # less than another chunk
            return True
        begin = file.read_at(at, head.size)
        if rest < head.size or begin[:4] == bytes(4):
            return rest <= _PADDING_BYTES and not any(file.read_at(at, rest))
        if begin.startswith((b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")):
            return True
        kind, size = head.unpack(begin)
        size -= head.size if inclusive else 0
        if size < 0 or begin.startswith(_FILES) or not all(0x20 <= letter < 0x7F for letter in kind[:4]):
            return False
        at += head.size + size
        if at >= file.size:  # the last may be cut off: the samples are whole
            return at <= file.size + align or kind[:4] in _EXTRA_CHUNKS
        at += -size % align
    return False
