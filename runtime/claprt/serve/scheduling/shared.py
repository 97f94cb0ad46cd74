"""What the models of one process share: limits, admission, metrics, threads, and the life cycle.

starting ──▶ ready ──▶ shutting down ──▶ ended
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum

from claprt.serve.errors import ShuttingDownError
from claprt.serve.limits import Limits
from claprt.serve.metrics import Metrics
from claprt.serve.scheduling.admission import ActiveCounter, AdmissionControl
from claprt.serve.scheduling.threads import Threads

_CLOSE_S = 5.0
"""Time for WebSockets to close."""
_REJECT_S = 2.0
"""Time to send the errors of requests that are given up."""


class State(StrEnum):
    """State of the service."""

    STARTING = "starting"
    READY = "ready"
    SHUTTING_DOWN = "shutting down"
    ENDED = "ended"


class Shared:
    """What there is once in a process, however many models it serves."""

    def __init__(self, limits: Limits, *, by_model: bool = False) -> None:
        """Prepare what models share; `by_model` says whether metrics are counted by the names of models."""
        self.limits = limits
        self.state = State.STARTING
        self.metrics = Metrics(by_model=by_model)
        self.admission = AdmissionControl(limits, self.metrics.reject)
        self.threads = Threads()
        self.open_websockets = ActiveCounter()
        self.streams = set[object]()
        """Streams that have begun and whose connections are open."""
        self.closing = asyncio.Event()
        """Set when all admitted requests are answered and WebSockets are to close."""
        self.worker: tuple[int, int] | None = None
        """Number of this process and of all worker processes, where there are several."""
        gauge = self.metrics.add_gauge
        gauge("claprt_waiting", "Requests that are accepted and not answered.", lambda: self.admission.waiting)
        gauge("claprt_waiting_bytes", "What those requests brought.", lambda: self.admission.bytes)

    async def drain(self, timeout_s: float = 30.0) -> int:
        """Reject new requests, answer the admitted ones, then close every WebSocket. May be called twice.

        Requests that are not answered in time get an error. Call it before the server closes connections by itself.

        Returns:
            How many requests were not answered in time.
        """
        self.admission.closing = True
        self.state = State.SHUTTING_DOWN if self.state is not State.ENDED else self.state
        late = 0
        try:
            await asyncio.wait_for(self.admission.wait_idle(), timeout_s)
        except TimeoutError:
            late = self.admission.waiting
            self.threads.give_up(ShuttingDownError())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.admission.wait_idle(), _REJECT_S)
        self.closing.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.open_websockets.wait_idle(), _CLOSE_S)
        return late
