"""The application on a port, in the open: bounds on time, size and number, and an end that answers what was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn

from claprt.errors import OptionError
from claprt.serve import access
from claprt.serve.limits import Limits
from claprt.serve.server.uvicorn_protocols import (
    HEADER_BYTES,
    HttpConnection,
    SocketConnection,
    refusal,
    watched,
    worth_logging,
)

_HEADERS_S = 10.0
_LINGER_S = 5.0  # for what a client still sends after its answer
_CLOSING_S = 5  # for connections that are left after a shutdown's answers
_LAST_S = 15.0  # beyond the time for a shutdown, for connections and the application's threads
_PING_S = 20.0
_SWITCH_S = 0.001  # after which a thread that computes lets the event loop go on; Python's own is five times that
_OWN_FILES = 192  # besides connections: those that are refused, libraries, graphs, sounds that are decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the server, rather than the application, keeps in bounds."""

    connections: int = 256
    """Connections at one time; one more is told 503."""
    timeout_s: float = 60.0
    """Seconds that a body, a WebSocket message or the reading of an answer may take; headers have ten, or this if less."""
    idle_s: int = 30
    """Seconds that an HTTP connection is kept without a request."""
    shutdown_s: int = 30
    """Seconds that a shutdown waits for what was accepted."""

    def __post_init__(self) -> None:
        for name in ("connections", "idle_s", "shutdown_s"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} is not possible; give 1 or more.")
        if not 0 < self.timeout_s < float("inf"):
            raise OptionError(f"timeout_s={self.timeout_s} is not possible; give a number of seconds above 0.")

    def phases(self) -> dict[str, float]:
        """Seconds that a connection may be in each phase; see `connections`."""
        return {
            "headers": min(_HEADERS_S, self.timeout_s),
            "body": self.timeout_s,
            "unwanted": min(_LINGER_S, self.timeout_s),
            "sending": self.timeout_s,
            "closing": self.timeout_s,  # which ends once the client has read everything
        }


class Service(uvicorn.Server):
    """uvicorn's server, which watches its connections and ends with status 0 when it is told to end."""

    def __init__(
        self, config: uvicorn.Config, bounds: Bounds, ready: Callable[[], None], drain: Callable[[float], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._shutdown_s = bounds.shutdown_s
        self._phases = bounds.phases()
        self._ready, self._drain = ready, drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and says so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Looks at the connections, ten times a second."""
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            watched(connection).look(now, self._phases)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers what was accepted; what takes longer than it may ends with the process."""
        guard = threading.Timer(self._shutdown_s + _LAST_S, os._exit, (1,))
        guard.daemon = True
        guard.start()
        await self._drain(self._shutdown_s)  # before uvicorn closes WebSockets, which it does without waiting for answers
        await super().shutdown(sockets)
        guard.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as `signal` calls it
        """A first signal begins the shutdown, a second ends the process. uvicorn's own raises them again in the end."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True


class Stopped(BaseException):
    """A signal has told the process to end."""


@contextlib.contextmanager
def stopped_by_signals() -> Generator[None]:
    """Raises `Stopped` in the main thread on SIGTERM and SIGINT, until a server takes them over.

    Raises:
        Stopped: the process is to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def turn_away(sockets: list[socket.socket]) -> None:
    """Says to clients that wait to be served that they will not be, and closes their connections in order."""
    for one in sockets:
        one.setblocking(False)
        with contextlib.suppress(OSError):  # until nobody waits
            while True:
                client, _ = one.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(0.1)
                    client.sendall(refusal(503, "The service is shutting down."))
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(1 << 16):  # what is not read would break the answer off
                        pass


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address of a host, which wait for connections from now on: clients need not ask twice.

    Raises:
        OptionError: the host is none of this machine, or the port is in use.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError) as error:
        raise OptionError(f"host={host!r}, port={port} is no address: {error}.") from error
    opened: list[socket.socket] = []
    for family, _, _, _, address in found:
        one = (str(address[0]), opened[0].getsockname()[1] if opened and port == 0 else port)
        try:
            opened.append(socket.create_server(one, family=family, backlog=512))
            # asyncio does not do it for these; the end of an answer would wait for an acknowledgement, 40 ms
            opened[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and len(found) > 1:  # `localhost` where there is no IPv6
                continue
            for other in opened:
                other.close()
            raise OptionError(_not_opened(host, port, error)) from error
    if not opened:
        raise OptionError(f"host={host!r} is no address of this machine.")
    return opened


def _not_opened(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use, perhaps by another service; end that, or choose another port."
    if error.errno == errno.EACCES:
        return f"Port {port} of {host} may not be opened by this user; choose one from 1024 on."
    return f"Port {port} of {host} cannot be opened: {error.strerror or error}."


def urls(sockets: list[socket.socket]) -> list[str]:
    """Addresses that clients use, one for each socket.

    Example:
        >>> opened = listen("127.0.0.1", 0)
        >>> urls(opened)[0].startswith("http://127.0.0.1:"), opened[0].close()
        (True, None)
    """
    names = [one.getsockname()[:2] for one in sockets]
    return [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in names]


def is_private(sockets: list[socket.socket]) -> bool:
    """Whether only this machine can connect."""
    return all(ipaddress.ip_address(one.getsockname()[0].partition("%")[0]).is_loopback for one in sockets)


def serve(
    app: Any,
    sockets: list[socket.socket],
    *,
    limits: Limits,
    bounds: Bounds,
    ready: Callable[[], None],
    drain: Callable[[float], Awaitable[None]],
    access_log: bool = False,
) -> None:
    """Run the application until SIGTERM or SIGINT.

    Args:
        app: The ASGI application.
        sockets: Sockets that `listen` opened.
        limits: Limits of the application; its largest message holds for WebSockets too.
        bounds: Limits of the server.
        ready: Called once it answers.
        drain: Called at the end with a number of seconds: accepts no new requests and answers the accepted ones.
        access_log: Whether a line for each request goes to standard error.

    Raises:
        OptionError: If this process may not open as many files as there may be connections.
    """
    _allow_files(bounds.connections + _OWN_FILES)
    if access_log:
        access.switch_on()
    sys.setswitchinterval(_SWITCH_S)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=HttpConnection,
        ws=SocketConnection,
        ws_max_size=limits.message_bytes,
        ws_per_message_deflate=False,  # samples do not shrink, and what was sent is then what it costs
        ws_ping_interval=_PING_S,
        ws_ping_timeout=max(_PING_S, bounds.timeout_s),  # who sends a long frame cannot answer in the middle of it
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=bounds.connections,
        timeout_keep_alive=bounds.idle_s,
        timeout_graceful_shutdown=_CLOSING_S,
        log_level="error",  # clients' mistakes are told to them
        access_log=False,
        server_header=False,
    )
    logging.getLogger("uvicorn.error").addFilter(worth_logging)
    Service(config, bounds, ready, drain).run(sockets)


def _allow_files(count: int) -> None:
    """Raises the limit on open files of this process to `count`, as far as the machine lets it."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise OptionError(f"{count} files would have to be open, and this process may have {hard}; take fewer connections.")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
