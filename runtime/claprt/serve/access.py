"""Request log: one line for each request, rejected ones included, without bodies and without control characters.

2026-11-26T01:12:03Z POST /classify 200 41.0 ms in=88244 out=1203 id=5f0c… text=3.7 read=15.2 wait=0.4 tower=18.9

The stages are also what the response header `Server-Timing` states.
"""

from __future__ import annotations

import logging
import sys
import time
from contextvars import ContextVar

log = logging.getLogger("claprt.serve.access")
_LONGEST_PATH = 200
_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


def switch_on(worker: int | None = None) -> None:
    """Write the log to standard error from now on, with the number of this worker process if there are several."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s {'' if worker is None else f'worker={worker} '}%(message)s", "%Y-%m-%dT%H:%M:%SZ")
    )
    assert handler.formatter is not None
    handler.formatter.converter = time.gmtime
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def begin() -> None:
    """Begin a request: the stages noted in this context from here on belong to it."""
    _stages.set({})


def stage(**seconds: float) -> None:
    """Add the durations of stages of the request, in seconds."""
    stages = _stages.get()
    if stages is not None:
        for name, took in seconds.items():
            stages[name] = stages.get(name, 0.0) + took


def stages() -> dict[str, float]:
    """Stages of the request of this context so far, and their durations in seconds."""
    return _stages.get() or {}


def request(
    method: str, path: str, status: int, seconds: float, *, received: int = 0, sent: int = 0, number: str = ""
) -> None:
    """Write the line of a request.

    Args:
        method: HTTP method; `WS` for a message or a handshake of a WebSocket, `-` for an invalid request.
        path: Path without the query, as it was sent.
        status: HTTP status, for the reply of a WebSocket the equivalent one; 499 if the client disconnected.
        seconds: From the head of the request, or the whole message, to the end of the reply.
        received: Bytes of the body or message.
        sent: Bytes of the reply.
        number: Id of the request; empty if it has none.
    """
    if log.isEnabledFor(logging.INFO):
        more = f" id={_visible(number)}" if number else ""
        more += "".join(f" {name}={1000 * took:.1f}" for name, took in stages().items())
        log.info(
            "%s", f"{_visible(method)} {_visible(path)} {status} {1000 * seconds:.1f} ms in={received} out={sent}{more}"
        )


def _visible(text: str) -> str:
    """Percent-encode a text to visible ASCII.

    Example:
        >>> _visible("/a b"), _visible("/a" + chr(10) + "b"), _visible("")
        ('/a%20b', '/a%0Ab', '-')
    """
    encoded = text[:_LONGEST_PATH].encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"%{byte:02X}" for byte in encoded) or "-"
