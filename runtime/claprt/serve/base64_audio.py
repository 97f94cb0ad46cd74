"""Decoding of base64 and `data:` URIs, piece by piece.

The decoders hold the GIL, so 64 MiB at once would stop the event loop for a tenth of a second from any thread. Besides the
text, memory stays within twice its size, whatever it contains.
"""

from __future__ import annotations

import base64
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
    """Text is not valid base64."""


def from_base64(text: str, called: str = "The sound", start: int = 0) -> bytes:
    """Decode base64, standard or URL-safe; white space is ignored.

    Args:
        text: Text that contains the base64.
        called: Its name in messages.
        start: Index of its first character.

    Raises:
        Base64Error: If it is not base64.

    Example:
        >>> from_base64("AAE=").hex()
        '0001'
    """
    try:
        return _decode_base64(text, start)
    except ValueError as error:
        raise Base64Error(f"{called} is not base64: {_reason(error)}.") from error


def _decode_base64(text: str, start: int) -> bytes:
    """Decode base64, piece by piece.

    Raises:
        ValueError: If it is not base64.
    """
    decoded, rest, ended = _buffer((len(text) - start) * 3 // 4), b"", False
    for piece in _pieces(text, start):
        rest += piece.translate(_OF_URLS, _SPACES)
        if ended and rest:
            raise ValueError("padding in the middle")
        whole = len(rest) // 4 * 4
        decoded.write(base64.b64decode(rest[:whole], validate=True))
        ended, rest = ended or rest[:whole].endswith(b"="), rest[whole:]
    base64.b64decode(rest, validate=True)  # raises if something is left
    return _written(decoded)


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeError):
        return "it holds a character beyond ASCII"
    return "its end or its padding is missing" if str(error) == "Incorrect padding" else str(error)


def _pieces(text: str, start: int) -> Iterator[bytes]:
    """Encode a text to ASCII, piece by piece.

    Raises:
        UnicodeEncodeError: If it is not ASCII.
    """
    for begin in range(start, len(text), _PIECE):
        yield text[begin : begin + _PIECE].encode("ascii")


def from_uri(text: str) -> bytes:
    """Decode a file in base64 or in a `data:` URI. Addresses and paths are not opened.

    Raises:
        Base64Error: If it is not base64.
        AudioDecodeError: If it is an address or a path, or an invalid `data:` URI.

    Example:
        >>> from_uri("data:audio/wav;base64,AAE=").hex(), from_uri("data:,%00%01").hex()
        ('0001', '0001')
    """
    if text[:64].lstrip()[:5].lower() == "data:":
        comma = text.find(",")
        if comma < 0:
            raise AudioDecodeError("The data: URI has no comma before its content; send data:audio/wav;base64,… instead.")
        is_base64 = _BASE64.search(text[:comma], max(0, comma - 64))
        return from_base64(text, start=comma + 1) if is_base64 else _unquote(text, comma + 1)
    try:
        return from_base64(text)  # tried first: that of an MP3 begins with a slash, as paths do
    except AudioDecodeError as error:
        if ":" in text[:20] or text.startswith(("/", ".", "~")):
            raise AudioDecodeError("Addresses and paths are not opened; send the file itself in base64.") from error
        raise


def _unquote(text: str, start: int) -> bytes:
    """Decode percent-encoding; a `%` without two hexadecimal digits stands for itself.

    Raises:
        AudioDecodeError: If it contains a character beyond ASCII.
    """
    decoded, rest = _buffer(len(text) - start), b""
    try:
        for piece in _pieces(text, start):
            content = rest + piece
            cut = content.rfind(b"%", -2) if len(content) > 1 else content.find(b"%")  # its digits may be in the next one
            content, rest = (content[:cut], content[cut:]) if cut >= 0 else (content, b"")
            decoded.write(_unquote_piece(content))
    except UnicodeError as error:
        raise AudioDecodeError(f"The data: URI cannot be decoded: {_reason(error)}.") from error
    decoded.write(rest)
    return _written(decoded)


def _buffer(most: int) -> io.BytesIO:
    """A buffer with room for so many bytes: one that grows is there twice whenever it is moved."""
    buffer = io.BytesIO()
    if most > 0:
        buffer.seek(most - 1)
        buffer.write(b"\0")
        buffer.seek(0)
    return buffer


def _written(buffer: io.BytesIO) -> bytes:
    """What was written into a buffer, up to its position."""
    buffer.truncate()
    return buffer.getvalue()


def _unquote_piece(content: bytes) -> bytes:
    data = np.frombuffer(content, np.uint8)
    marks = np.flatnonzero(data[:-2] == ord("%"))
    values = _HEX[data[marks + 1]] * 16 + _HEX[data[marks + 2]]
    coded = (_HEX[data[marks + 1]] >= 0) & (_HEX[data[marks + 2]] >= 0)
    result, keep = data.copy(), np.ones(data.size, np.bool_)
    result[marks[coded]] = values[coded]
    keep[marks[coded] + 1] = keep[marks[coded] + 2] = False
    return result[keep].tobytes()
