"""Runs the ASGI application on uvicorn with resource limits and graceful shutdown."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvicorn

from claprt.errors import OptionError
from claprt.serve import access
from claprt.serve.limits import Limits
from claprt.serve.server.uvicorn_protocols import HEADER_BYTES, HttpConnection, SocketConnection, error_bytes
from claprt.serve.server.uvicorn_server import Server

_HEADERS_S = 10.0
_LINGER_S = 5.0  # for what a client still sends after the response
_CLOSING_S = 5  # for connections that remain after a shutdown's responses
_PING_S = 20.0
_SWITCH_S = 0.001  # after which a computing thread releases the GIL to the event loop; Python's default is 0.005
_BACKLOG = 512  # connections that wait to be accepted
_OWN_FILES = 192  # besides connections: those that are rejected, libraries, graphs, audio that is decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits that the server enforces, rather than the application."""

    connections: int = 256
    """Connections at one time; further ones get 503."""
    timeout_s: float = 60.0
    """Seconds for a body, a WebSocket message or the reading of a response; for headers 10, or this if less."""
    idle_s: int = 30
    """Seconds that an HTTP connection is kept open without a request."""
    shutdown_s: int = 30
    """Seconds that a shutdown waits for accepted requests."""

    def __post_init__(self) -> None:
        for name in ("connections", "idle_s", "shutdown_s"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} is not possible; give 1 or more.")
        if not 0 < self.timeout_s < float("inf"):
            raise OptionError(f"timeout_s={self.timeout_s} is not possible; give a number of seconds above 0.")

    def phases(self) -> dict[str, float]:
        """Seconds that a connection may be in each phase; see `uvicorn_protocols`."""
        return {
            "headers": min(_HEADERS_S, self.timeout_s),
            "body": self.timeout_s,
            "unwanted": min(_LINGER_S, self.timeout_s),
            "sending": self.timeout_s,
            "closing": self.timeout_s,  # ends once the client has read everything
        }


def reject_waiting(sockets: list[socket.socket]) -> None:
    """Send 503 to clients whose connections were not accepted yet, and close them."""
    for one in sockets:
        one.setblocking(False)
        with contextlib.suppress(OSError):  # until no connection waits
            while True:
                client, _ = one.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(0.1)
                    client.sendall(error_bytes(503, "The service is shutting down."))
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(1 << 16):  # unread data would reset the connection before the response is read
                        pass


def listen(host: str, port: int) -> list[socket.socket]:
    """Open listening sockets on every address of a host; clients may connect from now on.

    Raises:
        OptionError: If the host is not an address of this machine, or the port cannot be opened.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError) as error:
        raise OptionError(f"host={host!r}, port={port} is not an address: {error}.") from error
    opened: list[socket.socket] = []
    for family, _, _, _, address in addresses:
        one = (str(address[0]), opened[0].getsockname()[1] if opened and port == 0 else port)
        try:
            opened.append(socket.create_server(one, family=family, backlog=_BACKLOG))
            # asyncio does not set it for these; the end of a response would wait 40 ms for an acknowledgement
            opened[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and len(addresses) > 1:  # `localhost` where there is no IPv6
                continue
            for other in opened:
                other.close()
            raise OptionError(_not_opened(host, port, error)) from error
    if not opened:
        raise OptionError(f"host={host!r} is not an address of this machine.")
    return opened


def _not_opened(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use, perhaps by another service; end that, or choose another port."
    if error.errno == errno.EACCES:
        return f"Port {port} of {host} may not be opened by this user; choose one from 1024 on."
    return f"Port {port} of {host} cannot be opened: {error.strerror or error}."


def urls(sockets: list[socket.socket]) -> list[str]:
    """URLs of the service, one for each socket.

    Example:
        >>> opened = listen("127.0.0.1", 0)
        >>> urls(opened)[0].startswith("http://127.0.0.1:"), opened[0].close()
        (True, None)
    """
    names = [one.getsockname()[:2] for one in sockets]
    return [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in names]


def is_private(sockets: list[socket.socket]) -> bool:
    """Whether all sockets are on loopback addresses."""
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
    worker: int | None = None,
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
        worker: Number of this process among those that share the sockets; None for one alone.

    Raises:
        OptionError: If this process may not open as many files as there may be connections.
    """
    _allow_files(bounds.connections + _OWN_FILES)
    if access_log:
        access.switch_on(worker)
    sys.setswitchinterval(_SWITCH_S)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=HttpConnection,
        ws=SocketConnection,
        ws_max_size=limits.message_bytes,
        ws_per_message_deflate=False,  # samples do not compress, and without it the size of a message is what it costs
        ws_ping_interval=_PING_S,
        ws_ping_timeout=max(_PING_S, bounds.timeout_s),  # a client cannot answer a ping in the middle of a long frame
        h11_max_incomplete_event_size=HEADER_BYTES,
        backlog=_BACKLOG if worker is None else 1,  # asyncio accepts so many at once; the others are for other workers
        limit_concurrency=bounds.connections,
        timeout_keep_alive=bounds.idle_s,
        timeout_graceful_shutdown=_CLOSING_S,
        log_level="error",  # clients' errors are in their responses
        access_log=False,
        server_header=False,
    )
    server = Server(
        config, backlog=_BACKLOG, limits_s=bounds.phases(), shutdown_s=bounds.shutdown_s, ready=ready, drain=drain
    )
    server.run(sockets)


def _allow_files(count: int) -> None:
    """Raise this process's limit on open files to `count`, if necessary.

    Raises:
        OptionError: If the system does not allow so many.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise OptionError(
            f"{count} files would have to be open, and this process may have {hard}; allow fewer connections."
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
