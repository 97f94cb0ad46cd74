"""The door of the application: what every HTTP request has to pass, and where every one is counted.

Plain ASGI, so that endpoints see the connection itself and notice a client that leaves. Requests are refused here before
their body is read: without the token, without a stated length, too large, or while the service ends.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claprt.serve import access
from claprt.serve.errors import ShuttingDownError, explained, refusal, refusal_of
from claprt.serve.scheduling.service import Service
from claprt.serve.scheduling.turns import Turn, stand_as

ALWAYS = frozenset({"/healthz", "/readyz"})
"""Paths that need no token, and are answered to the end."""
_GONE = 499
"""Status that is counted where the client left; it is never sent."""
_CLOSE = {"connection": "close"}  # the body that is not read would be taken for the next request


def allowed(headers: Mapping[str, str], token: str | None) -> bool:
    """Whether a request may be answered: always where no token is asked for."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    is_right = hmac.compare_digest(given.strip(" ").encode(), (token or "").encode())
    return token is None or (scheme.lower() == "bearer" and is_right)


class Gate:
    """Lets requests in, refuses others, and turns what nobody else has caught into a sentence."""

    def __init__(
        self, app: ASGIApp, service: Service, token: str | None, paths: frozenset[str], public: frozenset[str]
    ) -> None:
        """`paths` are those that there are (others are counted as one), `public` those that need no token."""
        self._app, self._service, self._token = app, service, token
        self._paths, self._public = paths, public | ALWAYS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or anything else that is passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent = time.perf_counter(), 0, 0
        state = scope.setdefault("state", {})
        state["began"] = began
        stand_as(state.get("turn") or Turn())
        access.begin()

        async def noted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await (self._refused(scope) or self._app)(scope, receive, noted)
        except ClientDisconnect:
            status = status or _GONE
        except Exception as error:
            if status:
                raise  # the reply has begun, so the server has to break it off
            await refusal_of(explained(error))(scope, receive, noted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            took = time.perf_counter() - began
            self._service.metrics.request(path, status or 500, took)
            access.request(scope["method"], scope["path"], status or 500, took, received=_stated_length(scope), sent=sent)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        """The reply to a request that does not get in."""
        path, headers, limit = scope["path"], Headers(scope=scope), self._service.limits.message_bytes
        if path not in self._public and not allowed(headers, self._token):
            self._service.places.refused["token"] += 1
            return refusal(401, "A bearer token is needed.", headers={"www-authenticate": "Bearer", **_CLOSE})
        if scope["method"] != "POST":
            return None  # nothing else is read
        if self._service.places.closing:
            self._service.places.refused["shutting_down"] += 1
            reply = refusal_of(ShuttingDownError())
            reply.headers.update(_CLOSE)
            return reply
        length = headers.get("content-length")
        if length is None:
            return refusal(411, "State the length of the request (Content-Length).", headers=_CLOSE)
        if not (length.isascii() and length.isdigit()) or int(length) > limit:
            self._service.places.refused["too_large"] += 1
            return refusal(413, f"A request may have up to {limit} bytes.", headers=_CLOSE)
        return None


def _stated_length(scope: Scope) -> int:
    """Bytes of the body, as the request states them."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
