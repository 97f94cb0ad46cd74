"""Headers of MPEG audio frames (layers I, II and III) and of the tags around them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

_BITRATES = {  # [kbit/s], by (MPEG-1, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)


@dataclass(frozen=True, slots=True)
class MpegHeader:
    """The four bytes in front of each frame of MPEG audio."""

    kind: tuple[int, int, int, bool]
    """Version bits, layer, sample rate [Hz] and whether it is mono: the same in all frames of a stream."""
    samples: int
    """Per channel in this frame."""
    size: int
    """Of the frame with its header [bytes]; 0 in the free format, which does not state it."""
    padding: int
    """Bytes that this frame is longer than others of its bit rate."""
    info_at: int
    """Where an encoder puts its Xing, Info or LAME tag in the first frame [bytes]."""


@functools.lru_cache(maxsize=4096)
def mpeg_header(four: bytes) -> MpegHeader | None:
    """A frame's header, or None where these four bytes are not one."""
    if len(four) < 4 or four[0] != 0xFF or four[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate_index, bitrate = four[1] >> 3 & 3, 4 - (four[1] >> 1 & 3), four[2] >> 2 & 3, four[2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bitrate == 15 or four[3] & 3 == 2:
        return None
    rate = _RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    kilobits = _BITRATES[version == 3, layer][bitrate]
    slot = 4 if layer == 1 else 1
    padding = (four[2] >> 1 & 1) * slot
    size = samples // 8 // slot * kilobits * 1000 // rate * slot + padding if kilobits else 0
    mono = four[3] >> 6 == 3
    info_at = 4 + (17 if mono else 32) if version == 3 else 4 + (9 if mono else 17)
    return MpegHeader((version, layer, rate, mono), samples, size, padding, info_at)


def _side_info(mpeg1: bool, mono: bool) -> tuple[int, int, tuple[int, ...]]:
    """Bytes of side information, bits of its first field, and where each granule begins [bits from the end]."""
    size, first = (17 if mono else 32, 9) if mpeg1 else (9 if mono else 17, 8)
    granules, bits = (2 if mpeg1 else 1) * (1 if mono else 2), 59 if mpeg1 else 63
    return size, first, tuple(bits * (number + 1) for number in range(granules))


_SIDE_INFO = {(mpeg1, mono): _side_info(mpeg1, mono) for mpeg1 in (True, False) for mono in (True, False)}


def is_damaged(frame: bytes, header: MpegHeader, size: int) -> bool:
    """Whether a frame of layer III says what cannot be: more bits than it may have, or values beyond the spectrum.

    Args:
        frame: Its first 40 bytes.
        header: Its header.
        size: Its size [bytes].
    """
    version, layer, _, mono = header.kind
    if layer != 3:
        return False
    length, first, ends = _SIDE_INFO[version == 3, mono]
    begin = 4 if frame[1] & 1 else 6
    bits = int.from_bytes(frame[begin : begin + length], "big")
    used = 0
    for end in ends:
        used += bits >> end - 12 & 0xFFF
        if bits >> end - 21 & 0x1FF > 288:
            return True
    return used > 8 * ((bits >> 8 * length - first) + size - begin - length)


def id3_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that this begins with, or 0 [bytes]."""
    if len(head) < 10 or head[:3] != b"ID3" or head[3] == 0xFF or head[4] == 0xFF or max(head[6:10]) > 0x7F:
        return 0
    body = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + body + (10 if head[5] & 0x10 else 0)
