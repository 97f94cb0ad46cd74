"""Sounds in base64 and in `data:` URIs, decoded a piece at a time.

The decoders hold Python's global lock, so 64 MiB in one go would stop the event loop for a tenth of a second from any
thread. Beside the text there is never more than twice its size in memory, whatever stands in it.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator

import numpy as np

from claprt.errors import AudioDecodeError

_PIECE = 1 << 18  # characters, a multiple of four: half a millisecond
_SPACES = b" \t\r\n\f\v"
_OF_URLS = bytes.maketrans(b"-_", b"+/")
_BASE64 = re.compile(r";\s*base64\s*\Z", re.IGNORECASE)
_HEX = np.full(256, -1, np.int16)
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = int(chr(_digit), 16)


class Base64Error(AudioDecodeError):
    """What was sent as base64 cannot be decoded."""


def from_base64(text: str, called: str = "The sound", start: int = 0) -> bytes:
    """The bytes that base64 stands for, also that of URLs; white space in it does not count.

    Args:
        text: what holds the base64.
        called: its name in messages.
        start: the character that it begins at.

    Raises:
        Base64Error: if it is not base64.

    Example:
        >>> from_base64("AAE=").hex()
        '0001'
    """
    found, rest, ended = io.BytesIO(), b"", False
    try:
        for piece in _pieces(text, start):
            rest += piece.translate(_OF_URLS, _SPACES)
            if ended and rest:
                raise ValueError("padding in the middle")
            whole = len(rest) // 4 * 4
            found.write(base64.b64decode(rest[:whole], validate=True))
            ended, rest = ended or rest[:whole].endswith(b"="), rest[whole:]
        base64.b64decode(rest, validate=True)  # raises where something is left
    except (binascii.Error, ValueError) as error:
        raise Base64Error(f"{called} is not base64: {_reason(error)}.") from error
    return found.getvalue()


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeError):
        return "it holds a character beyond ASCII"
    return "its end or its padding is missing" if str(error) == "Incorrect padding" else str(error)


def _pieces(text: str, start: int) -> Iterator[bytes]:
    """ASCII of a text, piece by piece.

    Raises:
        UnicodeEncodeError: if it is not ASCII.
    """
    for begin in range(start, len(text), _PIECE):
        yield text[begin : begin + _PIECE].encode("ascii")


def from_uri(text: str) -> bytes:
    """The bytes of a file in base64, or in a `data:` URI. Addresses and paths are not opened.

    Raises:
        Base64Error: if it is meant as base64, and is not.
        AudioDecodeError: if it is an address or a path, or a `data:` URI that cannot be decoded.

    Example:
        >>> from_uri("data:audio/wav;base64,AAE=").hex(), from_uri("data:,%00%01").hex()
        ('0001', '0001')
    """
    if text[:64].lstrip()[:5].lower() == "data:":
        comma = text.find(",")
        if comma < 0:
            raise AudioDecodeError("The data: URI has no comma before its content; send data:audio/wav;base64,… instead.")
        is_base64 = _BASE64.search(text[:comma], max(0, comma - 64))
        return from_base64(text, start=comma + 1) if is_base64 else _unquoted(text, comma + 1)
    try:
        return from_base64(text)  # tried first: that of an MP3 begins with a slash, as paths do
    except AudioDecodeError as error:
        if ":" in text[:20] or text.startswith(("/", ".", "~")):
            raise AudioDecodeError("Addresses and paths are not opened; send the file itself in base64.") from error
        raise


def _unquoted(text: str, start: int) -> bytes:
    """Bytes of a text in which a `%` and two hexadecimal digits stand for a byte; any other `%` stands for itself."""
    found, rest = io.BytesIO(), b""
    try:
        for piece in _pieces(text, start):
            content = rest + piece
            cut = content.rfind(b"%", -2) if len(content) > 1 else content.find(b"%")  # its digits may be in the next one
            content, rest = (content[:cut], content[cut:]) if cut >= 0 else (content, b"")
            found.write(_unquoted_piece(content))
    except UnicodeError as error:
        raise AudioDecodeError(f"The data: URI cannot be decoded: {_reason(error)}.") from error
    found.write(rest)
    return found.getvalue()


def _unquoted_piece(content: bytes) -> bytes:
    given = np.frombuffer(content, np.uint8)
    marks = np.flatnonzero(given[:-2] == ord("%"))
    values = _HEX[given[marks + 1]] * 16 + _HEX[given[marks + 2]]
    coded = (_HEX[given[marks + 1]] >= 0) & (_HEX[given[marks + 2]] >= 0)
    found, keep = given.copy(), np.ones(given.size, np.bool_)
    found[marks[coded]] = values[coded]
    keep[marks[coded] + 1] = keep[marks[coded] + 2] = False
    return found[keep].tobytes()
