"""One WebSocket, whatever protocol is spoken on it: messages in, replies out, in order, until one side leaves.

An error is a reply, and the connection stays. A client that leaves is noticed while its message is worked on, and what it
asked for is given up. While the service ends, what was accepted is answered, new messages are refused, and then the
connection is closed with 1001.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from claprt.errors import AudioShapeError, ClaprtError
from claprt.serve import access
from claprt.serve.errors import ShuttingDownError, explained, status_of
from claprt.serve.middleware import allowed
from claprt.serve.scheduling.service import Service
from claprt.serve.scheduling.turns import Turn, stand_as

Task = asyncio.Task[Any]
_GOING_AWAY = 1001


class Talk(Protocol):
    """A protocol: how one message is answered, and how an error is said."""

    async def answer(self, message: bytes | str) -> str:
        """The reply to a message; raises `ClaprtError`."""
        ...

    def refusal(self, error: ClaprtError) -> str:
        """An error in the protocol's words."""
        ...


class Endpoint:
    """Answers every connection at one path."""

    def __init__(self, service: Service, token: str | None, path: str, talk: Callable[[WebSocket], Talk]) -> None:
        """`talk` makes the protocol of one connection."""
        self.path = path
        self._service, self._token, self._talk = service, token, talk

    async def connection(self, socket: WebSocket) -> None:
        """One connection, until it ends."""
        if not allowed(socket.headers, self._token):
            self._service.places.refused["token"] += 1
            access.request("WS", self.path, 403, 0.0)
            await socket.close(1008, "A bearer token is needed.")
            return
        await socket.accept()
        stand_as(Turn())
        self._service.metrics.connected(self.path, 1)
        try:
            with self._service.conversations.joined():
                await self._conversation(socket, self._talk(socket))
        except (WebSocketDisconnect, RuntimeError, OSError):  # it went away while it was answered
            return
        finally:
            self._service.metrics.connected(self.path, -1)

    async def _conversation(self, socket: WebSocket, talk: Talk) -> None:
        leaving = asyncio.ensure_future(self._service.leaving.wait())
        coming: Task = asyncio.ensure_future(socket.receive())
        try:
            while True:
                await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    await socket.close(_GOING_AWAY, "The service is shutting down.")
                    return
                message = coming.result()
                if message["type"] == "websocket.disconnect":
                    return
                coming = asyncio.ensure_future(socket.receive())
                reply, goodbye = await self._while_there(coming, self._reply(talk, message))
                await socket.send_text(reply)
                if goodbye:
                    await socket.close(_GOING_AWAY, "The service is shutting down.")
                    return
        finally:
            coming.cancel()
            leaving.cancel()

    async def _while_there(self, coming: Task, work: Awaitable[tuple[str, bool]]) -> tuple[str, bool]:
        """The reply; given up if the next that comes is that the client has left."""
        answer = asyncio.ensure_future(work)
        try:
            await asyncio.wait({answer, coming}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and coming.result()["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            return await answer
        finally:
            answer.cancel()

    async def _reply(self, talk: Talk, message: dict[str, Any]) -> tuple[str, bool]:
        """The reply to a message, and whether it is the last one."""
        began, status, goodbye = time.perf_counter(), 200, False
        access.begin()
        text: str | None = message.get("text")
        content: bytes | str = (message.get("bytes") or b"") if text is None else text
        try:
            with self._service.places.taken(len(content)):
                self._check_size(content)
                reply = await talk.answer(content)
        except Exception as found:  # noqa: BLE001 - every message is answered
            error = explained(found)
            status, goodbye, reply = status_of(error), isinstance(error, ShuttingDownError), talk.refusal(error)
        took = time.perf_counter() - began
        self._service.metrics.request(self.path, status, took)
        access.request("WS", self.path, status, took, received=len(content), sent=len(reply))
        return reply, goodbye

    def _check_size(self, content: bytes | str) -> None:
        limit = self._service.limits.message_bytes
        if len(content) > limit:
            raise AudioShapeError(f"A message may have up to {limit} bytes; this one has {len(content)}.")
