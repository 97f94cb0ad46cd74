"""ASGI middleware that checks, counts and logs every HTTP request.

Plain ASGI, so that endpoints use the connection itself and notice a client that disconnects. Requests are rejected here
before their body is read: without the token, without a stated length, too large, or during shutdown.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claprt.serve import access
from claprt.serve.errors import ShuttingDownError, error_response, response_to, to_client_error
from claprt.serve.request_ids import HEADER, begin_id, server_timing, stated_id
from claprt.serve.scheduling.fair_queue import Client, set_current_client
from claprt.serve.scheduling.models import Models
from claprt.serve.tracing import Tracing

ALWAYS = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no token and are answered during shutdown."""
_CLIENT_CLOSED = 499
"""Status that is counted where the client disconnected; it is never sent."""
_CLOSE = {"connection": "close"}  # the body that is not read would be taken for the next request


def is_authorized(headers: Mapping[str, str], token: str | None) -> bool:
    """Whether a request carries the bearer token; True if the service has none."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    is_right = hmac.compare_digest(credentials.strip(" ").encode(), (token or "").encode())
    return token is None or (scheme.lower() == "bearer" and is_right)


class RequestGuard:
    """Rejects requests before their body is read, and turns uncaught exceptions into error responses."""

    def __init__(
        self, app: ASGIApp, models: Models, token: str | None, paths: frozenset[str], public: frozenset[str]
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            models: The models that are served; requests are counted under their paths without the prefix of a model.
            token: Bearer token that requests need, if any.
            paths: Paths with an endpoint; all others are counted as one.
            public: Paths that need no token.
        """
        self._app, self._models, self._shared, self._token = app, models, models.shared, token
        self._paths, self._public = paths, public | ALWAYS
        self._tracing = Tracing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; anything else passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent = time.perf_counter(), 0, 0
        state = scope.setdefault("state", {})
        state["began"] = began
        set_current_client(state.get("client") or Client())
        access.begin()
        name, path = self._models.split(scope["path"])
        access.note_model(name)
        number = begin_id(stated_id(scope["headers"]))
        span = self._tracing.begin(scope, path)

        async def counting_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER.encode(), number.encode())]
                if timing := server_timing(access.stages(), time.perf_counter() - began):
                    MutableHeaders(scope=message).setdefault("server-timing", timing)
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await (self._reject(scope, path) or self._app)(scope, receive, counting_send)
        except ClientDisconnect:
            status = status or _CLIENT_CLOSED
        except Exception as error:
            if status:
                raise  # the response has begun, so the server has to abort it
            await response_to(to_client_error(error))(scope, receive, counting_send)
        finally:
            endpoint = state.get("endpoint") or (path if path in self._paths else "other")
            took = time.perf_counter() - began
            self._shared.metrics.request(endpoint, status or 500, took, access.model())
            self._tracing.end(span, scope, endpoint, status or 500, number)
            received = _stated_length(scope)
            access.request(scope["method"], scope["path"], status or 500, took, received=received, sent=sent, number=number)

    def _reject(self, scope: Scope, path: str) -> JSONResponse | None:
        """The response to a request that is rejected, or None; `path` is without the prefix of a model."""
        headers, limit, reject = Headers(scope=scope), self._shared.limits.message_bytes, self._shared.metrics.reject
        if path not in self._public and not is_authorized(headers, self._token):
            reject("token")
            return error_response(401, "A bearer token is needed.", headers={"www-authenticate": "Bearer", **_CLOSE})
        if scope["method"] != "POST":
            return None  # no body is read
        if self._shared.admission.closing:
            reject("shutting_down")
            return response_to(ShuttingDownError(), _CLOSE)
        length = headers.get("content-length")
        if length is None:
            return error_response(411, "State the length of the request (Content-Length).", headers=_CLOSE)
        if not (length.isascii() and length.isdigit()) or int(length) > limit:
            reject("too_large")
            return error_response(413, f"A request may have up to {limit} bytes.", headers=_CLOSE)
        return None


def _stated_length(scope: Scope) -> int:
    """Bytes of the body, as the request states them."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
