"""Request log: one line for each request, rejected ones included, without bodies and without control characters.

2026-11-26T01:12:03Z POST /classify 200 41.0 ms in=88244 out=1203 id=5f0c… text=3.7 read=15.2 wait=0.4 tower=18.9

The stages are also what the response header `Server-Timing` states. Where models have names, `model=` is behind the id.
"""

from __future__ import annotations

import logging
import sys
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

log = logging.getLogger("claprt.serve.access")
_LONGEST_PATH = 200


@dataclass(slots=True)
class _Record:
    """What is noted of a request while it is answered, by whatever task does so."""

    stages: dict[str, float] = field(default_factory=dict[str, float])
    model: str = ""


_record: ContextVar[_Record | None] = ContextVar("record", default=None)


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
    """Begin a request: what is noted in this context from here on belongs to it."""
    _record.set(_Record())


def stage(**seconds: float) -> None:
    """Add the durations of stages of the request, in seconds."""
    record = _record.get()
    if record is not None:
        for name, took in seconds.items():
            record.stages[name] = record.stages.get(name, 0.0) + took


def stages() -> dict[str, float]:
    """Stages of the request of this context so far, and their durations in seconds."""
    record = _record.get()
    return {} if record is None else record.stages


def note_model(name: str) -> None:
    """Note which model the request is for; an empty name where models have none."""
    record = _record.get()
    if record is not None:
        record.model = name


def model() -> str:
    """Name of the model that the request of this context is for, or an empty string."""
    record = _record.get()
    return "" if record is None else record.model


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
        more += f" model={model()}" if model() else ""
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
