"""Bytes of HTTP and WebSocket by hand, for clients that no library would be, and their replies."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass
from typing import Any

GOOD_UPGRADE = {
    "Host": "localhost",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def request(method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """An HTTP request; `Host` and `Content-Length` are added where they are missing."""
    found = {"Host": "localhost", **(headers or {})}
    if body and not {"Content-Length", "Transfer-Encoding"} & found.keys():
        found["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in found.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def upgrade(path: str = "/clap", headers: dict[str, str] | None = None) -> bytes:
    """The request for a WebSocket."""
    return request("GET", path, {**GOOD_UPGRADE, **(headers or {})})


def frame(
    payload: bytes, opcode: int = TEXT, *, fin: bool = True, mask: bool = True, reserved: int = 0, length: int | None = None
) -> bytes:
    """A WebSocket frame. The mask is zero, which is as good as any; `length` is stated instead of the true one."""
    stated = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    bit = 0x80 if mask else 0
    if stated < 126:
        head += bytes([bit | stated])
    elif stated < 1 << 16:
        head += bytes([bit | 126]) + struct.pack("!H", stated)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", stated)
    return head + (b"\0\0\0\0" if mask else b"") + payload


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: an HTTP status, a WebSocket message, a WebSocket close with its code, or just the end."""

    kind: str
    status: int = 0
    message: Any = None


async def http_reply(reader: asyncio.StreamReader) -> Reply:
    """The next HTTP response, whose body is read where its length is stated."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply("http", int(lines[0].split()[1]), body)


async def socket_reply(reader: asyncio.StreamReader) -> Reply:
    """The next message or close of a WebSocket; pings and pongs are passed over."""
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        payload = await reader.readexactly(size)
        if first & 0xF == CLOSE:
            return Reply("close", int.from_bytes(payload[:2], "big"), payload[2:].decode())
        if first & 0xF == TEXT:
            return Reply("message", message=json.loads(payload))
