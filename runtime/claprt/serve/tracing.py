"""Spans of OpenTelemetry for requests over HTTP, where its package is installed; nothing where it is not.

A span of a request continues the trace of its `traceparent`. Its children are the stages of each sound, `queue`, `read` and
`tower`, and of each list of texts, `text`. Those of a sound add up to its time and are laid one behind the other, although
a part of the waiting lies between reading and the tower. Where spans go is what `opentelemetry-sdk` is configured for, as
by `opentelemetry-instrument claprt serve`; with `opentelemetry-api` alone they go nowhere.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

from claprt.serve import access

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_ORDER = {"text": "text", "wait": "queue", "read": "read", "tower": "tower", "search": "search"}
"""Stages in the order of their spans, and the names of these."""
_QUIET = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics"})
"""Paths without spans: what asks for them does so every few seconds."""
_current: ContextVar[Span | None] = ContextVar("span", default=None)


class Tracing:
    """Makes the spans of an application."""

    def __init__(self) -> None:
        self._tracer = _tracer()

    def begin(self, scope: Scope, path: str) -> Span | None:
        """Begin the span of a request in this context, whose path without the prefix of a model is `path`, or none."""
        if self._tracer is None or path in _QUIET:
            _current.set(None)
            return None
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind

        parent = propagate.extract(dict(Headers(scope=scope)))
        span = self._tracer.start_span(scope["method"], parent, kind=SpanKind.SERVER)
        _current.set(span)
        return span

    @staticmethod
    def end(span: Span | None, scope: Scope, route: str, status: int, number: str) -> None:
        """End the span of a request.

        Args:
            span: The span, if it has one.
            scope: Of the request.
            route: Name of its endpoint.
            status: HTTP status.
            number: Id of the request.
        """
        if span is None:
            return
        from opentelemetry.trace import StatusCode

        span.update_name(f"{scope['method']} {route}")
        span.set_attributes({
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "claprt.request_id": number,
            **({"claprt.model": name} if (name := access.model()) else {}),
        })  # fmt: skip
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()


def stage(**seconds: float) -> None:
    """Add the spans of stages that end now, with their durations in seconds, to the request of this context."""
    parent = _current.get()
    if parent is None or not parent.is_recording():
        return
    from opentelemetry import trace

    at = time.time_ns() - round(1e9 * sum(seconds.values()))
    tracer, context = trace.get_tracer("claprt"), trace.set_span_in_context(parent)
    for name in (name for name in _ORDER if name in seconds):
        span = tracer.start_span(_ORDER[name], context, start_time=at)
        at += round(1e9 * seconds[name])
        span.end(at)


def _tracer() -> Tracer | None:
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace.get_tracer("claprt")
