"""Frames of MPEG audio (layers I, II and III) and the tags around them, as far as their headers say."""

from __future__ import annotations

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

    kind: tuple[int, int, int]
    """Version bits, layer and sample rate [Hz]: the same in all frames of a stream."""
    samples: int
    """Per channel in this frame."""
    size: int
    """Of the frame with its header [bytes]; 0 in the free format, which does not state it."""
    padding: int
    """Of these [bytes]."""
    mono: bool


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
    return MpegHeader((version, layer, rate), samples, size, padding, four[3] >> 6 == 3)


def id3_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that this begins with, or 0 [bytes]."""
    if len(head) < 10 or head[:3] != b"ID3" or head[3] == 0xFF or head[4] == 0xFF or max(head[6:10]) > 0x7F:
        return 0
    body = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + body + (10 if head[5] & 0x10 else 0)
