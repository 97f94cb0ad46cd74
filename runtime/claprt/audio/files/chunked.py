"""Where the samples lie in WAV, RF64, BW64, Wave64, AIFF, 8SVX, CAF and AU files, for libsndfile to read all of them.

Where a header states another length than what is there (see `claprt.audio.files.chunks`), libsndfile is given the file
with a header that is right.
"""

from __future__ import annotations

import struct

from claprt.audio.files.binary import BinaryFile, Part, Spliced
from claprt.audio.files.chunks import SampleData, chunks, extent, only_chunks
from claprt.errors import AudioDecodeError

_PCM_TAGS = {1, 3, 6, 7}
_PCM_AIFF = {
    b"NONE": 0,
    b"twos": 0,
    b"sowt": 0,
    b"in24": 24,
    b"in32": 32,
    b"fl32": 32,
    b"FL32": 32,
    b"fl64": 64,
    b"FL64": 64,
}
_PCM_CAF = {b"lpcm", b"alaw", b"ulaw"}
_MPEG_TAGS = {0x50, 0x55}
_FOREIGN_TAGS = {0x20, 0x5346, 0xFF, 0x1600, 0x1610, 0x2000, 0x2001}
"""ADPCM of Yamaha and Flash, AAC, AC-3, DTS. (Of FLAC FFmpeg would drop damaged frames without a word.)"""


def wav(name: str, file: BinaryFile) -> tuple[SampleData, Part] | None:
    """The samples of RIFF, RIFX, RF64 and BW64, or None where they are not found.

    Raises:
        AudioDecodeError: If there are fewer than stated, or more.
    """
    magic = file.read_at(0, 4)
    order = ">" if magic == b"RIFX" else "<"
    is_64 = magic in {b"RF64", b"BW64"}
    header = SampleData(0, 0)
    behind_sizes, data_64 = 12, 0
    for kind, at, size in chunks(file, 12, f"{order}4sI"):
        if kind == b"ds64":
            data_64 = int.from_bytes(file.read_at(at + 8, 8), "little")
            behind_sizes = at + size + (size & 1)
        elif kind == b"fmt ":
            _wav_format(header, file.read_at(at, 40), order)
        elif kind == b"data":
            header.begin, header.stated = at, data_64 if is_64 and size in {0, 0xFFFFFFFF} else size
            break
    if not header.begin:
        return None
    length = extent(name, file, header, lambda at: only_chunks(file, at, f"{order}4sI"), wraps=not is_64)
    samples = length // header.frame if header.is_pcm else None
    if length == header.stated and magic != b"BW64":
        return header, Part(file, samples)
    begin = header.begin
    pieces: list[bytes | tuple[int, int]]
    if length + begin < 0xFFFF_FFF0 and not is_64:
        sizes = struct.Struct(f"{order}I")
        pieces = [magic, sizes.pack(begin - 8 + length), (8, begin - 12), sizes.pack(length), (begin, length)]
    elif order == ">":
        raise AudioDecodeError(f"{name} is a RIFX file beyond 4 GB, which its header cannot state; convert it first.")
    else:
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, begin + 28 + length, length, samples or 0, 0)
        unknown = b"\xff" * 4
        between = (behind_sizes, begin - 4 - behind_sizes)
        pieces = [b"RF64" + unknown + b"WAVE" + ds64, between, unknown, (begin, length)]
    return header, Part(Spliced(file, pieces), samples)


