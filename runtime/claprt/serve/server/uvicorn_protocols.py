"""uvicorn's HTTP and WebSocket protocols, with per-phase timeouts and limits on connections.

This module and `uvicorn_server` alone use internals of uvicorn and websockets, whose versions are therefore bounded in
`pyproject.toml`: here the attributes of `H11Protocol`, `WebSocketsSansIOProtocol` and `FlowControl`, and the parser
generator of websockets; there the hooks of `uvicorn.Server`. uvicorn limits sizes, counts and idle connections, but not the
time that a request takes to arrive or a response to be read, which a service without a proxy in front of it needs. Before a
bound is raised, run `tests/serve/test_bounds.py` and `tests/serve/test_costs.py` with the new version.

Each connection reports its phase, and the server checks several times a second whether one has been in a phase for too
long. So no timer has to be set and cleared along every path that a connection can take, and a byte now and then does not
extend the time of a phase.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from http import HTTPStatus
from types import GeneratorType
from typing import Any, cast

import h11
from starlette.responses import JSONResponse
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.streams import StreamReader

from claprt.serve import access
from claprt.serve.errors import error_response
from claprt.serve.scheduling.fair_queue import Client

HEADER_BYTES = 16 << 10
"""Limit on all headers and the path together."""
SPARE = 64
"""Connections beyond the limit whose request is still read, to reject it; beyond these, the oldest is closed."""
MOST_FRAGMENTS = 4096
"""Limit on the fragments of one message: empty ones cost memory that its size does not show."""
_AHEAD_BYTES = 128 << 10
"""Bytes of pipelined requests from which a connection is not read further; more than `HEADER_BYTES`."""
_ALWAYS = "/healthz"  # answered even when there are too many connections
_FULL = "The service has as many connections as it takes. Try again a little later."
_SLOW = "The request took too long to arrive."
_numbers = itertools.count()
Phase = tuple[str, object]


class TimedConnection:
    """A connection with a time limit for each phase."""

    _seen: tuple[Phase, float] | None = None

    def phase(self) -> Phase:
        """What the connection is doing, and for which request."""
        raise NotImplementedError

    def on_timeout(self, phase: str) -> None:
        """End the connection, with an error where the phase allows it."""
        raise NotImplementedError

    def check_timeout(self, now: float, limits_s: Mapping[str, float]) -> None:
        """End the connection if it has exceeded the limit of its phase; phases without a limit may last for ever."""
        phase = self.phase()
        if self._seen is None or self._seen[0] != phase:
            self._seen = (phase, now)
        elif now - self._seen[1] > limits_s.get(phase[0], float("inf")):
            self.on_timeout(phase[0])


def error_bytes(status: int, message: str) -> bytes:
    """Build a whole HTTP error response, after which the connection is closed."""
    response = _error(status, message)
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()
    return b"\r\n".join([first, *map(b": ".join, response.raw_headers), b"", bytes(response.body)])


def _error(status: int, message: str) -> JSONResponse:
    kind = "OverloadedError" if status == HTTPStatus.SERVICE_UNAVAILABLE else "InvalidRequestError"
    return error_response(status, message, kind, {"connection": "close"})


class _Flow(FlowControl):
    """Does not resume reading while many pipelined requests wait."""

    def __init__(self, transport: asyncio.Transport, connection: h11.Connection) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        """Resume reading, if few bytes of later requests are buffered."""
        if len(self._connection.trailing_data[0]) <= _AHEAD_BYTES:
            super().resume_reading()


class HttpConnection(H11Protocol, TimedConnection):
    """An HTTP/1.1 connection, up to an upgrade to WebSocket."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._inside = self.app
        self.app = self._enter
        self._most = self.limit_concurrency
        self.limit_concurrency = None  # uvicorn's own check would reject requests on accepted connections
        self._beyond = False
        self.number = next(_numbers)
        self._client = Client()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Accept the connection, or mark it as one beyond the limit."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.conn)
        excess = 0 if self._most is None else len(self.connections) - self._most
        self._beyond = excess > 0
        if excess > SPARE:  # a health check on the newest connection still works
            spare = [one for one in self.connections if isinstance(one, HttpConnection) and one.is_spare]
            min(spare, key=lambda one: one.number, default=self).reject_excess()

    def reject_excess(self) -> None:
        """Send 503: there are too many connections."""
        self._reject(503, _FULL)

    @property
    def is_spare(self) -> bool:
        """Whether it is beyond the limit, and has no request in progress."""
        return self._beyond and self.phase()[0] in ("headers", "idle")

    async def _enter(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request to the application, or reject it."""
        scope.setdefault("state", {})["client"] = self._client
        names = {name for name, _ in scope["headers"]}

        async def reject(status: int, message: str) -> None:
            access.request(scope["method"], scope["path"], status, 0.0)
            await _error(status, message)(scope, receive, send)

        if self._beyond and scope["path"] != _ALWAYS:
            await reject(503, _FULL)
        elif sum(len(name) + len(value) for name, value in scope["headers"]) + len(scope["raw_path"]) > HEADER_BYTES:
            await reject(431, f"The headers may have up to {HEADER_BYTES} bytes.")  # h11 takes more if they arrive at once
        elif {b"content-length", b"transfer-encoding"} <= names:  # request smuggling past the limit on bodies
            await reject(400, "Content-Length and Transfer-Encoding exclude each other.")
        else:
            await self._inside(scope, receive, send)

    def on_response_complete(self) -> None:
        """Continue with pipelined requests, and resume reading if the next one is incomplete."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.flow.resume_reading()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Switch to WebSocket, unless the connection is beyond the limit."""
        if self._beyond:
            self._reject(503, _FULL)
        else:
            super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Send 400; uvicorn's own method fails after a response has begun."""
        self._reject(400, msg)

    def _reject(self, status: int, message: str) -> None:
        access.request("-", "-", status, 0.0)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(error_bytes(status, message))
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

    def on_timeout(self, phase: str) -> None:
        """Send 408 if the client may still read it."""
        if phase in ("closing", "sending"):
            self.transport.abort()
        else:
            self._reject(408, _SLOW)

    def shutdown(self) -> None:
        """Close the connection once its request is answered."""
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # it is closing already
            self.transport.close()


class SocketConnection(WebSocketsSansIOProtocol, TimedConnection):
    """A WebSocket connection, from the handshake on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._taken = 0
        self._given_up = False
        """Whether the client is told that it does not read; what it still sends is dropped."""

    def data_received(self, data: bytes) -> None:
        """Answer an invalid handshake, which uvicorn leaves without a response."""
        if self._given_up:
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            access.request("WS", "-", 400, 0.0)
            written = b"".join(self.conn.data_to_send())
            self.transport.write(written or error_bytes(400, "The WebSocket handshake is invalid."))
            self.transport.close()

    def handle_connect(self, event: Any) -> None:
        """Pause reading until the application has accepted: frames before that would be parsed in a wrong state."""
        super().handle_connect(event)
        self.read_paused = True  # until the application's first `receive`
        self.transport.pause_reading()

    async def send(self, message: Any) -> None:
        """Send a message of the application. A response in place of a handshake is no fault, which uvicorn would log."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def pause_writing(self) -> None:
        """Pause reading from a client that does not read: the answers to its pings would pile up."""
        super().pause_writing()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume reading, unless the application is behind."""
        super().resume_writing()
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def handle_cont(self, event: Any) -> None:
        """Add a fragment, up to the limit."""
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

    def _give_up(self) -> None:
        """Tell a client that does not read why it is closed, behind the replies that it has not read.

        A socket that is closed with data unread takes back what it has sent; so the client's data is read and dropped until
        it has hung up, or the time for `closing` is over.
        """
        self._given_up = self.close_sent = True  # uvicorn neither pings it nor closes it again, which would raise
        self.conn.fail(1008, "The client does not read its replies.")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.transport.resume_reading()

    def phase(self) -> Phase:
        """`body` while a message arrives, `sending` while the client does not read, and so on; and the message's number."""
        if self.transport.is_closing() or self._given_up:
            return "closing", None
        if not self.handshake_complete:
            return "headers", None
        if not self.writable.is_set():
            return "sending", self._taken
        if not self.read_paused and (self.frames or self._inside_frame()):
            return "body", self._taken
        return "open", self._taken

    def _inside_frame(self) -> bool:
        """Whether the parser is in the middle of a frame, perhaps after its head."""
        place = cast("GeneratorType[Any, Any, Any]", self.conn.parser)
        while isinstance(place.gi_yieldfrom, GeneratorType):
            place = place.gi_yieldfrom
        return place.gi_code is not StreamReader.at_eof.__code__

    def on_timeout(self, phase: str) -> None:
        """Close with a reason if the client may still read it."""
        if phase == "body":
            self._end(1008, "The message took too long to arrive.")
        elif phase == "sending":
            self._give_up()
        else:
            self.transport.abort()

    async def receive(self) -> Any:
        """Receive the next message; the one after it gets its own time limit."""
        message = await super().receive()
        self._taken += 1
        if not self.writable.is_set() and not self._given_up and not self.transport.is_closing():
            self.transport.pause_reading()  # which `receive` may have resumed
        return message
