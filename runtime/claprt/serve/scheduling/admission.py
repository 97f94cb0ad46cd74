"""Admission control: limits on concurrent requests and their bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

from claprt.serve.errors import OverloadedError, ShuttingDownError
from claprt.serve.limits import Limits
from claprt.serve.scheduling.fair_queue import current_client


class ActiveCounter:
    """Counts active requests or connections, and signals when idle. For the event loop's thread only."""

    def __init__(self) -> None:
        self.count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def track(self) -> Generator[None]:
        """Count one more inside the block."""
        self.count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.count -= 1
            if not self.count:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until the count is 0."""
        await self._idle.wait()


class AdmissionControl:
    """Admits requests within the limits, and none during shutdown. For the event loop's thread only."""

    def __init__(self, limits: Limits, on_reject: Callable[[str], None] = lambda _: None) -> None:
        """`on_reject` is called with the reason of each rejection."""
        self._limits, self._on_reject = limits, on_reject
        self._active = ActiveCounter()
        self.closing = False
        """Whether the service is shutting down."""
        self.bytes = 0
        """Bytes of the admitted requests that are not answered yet."""

    @property
    def waiting(self) -> int:
        """Admitted requests that are not answered yet."""
        return self._active.count

    @contextmanager
    def admit(self, size: int = 0) -> Generator[None]:
        """Admit a request of `size` bytes, which is answered inside the block.

        Raises:
            ShuttingDownError: If the service is shutting down.
            OverloadedError: If there are too many requests already.
        """
        if self.closing:
            self._on_reject("shutting_down")
            raise ShuttingDownError
        full = self.waiting >= self._limits.waiting
        if full or (self.waiting and self.bytes + size > self._limits.waiting_bytes):
            self._on_reject("overloaded")
            raise OverloadedError(f"The service is overloaded: {self.waiting} requests wait. Try again a little later.")
        current_client().weigh(size)
        self.bytes += size
        try:
            with self._active.track():
                yield
        finally:
            self.bytes -= size

    async def wait_idle(self) -> None:
        """Wait until every admitted request is answered."""
        await self._active.wait_idle()