def _wav_format(header: SampleData, fmt: bytes, order: str) -> None:
    if len(fmt) < 16:
        return
    tag, channels, _, _, block, bits = struct.unpack(f"{order}HHIIHH", fmt[:16])
    if tag == 0xFFFE and len(fmt) >= 26:
        tag = int.from_bytes(fmt[24:26], "little" if order == "<" else "big")
    header.is_mpeg, header.is_foreign = tag in _MPEG_TAGS, tag in _FOREIGN_TAGS
    header.is_pcm = tag in _PCM_TAGS and block > 0 and block == channels * ((bits + 7) // 8)
    header.frame = block if header.is_pcm else 1


def w64(name: str, file: BinaryFile) -> tuple[SampleData, Part] | None:
    """The samples of Wave64, or None where they are not found.

    Raises:
        AudioDecodeError: If there are fewer than stated, or more.
    """
    header = SampleData(0, 0)
    for kind, at, size in chunks(file, 40, "<16sQ", inclusive=True, align=8):
        if kind[:4] == b"fmt ":
            _wav_format(header, file.read_at(at, 40), "<")
        elif kind[:4] == b"data":
            header.begin, header.stated = at, max(0, size)
            break
    if not header.begin:
        return None
    length = extent(name, file, header, lambda at: only_chunks(file, at, "<16sQ", inclusive=True, align=8))
    samples = length // header.frame if header.is_pcm else None
    if length == header.stated:
        return header, Part(file, samples)
    begin = header.begin
    sizes = struct.pack("<Q", begin + length), struct.pack("<Q", length + 24)
    return header, Part(Spliced(file, [(0, 16), sizes[0], (24, begin - 32), sizes[1], (begin, length)]), samples)


def aiff(name: str, file: BinaryFile) -> tuple[SampleData, Part] | None:
    """The samples of AIFF, AIFC and 8SVX, or None where they are not found.

    Raises:
        AudioDecodeError: If there are fewer than stated, or more.
    """
    header = SampleData(0, 0)
    frames_at = 0
    for kind, at, size in chunks(file, 12, ">4sI"):
        if kind == b"COMM":
            frames_at = at + 2
            _aiff_format(header, file.read_at(at, 22), file.read_at(8, 4) == b"AIFC")
        elif kind == b"SSND":
            skipped = 8 + int.from_bytes(file.read_at(at, 4), "big")
            header.begin, header.stated = at + skipped, max(0, size - skipped)
            break
        elif kind == b"BODY":
            header.begin, header.stated = at, size
            break
    if not header.begin or header.begin > file.size:
        return None
    length = extent(name, file, header, lambda at: only_chunks(file, at, ">4sI"))
    samples = length // header.frame if header.is_pcm else None
    if length == header.stated:
        return header, Part(file, samples)
    if length + header.begin > 0xFFFF_FFF0:
        raise AudioDecodeError(f"{name} is an AIFF file beyond 4 GB, which its header cannot state; convert it first.")
    begin, size = header.begin, struct.Struct(">I")
    at = begin - 4 if file.read_at(begin - 8, 4) == b"BODY" else _before(file, b"SSND", begin)
    pieces: list[bytes | tuple[int, int]] = [(0, 4), size.pack(begin - 8 + length)]
    if frames_at and samples is not None:
        pieces += [(8, frames_at - 8), size.pack(samples), (frames_at + 4, at - frames_at - 4)]
    else:
        pieces.append((8, at - 8))
    pieces += [size.pack(begin - at - 4 + length), (at + 4, begin - at - 4), (begin, length)]
    return header, Part(Spliced(file, pieces), samples)


def _before(file: BinaryFile, word: bytes, begin: int) -> int:
    """Where the size behind this word is, the last before the samples."""
    head = file.read_at(0, begin)
    return head.rfind(word) + 4


def _aiff_format(header: SampleData, comm: bytes, is_aifc: bool) -> None:
    if len(comm) < 18:
        return
    channels, _, bits = struct.unpack(">HIH", comm[:8])
    codec = comm[18:22] if is_aifc else b"NONE"
    header.is_pcm = codec in _PCM_AIFF and channels > 0 and bits > 0
    width = (_PCM_AIFF.get(codec, 0) or bits) + 7
    header.frame = channels * (width // 8) if header.is_pcm else 1


def caf(name: str, file: BinaryFile) -> tuple[SampleData, Part] | None:
    """The samples of CAF, or None where they are not found.

    Raises:
        AudioDecodeError: If there are fewer than stated, or more.
    """
    header = SampleData(0, 0)
    for kind, at, size in chunks(file, 8, ">4sq", align=1):
        if kind == b"desc":
            _, codec, _, packet, frames = struct.unpack(">d4sIII", file.read_at(at, 24).ljust(24, b"\0"))
            header.is_pcm = codec in _PCM_CAF and packet > 0 and frames == 1
            header.frame = packet if header.is_pcm else 1
        elif kind == b"data":
            header.begin, header.stated, header.open_end = at + 4, max(0, size - 4), size == -1
            break
    if not header.begin or header.begin > file.size:
        return None
    length = extent(name, file, header, lambda at: only_chunks(file, at, ">4sq", align=1))
    samples = length // header.frame if header.is_pcm else None
    if length == header.stated:
        return header, Part(file, samples)
    at = header.begin - 12
    pieces = [(0, at), struct.pack(">q", length + 4), (at + 8, 4), (header.begin, length)]
    return header, Part(Spliced(file, pieces), samples)


def au(name: str, file: BinaryFile) -> tuple[SampleData, Part] | None:
    """The samples of AU, or None where they are not found.

    Raises:
        AudioDecodeError: If there are fewer than stated, or more.
    """
    order = "<" if file.read_at(0, 4) == b"dns." else ">"
    head = file.read_at(4, 20)
    if len(head) < 20:
        return None
    begin, stated, encoding, _, channels = struct.unpack(f"{order}5I", head)
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding, 0)
    header = SampleData(begin, stated, width * channels or 1, width * channels > 0, open_end=stated == 0xFFFF_FFFF)
    if not 24 <= begin <= file.size:
        return None
    length = extent(name, file, header, lambda _: False)
    samples = length // header.frame if header.is_pcm else None
    if length == stated:
        return header, Part(file, samples)
    unknown = struct.pack(f"{order}I", min(length, 0xFFFF_FFFF))
    return header, Part(Spliced(file, [(0, 8), unknown, (12, begin - 12), (begin, length)]), samples)
