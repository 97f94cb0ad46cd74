"""Who may come in: requests that were accepted and not answered yet, counted and bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from claprt.serve.errors import OverloadedError, ShuttingDownError
from claprt.serve.limits import Limits
from claprt.serve.scheduling.turns import whose


class Crowd:
    """Counts who is there, and tells when nobody is. Used from the event loop alone."""

    def __init__(self) -> None:
        self.number = 0
        self._gone = asyncio.Event()
        self._gone.set()

    @contextmanager
    def joined(self) -> Generator[None]:
        """One more, as long as the block lasts."""
        self.number += 1
        self._gone.clear()
        try:
            yield
        finally:
            self.number -= 1
            if not self.number:
                self._gone.set()

    async def gone(self) -> None:
        """Returns once nobody is there."""
        await self._gone.wait()


class Places:
    """Accepts requests as long as there is room, and none once the service ends. Used from the event loop alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._crowd = Crowd()
        self.closing = False
        """Whether the service ends."""
        self.bytes = 0
        """What those requests brought."""
        self.refused: Counter[str] = Counter(dict.fromkeys(("overloaded", "shutting_down", "token", "too_large"), 0))
        """Requests that were turned away, by reason."""

    @property
    def waiting(self) -> int:
        """Requests that were accepted and are not answered yet."""
        return self._crowd.number

    @contextmanager
    def taken(self, size: int = 0) -> Generator[None]:
        """A place for a request of so many bytes, for as long as it is worked on.

        Raises:
            ShuttingDownError: the service ends.
            OverloadedError: too many requests wait already.
        """
        self._admit(size)
        whose().brings(size)
        self.bytes += size
        try:
            with self._crowd.joined():
                yield
        finally:
            self.bytes -= size

    def _admit(self, size: int) -> None:
        if self.closing:
            self.refused["shutting_down"] += 1
            raise ShuttingDownError
        full = self.waiting >= self._limits.waiting
        if full or (self.waiting and self.bytes + size > self._limits.waiting_bytes):
            self.refused["overloaded"] += 1
            raise OverloadedError(f"The service is overloaded: {self.waiting} requests wait. Ask again a little later.")

    async def emptied(self) -> None:
        """Returns once every accepted request has been worked on."""
        await self._crowd.gone()
