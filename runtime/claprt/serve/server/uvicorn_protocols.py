"""Connections that cannot be held for ever: uvicorn's protocols for HTTP and WebSocket, with what the open takes.

Each says in which phase it is, and the service looks a few times in a second whether one has been in a phase for too long.
So no timer has to be set and cleared along every path that a connection can take. A client that sends a byte now and then
does not change the phase, so it gains nothing by it.

They rest on what uvicorn's h11 and websockets-sansio protocols keep about a connection; `tests/serve` runs the whole.
"""

from __future__ import annotations

import asyncio
import http
import itertools
import json
import logging
from types import GeneratorType
from typing import Any, cast

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.streams import StreamReader

from claprt.serve import access
from claprt.serve.scheduling.turns import Turn

HEADER_BYTES = 16 << 10
"""Of all headers and the path together."""
SPARE = 64
"""Connections beyond the limit whose request is read, so that it can be refused; of more, the oldest is closed."""
MOST_FRAGMENTS = 4096
"""Of one message. Each costs some memory that its size does not show, so that empty ones would be free of charge."""
_AHEAD_BYTES = 128 << 10
"""Bytes of later requests that may wait on one connection before it is read on; more than headers may have."""
_ALWAYS = "/healthz"  # a full service is alive
_FULL = "The service has as many connections as it takes. Ask again a little later."
_SLOW = "The request took too long to arrive."
Phase = tuple[str, object]


class Watched:
    """A connection that may stay in one phase for so long only."""

    _seen: tuple[Phase, float] | None = None

    def phase(self) -> Phase:
        """What it is doing, and for which request."""
        raise NotImplementedError

    def late(self, phase: str) -> None:
        """Ends it, as polite as the phase allows."""
        raise NotImplementedError

    def look(self, now: float, allowed: dict[str, float]) -> None:
        """Ends it if it has been in its phase for longer than is `allowed`, in seconds; other phases have no end."""
        phase = self.phase()
        if self._seen is None or self._seen[0] != phase:
            self._seen = (phase, now)
        elif now - self._seen[1] > allowed.get(phase[0], float("inf")):
            self.late(phase[0])


def refusal(status: int, message: str) -> bytes:
    """A whole HTTP response with our error, after which the connection is closed."""
    head, body = _refused(status, message)
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode(), *(b": ".join(pair) for pair in head)]
    return b"\r\n".join([*lines, b"", body])


