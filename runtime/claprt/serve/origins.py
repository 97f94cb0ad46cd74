"""Protection from other web pages: only the service's own page and named origins may use it.

A browser sends requests of a page to any address, including services on loopback, and states the page's origin. Programs
state none, and are not affected. Two kinds of requests are rejected: POSTs and WebSockets of a page of another origin; and
requests to a loopback address under a host name that is not this machine's, as in DNS rebinding, where the browser takes
the service for the page's own site.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from claprt.serve.errors import error_response

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origins:
    """Rejects requests of pages that are neither the service's own nor of a named origin."""

    def __init__(self, app: ASGIApp, named: Sequence[str] = ()) -> None:
        """`named` are origins such as `https://example.org`; `*` allows all."""
        self._app, self._named = app, frozenset(origin.rstrip("/").lower() for origin in named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or connection."""
        reason = self._rejection(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await error_response(403, reason, "OriginError", {"connection": "close"})(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})

    def _rejection(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host", "")
        if "*" in self._named:
            return None
        if not _is_own_host(host, scope.get("server")) and f"http://{host.lower()}" not in self._named:
            return f"{host[:60]} is not a name of this machine; the operator of the service can allow it (--cors http://{host[:60]})."
        costs = scope["type"] == "websocket" or scope["method"] == "POST"
        if origin is None or not costs or origin.lower() in self._named or _is_same(origin, host):
            return None
        return f"Pages of {origin[:60]} may not use this service; its operator can allow them (--cors)."


def _is_same(origin: str, host: str) -> bool:
    """Whether an origin is that of the requested host.

    Example:
        >>> _is_same("http://localhost:32051", "localhost:32051"), _is_same("https://example.org", "example.org")
        (True, True)
        >>> _is_same("http://example.org", "localhost:32051"), _is_same("null", "localhost")
        (False, False)
    """
    scheme, _, address = origin.lower().partition("://")
    default = f":{_DEFAULT_PORTS.get(scheme)}"
    return bool(address) and address.removesuffix(default) == host.lower().removesuffix(default)


def _is_own_host(host: str, server: tuple[str, int | None] | None) -> bool:
    """Whether a `Host` header names this machine; True for connections that are not on a loopback address.

    A proxy on this machine forwards the name that its client used, with the proxy's port or none; a browser states the port
    that it connected to.
    """
    if server is None or not _is_loopback(server[0]):
        return True
    named = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", host)
    if named is None:
        return False
    name, port = named[1].strip("[]").rstrip(".").lower(), int(named[2] or 80)
    if port != server[1] or not name or name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_address(name) or name == socket.gethostname().lower()


def _is_loopback(address: str) -> bool:
    return _is_address(address) and ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
