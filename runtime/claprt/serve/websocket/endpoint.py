"""WebSocket endpoint for any protocol: messages in, replies out, in order, until one side closes.

An error is a reply, and the connection stays open. If the client disconnects while its message is processed, that work is
cancelled. During shutdown, accepted messages are answered, new ones are rejected, and then the connection is closed with
1001.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from claprt.errors import AudioShapeError, ClaprtError
from claprt.serve import access
from claprt.serve.errors import ShuttingDownError, status_of, to_client_error
from claprt.serve.middleware import is_authorized
from claprt.serve.scheduling.fair_queue import Client, set_current_client
from claprt.serve.scheduling.service import Service

Task = asyncio.Task[Any]
_GOING_AWAY = 1001


class MessageProtocol(Protocol):
    """How messages are answered, and how errors are encoded."""

    async def answer(self, message: bytes | str) -> str | None:
        """The reply to a message, None for none; raises `ClaprtError`."""
        ...

    def error_reply(self, error: ClaprtError) -> str:
        """The reply to a message that failed."""
        ...

    def end(self) -> None:
        """The connection has ended."""
        ...


class Endpoint:
    """Serves every connection at one path."""

    def __init__(
        self, service: Service, token: str | None, path: str, protocol: Callable[[WebSocket], MessageProtocol]
    ) -> None:
        """Prepare the endpoint.

        Args:
            service: Counts connections and messages.
            token: Bearer token that handshakes need, if any.
            path: Name of the endpoint in metrics and logs.
            protocol: Creates the protocol of a connection.
        """
        self.path = path
        self._service, self._token, self._protocol = service, token, protocol

    async def connection(self, socket: WebSocket) -> None:
        """Serve one connection until it ends."""
        if not is_authorized(socket.headers, self._token):
            self._service.metrics.reject("token")
            access.request("WS", self.path, 403, 0.0)
            await socket.close(1008, "A bearer token is needed.")
            return
        await socket.accept()
        set_current_client(Client())
        self._service.metrics.connections(self.path, 1, self._service.label)
        try:
            with self._service.shared.open_websockets.track(), contextlib.ExitStack() as ending:
                protocol = self._protocol(socket)
                ending.callback(protocol.end)
                await self._serve(socket, protocol)
        except (WebSocketDisconnect, RuntimeError, OSError):  # the client disconnected while it was answered
            return
        finally:
            self._service.metrics.connections(self.path, -1, self._service.label)

    async def _serve(self, socket: WebSocket, protocol: MessageProtocol) -> None:
        closing = asyncio.ensure_future(self._service.shared.closing.wait())
        incoming: Task = asyncio.ensure_future(socket.receive())
        try:
            while True:
                await asyncio.wait({incoming, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not incoming.done():
                    await socket.close(_GOING_AWAY, "The service is shutting down.")
                    return
                message = incoming.result()
                if message["type"] == "websocket.disconnect":
                    return
                incoming = asyncio.ensure_future(socket.receive())
                reply, is_last = await self._while_connected(incoming, self._reply(protocol, message))
                if reply is not None:
                    await socket.send_text(reply)
                if is_last:
                    await socket.close(_GOING_AWAY, "The service is shutting down.")
                    return
        finally:
            incoming.cancel()
            closing.cancel()

    async def _while_connected(self, incoming: Task, work: Awaitable[tuple[str | None, bool]]) -> tuple[str | None, bool]:
        """Await the reply, or cancel it.

        Raises:
            WebSocketDisconnect: If the client disconnects.
        """
        answer = asyncio.ensure_future(work)
        try:
            await asyncio.wait({answer, incoming}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and incoming.result()["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            return await answer
        finally:
            answer.cancel()

    async def _reply(self, protocol: MessageProtocol, message: dict[str, Any]) -> tuple[str | None, bool]:
        """The reply to a message, and whether it is the last one."""
        began, status, is_last = time.perf_counter(), 200, False
        access.begin()
        text: str | None = message.get("text")
        content: bytes | str = (message.get("bytes") or b"") if text is None else text
        try:
            with self._service.admit(len(content)):
                self._check_size(content)
                reply = await protocol.answer(content)
        except Exception as cause:  # noqa: BLE001 - every message is answered
            error = to_client_error(cause)
            status, is_last, reply = status_of(error), isinstance(error, ShuttingDownError), protocol.error_reply(error)
        took = time.perf_counter() - began
        self._service.metrics.request(self.path, status, took, self._service.label)
        access.request("WS", self.path, status, took, received=len(content), sent=len(reply or ""))
        return reply, is_last

    def _check_size(self, content: bytes | str) -> None:
        limit = self._service.limits.message_bytes
        if len(content) > limit:
            raise AudioShapeError(f"A message may have up to {limit} bytes; this one has {len(content)}.")
