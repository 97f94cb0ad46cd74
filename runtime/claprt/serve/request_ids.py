"""Ids of HTTP requests and the header with their durations, so that a client and the log speak of the same request.

A client's own `X-Request-Id` is used if it is up to 128 letters, digits and `-._:/+=@~`; any other is replaced. The id is
in the response, the access log and beside tracebacks.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from contextvars import ContextVar

HEADER = "x-request-id"
_NAME = HEADER.encode()
_VALID = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}")
_NAMES = {"wait": "queue"}
"""Names of stages in the header, where they differ from those of the access log."""
_current: ContextVar[str] = ContextVar("request_id", default="")


def stated_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The id that a request states; of ASGI's headers, whose names are in lower case."""
    return next((value.decode("latin-1") for name, value in headers if name == _NAME), None)


def begin_id(stated: str | None) -> str:
    """Choose the id of the request that begins in this context.

    Example:
        >>> begin_id("upload-7"), len(begin_id("two words")), len(begin_id(None))
        ('upload-7', 32, 32)
    """
    number = stated if stated is not None and _VALID.fullmatch(stated) else secrets.token_hex(16)
    _current.set(number)
    return number


def current_id() -> str:
    """Id of the request of this context, or an empty string."""
    return _current.get()


def server_timing(stages: Mapping[str, float], total_s: float) -> str:
    """Write the durations of a request as a `Server-Timing` header; empty if it had no stages.

    Args:
        stages: Durations in seconds; added up where a request has several sounds.
        total_s: From the head of the request to that of the response.

    Example:
        >>> server_timing({"read": 0.0152, "wait": 0.0004}, 0.041)
        'read;dur=15.200, queue;dur=0.400, total;dur=41.000'
    """
    if not stages:
        return ""
    named = {_NAMES.get(name, name): took for name, took in stages.items()} | {"total": total_s}
    return ", ".join(f"{name};dur={1000 * took:.3f}" for name, took in named.items())
