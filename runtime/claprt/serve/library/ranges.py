"""HTTP range requests: which bytes are asked for, and the response with them.

One range is served; several at once are answered with the whole, as HTTP allows. A browser's player that asks for a range
without an end gets a piece, as HTTP allows too, after which it asks for the next: one that pauses keeps no connection.
Other programs may take a piece for the rest, and get all of it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from claprt.serve.errors import response_to
from claprt.serve.library.errors import RangeError, SoundChangedError

PIECE_BYTES = 1 << 20
"""What a player gets of a range without an end."""
_PLAYERS = ("audio", "video")
"""Values of `Sec-Fetch-Dest` in requests of a player."""
_BLOCK_BYTES = 256 << 10
_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.ASCII)
_MOST_DIGITS = 19


class Content(Protocol):
    """Bytes that can be read from any place."""

    media_type: str
    size: int

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, which is not among them."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes."""

    start: int
    end: int
    """Behind the last byte."""
    is_open: bool
    """Whether no end was asked for."""


def parse_range(stated: str | None, size: int) -> Span | None:
    """Parse a `Range` header.

    Args:
        stated: The header, or None.
        size: Bytes of the whole.

    Returns:
        None where the whole is to be sent: there is no header, it is of another unit, or has several ranges.

    Raises:
        RangeError: If the range is beyond the end.

    Example:
        >>> parse_range("bytes=2-4", 10), parse_range("bytes=-3", 10), parse_range("lines=1-2", 10)
        (Span(start=2, end=5, is_open=False), Span(start=7, end=10, is_open=False), None)
    """
    found = _RANGE.fullmatch((stated or "").strip().lower())
    if found is None or not (found[1] or found[2]) or max(map(len, found.groups())) > _MOST_DIGITS:
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None  # HTTP: an invalid range is ignored
    if start >= size or start >= end:
        raise RangeError(f"The sound has {size} bytes; there is no range {stated!r:.60} of it.")
    return Span(start, end, is_open=bool(found[1]) and not found[2])


class ContentResponse(Response):
    """The response to a request for content: 200, 206, 304 or 416. Closes the content when it is done."""

    def __init__(  # pyright: ignore[reportMissingSuperCall]
        self,
        content: Content,
        etag: str,
        modified_s: float,
        read: Callable[[int, int], Awaitable[bytes]],
        headers: dict[str, str],
    ) -> None:
        """Prepare the response.

        Args:
            content: What is sent.
            etag: Changes with the content, in quotes.
            modified_s: When it was last changed, in seconds since 1970.
            read: Reads the content without blocking the event loop.
            headers: Further headers.
        """
        self._content, self._read = content, read
        self._known = {
            **headers,
            "accept-ranges": "bytes",
            "etag": etag,
            "last-modified": formatdate(modified_s, usegmt=True),
        }
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await self._send(Request(scope, receive), scope, receive, send)
        finally:
            self._content.close()

    async def _send(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        size, headers = self._content.size, dict(self._known)
        if headers["etag"] in request.headers.get("if-none-match", ""):
            await Response(None, 304, headers)(scope, receive, send)
            return
        condition = request.headers.get("if-range")
        stated = request.headers.get("range") if condition in (None, headers["etag"], headers["last-modified"]) else None
        try:
            span = parse_range(stated, size)
        except RangeError as error:
            await response_to(error, {**headers, "content-range": f"bytes */{size}"})(scope, receive, send)
            return
        headers["content-type"] = self._content.media_type
        start, end = (0, size) if span is None else (span.start, span.end)
        if span is not None:
            if span.is_open and request.headers.get("sec-fetch-dest") in _PLAYERS:
                end = min(end, start + PIECE_BYTES)
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        headers["content-length"] = str(end - start)
        await self._stream(scope, send, 200 if span is None else 206, headers, start, end)

    async def _stream(self, scope: Scope, send: Send, status: int, headers: dict[str, str], start: int, end: int) -> None:
        """Send the bytes block by block; the first is read before the status is sent, so that errors can be.

        Raises:
            SoundChangedError: If the file ends before its bytes are sent.
        """
        is_head = scope["method"] == "HEAD"
        block = b"" if is_head else await self._read(start, min(end, start + _BLOCK_BYTES))
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        at = end if is_head else start + len(block)
        while at < end:
            await send({"type": "http.response.body", "body": block, "more_body": True})
            block = await self._read(at, min(end, at + _BLOCK_BYTES))
            if not block:
                raise SoundChangedError("A sound became shorter while it was sent.")
            at += len(block)
        await send({"type": "http.response.body", "body": block})
