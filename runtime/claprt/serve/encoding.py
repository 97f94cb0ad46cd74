"""Sounds in base64, decoded a piece at a time.

The decoder holds Python's global lock, so 64 MiB in one go would stop the event loop for a tenth of a second from any
thread.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from claprt.errors import AudioDecodeError

_PIECE = 1 << 18  # characters, a multiple of four: half a millisecond


def from_base64(text: str, called: str = "The sound") -> bytes:
    """The bytes that a string of base64 stands for; line breaks in it do not count.

    Raises:
        AudioDecodeError: it is no base64.

    Example:
        >>> from_base64("AAE=").hex()
        '0001'
    """
    if any(space in text for space in "\n\r \t"):
        text = "".join(text.split())
    parts: list[bytes] = []
    try:
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE]
            parts.append(base64.b64decode(piece, validate=True))
            if start + _PIECE < len(text) and len(parts[-1]) != _PIECE // 4 * 3:
                raise ValueError("padding in the middle")
    except (binascii.Error, ValueError) as error:
        raise AudioDecodeError(f"{called} is not base64: {error}.") from error
    return b"".join(parts)


def from_uri(text: str) -> bytes:
    """The bytes of a file in base64, or in a `data:` URI. Addresses and paths are not opened.

    Raises:
        AudioDecodeError: it is neither.

    Example:
        >>> from_uri("data:audio/wav;base64,AAE=").hex(), from_uri("data:,%00%01").hex()
        ('0001', '0001')
    """
    if text.startswith("data:"):
        head, _, content = text.partition(",")
        return from_base64(content) if head.endswith(";base64") else unquote_to_bytes(content)
    try:
        return from_base64(text)  # tried first: that of an MP3 begins with a slash, as paths do
    except AudioDecodeError as error:
        if ":" in text[:20] or text.startswith(("/", ".", "~")):
            raise AudioDecodeError("Addresses and paths are not opened; send the file itself in base64.") from error
        raise