def _refused(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    kind = "OverloadedError" if status == http.HTTPStatus.SERVICE_UNAVAILABLE else "InvalidRequestError"
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    return head + ([(b"retry-after", b"1")] if status == http.HTTPStatus.SERVICE_UNAVAILABLE else []), body


_numbers = itertools.count()


class _Flow(FlowControl):
    """Reads no more while requests wait that were sent ahead: each that is answered would let in a thousand of them."""

    def __init__(self, transport: asyncio.Transport, connection: h11.Connection) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        """Reads on, if little of later requests is here."""
        if len(self._connection.trailing_data[0]) <= _AHEAD_BYTES:
            super().resume_reading()


class HttpConnection(H11Protocol, Watched):
    """HTTP/1.1, until the client asks for WebSocket."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._inside = self.app
        self.app = self._enter
        self._most = self.limit_concurrency
        self.limit_concurrency = None  # uvicorn's own would refuse requests on connections that were accepted
        self._beyond = False
        self.number = next(_numbers)
        self._turn = Turn()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Accepts a connection, or marks it as one too many."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.conn)
        excess = 0 if self._most is None else len(self.connections) - self._most
        self._beyond = excess > 0
        if excess > SPARE:  # so that whoever comes last can still ask whether the service is alive
            spare = [one for one in self.connections if isinstance(one, HttpConnection) and one.is_spare]
            min(spare, key=lambda one: one.number, default=self).turn_away()

    def turn_away(self) -> None:
        """Says that there are too many connections."""
        self._refuse(503, _FULL)

    @property
    def is_spare(self) -> bool:
        """Whether it is one too many, and nothing is being answered on it."""
        return self._beyond and self.phase()[0] in ("headers", "idle")

    async def _enter(self, scope: Any, receive: Any, send: Any) -> None:
        """The application, for requests that may pass."""
        scope.setdefault("state", {})["turn"] = self._turn
        names = {name for name, _ in scope["headers"]}

        async def answer(status: int, message: str) -> None:
            access.request(scope["method"], scope["path"], status, 0.0)
            await _answer(send, status, message)

        if self._beyond and scope["path"] != _ALWAYS:
            await answer(503, _FULL)
        elif sum(len(name) + len(value) for name, value in scope["headers"]) + len(scope["raw_path"]) > HEADER_BYTES:
            await answer(431, f"The headers may have up to {HEADER_BYTES} bytes.")  # h11 lets whole ones pass
        elif {b"content-length", b"transfer-encoding"} <= names:  # one of them would get past the limit on bodies
            await answer(400, "Content-Length and Transfer-Encoding exclude each other.")
        else:
            await self._inside(scope, receive, send)

    def on_response_complete(self) -> None:
        """Goes on to what was sent ahead, and reads on where that is no whole request."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.flow.resume_reading()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hands the connection on, unless it is one too many."""
        if self._beyond:
            self._refuse(503, _FULL)
        else:
            super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Says that this is no HTTP; uvicorn's own fails where an answer is under way already."""
        self._refuse(400, msg)

    def _refuse(self, status: int, message: str) -> None:
        access.request("-", "-", status, 0.0)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(refusal(status, message))
        self.transport.close()

    def phase(self) -> Phase:
        """`headers`, `body`, `answering` and so on, and the request."""
        if self.transport.is_closing():
            return "closing", None
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            return "unwanted" if self.cycle.response_complete else "body", self.cycle
        if state is h11.IDLE:
            begun = self.cycle is None or bool(self.conn.trailing_data[0])  # pyright: ignore[reportUnnecessaryComparison]
            return "headers" if begun else "idle", self.cycle
        return "sending" if self.transport.get_write_buffer_size() else "answering", self.cycle

    def late(self, phase: str) -> None:
        """Answers 408 where there is somebody to answer."""
        if phase in ("closing", "sending"):
            self.transport.abort()
        else:
            self._refuse(408, _SLOW)

    def shutdown(self) -> None:
        """Closes the connection once its request is answered."""
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # it is being closed already
            self.transport.close()


async def _answer(send: Any, status: int, message: str) -> None:
    head, body = _refused(status, message)
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


class SocketConnection(WebSocketsSansIOProtocol, Watched):
    """WebSocket, from the handshake on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._taken = 0

    def data_received(self, data: bytes) -> None:
        """Answers a handshake that cannot be understood, which uvicorn leaves without an answer."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            access.request("WS", "-", 400, 0.0)
            written = b"".join(self.conn.data_to_send())
            self.transport.write(written or refusal(400, "The WebSocket handshake is not understood."))
            self.transport.close()

    def handle_connect(self, event: Any) -> None:
        """Reads no frames before the application has accepted: they would be parsed in a state that has none."""
        super().handle_connect(event)
        self.read_paused = True  # until the application's first `receive`
        self.transport.pause_reading()

    def pause_writing(self) -> None:
        """Reads no more from a client that does not read: each ping would be answered, and the answers kept."""
        super().pause_writing()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Reads on, unless the application has enough to do."""
        super().resume_writing()
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def handle_cont(self, event: Any) -> None:
        """Takes a fragment, if it is not one too many."""
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._end(1009, f"A message may have up to {MOST_FRAGMENTS} fragments.")

    def _end(self, code: int, reason: str) -> None:
        if not self.transport.is_closing():
            self.frames = []
            self.conn.fail(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def phase(self) -> Phase:
        """`body` while a message is arriving, `sending` while the client does not read, and so on; and its number."""
        if self.transport.is_closing():
            return "closing", None
        if not self.handshake_complete:
            return "headers", None
        if not self.writable.is_set():
            return "sending", self._taken
        if not self.read_paused and (self.frames or self._inside_frame()):
            return "body", self._taken
        return "open", self._taken

    def _inside_frame(self) -> bool:
        """Whether the parser waits for more of a frame, of which it may have read the head already."""
        place = cast("GeneratorType[Any, Any, Any]", self.conn.parser)
        while isinstance(place.gi_yieldfrom, GeneratorType):
            place = place.gi_yieldfrom
        return place.gi_code is not StreamReader.at_eof.__code__

    def late(self, phase: str) -> None:
        """Closes with a reason where the client may still read it."""
        if phase == "body":
            self._end(1008, "The message took too long to arrive.")
        else:
            self.transport.abort()

    async def receive(self) -> Any:
        """The application's next message; the one that arrives after it has its own time."""
        message = await super().receive()
        self._taken += 1
        if not self.writable.is_set() and not self.transport.is_closing():
            self.transport.pause_reading()  # which `receive` may have resumed
        return message


def worth_logging(record: logging.LogRecord) -> bool:
    """Whether a record of uvicorn's is about the service; it writes a traceback where a client sends broken UTF-8."""
    return record.exc_info is None or not isinstance(record.exc_info[1], UnicodeDecodeError)


def watched(connection: object) -> Watched:
    """A connection of uvicorn's set, which is one of ours."""
    return cast("Watched", connection)
