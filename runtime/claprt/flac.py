"""FLAC as libsndfile is given it: without the number of samples that its header states, because it stops there.

STREAMINFO states how many samples follow, 0 where the encoder wrote into a pipe. A number that is too small would drop the
end of the sound, so the stream is read to its end and the number is compared: fewer samples are refused, more are read.
What libFLAC finds behind the stated samples and does not understand (tags, padding) is passed over.
"""

from __future__ import annotations

from claprt.binary import BinaryFile, Part, Spliced
from claprt.mpeg import id3_size

_MANY_TAGS = 10
_TOTAL_AT = 21  # of four bits and four bytes, counted from "fLaC"
_OTHER_BITS = set(range(4, 33)) - {8, 16, 24}  # which FLAC has and libsndfile does not decode


def flac(file: BinaryFile) -> Part | None:
    """The stream of a FLAC file, behind ID3 tags if there are any; None where libsndfile decodes no such depth."""
    begin = 0
    for _ in range(_MANY_TAGS):
        begin += id3_size(file.read_at(begin, 10))
    return native(Spliced(file, [(begin, _end(file) - begin)]) if begin or _end(file) != file.size else file)


def native(file: BinaryFile) -> Part | None:
    """A stream that begins with "fLaC", with an open number of samples; None where libsndfile decodes no such depth."""
    head = file.read_at(0, 42)
    if head[:4] != b"fLaC" or head[4] & 0x7F or len(head) < 42:
        return Part(file)
    bits = ((head[20] & 1) << 4 | head[21] >> 4) + 1
    if bits in _OTHER_BITS:
        return None
    total = (head[_TOTAL_AT] & 0x0F) << 32 | int.from_bytes(head[_TOTAL_AT + 1 : _TOTAL_AT + 5], "big")
    opened = head[:_TOTAL_AT] + bytes([head[_TOTAL_AT] & 0xF0]) + bytes(4) + head[_TOTAL_AT + 5 :]
    return Part(Spliced(file, [opened, (42, file.size - 42)]), total or None, open_end=True)


def _end(file: BinaryFile) -> int:
    """Where the tags at the end begin: ID3v1, APE."""
    end = file.size
    if file.read_at(end - 128, 3) == b"TAG":
        end -= 128
    footer = file.read_at(end - 32, 32) if end > 32 else b""
    if footer[:8] == b"APETAGEX":
        size = int.from_bytes(footer[12:16], "little") + (32 if footer[23] & 0x80 else 0)
        end -= size if size <= end else 0
    return end
