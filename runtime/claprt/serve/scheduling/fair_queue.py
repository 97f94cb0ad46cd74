"""Fair queueing among clients that wait for the same resource: a reader, the audio tower, the text tower.

The client that has used the least so far, relative to what it sends, comes next. A new client starts level with the least
served of those that wait or were served within the last second; one that was served before keeps what it has used. So a
client with little work is served soon after it arrives, whatever others have queued, and no client waits for ever.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterable, KeysView
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work that can be interrupted between its steps, and ends with a result."""

_REFERENCE_BYTES = 1 << 16
_LEAST, _MOST = 1 / 16, 4.0
_RECENT_S = 1.0


class Client:
    """One client, in all queues: a connection where there is one, else a request."""

    weight: float = 1.0
    """Its usage is divided by this: who sends more may use more, so that few bytes never buy much work."""

    def weigh(self, size: int) -> None:
        """Weigh it by the bytes of its latest request, from 4 KB to 256 KB; a second of float32 at 16 kHz has 64."""
        self.weight = min(max(size / _REFERENCE_BYTES, _LEAST), _MOST)


_current: ContextVar[Client | None] = ContextVar("client", default=None)


def set_current_client(client: Client) -> None:
    """Set the client for which work in this context is done."""
    _current.set(client)


def current_client() -> Client:
    """The client for which work in this context is done; a new one where none was set."""
    return _current.get() or Client()


class FairShares:
    """How much of one resource each client has used. Not thread-safe."""

    def __init__(self, credit: float) -> None:
        """`credit` is how far the usage of a client that was idle may be below that of the others."""
        self._credit = credit
        self._usage: weakref.WeakKeyDictionary[Client, float] = weakref.WeakKeyDictionary()
        self._served: weakref.WeakKeyDictionary[Client, float] = weakref.WeakKeyDictionary()
        self._least = 0.0

    def usage(self, client: Client) -> float:
        """What a client has used; for a new one, the least of the clients that are active."""
        usage = max(self._usage.get(client, self._least), self._least - self._credit)
        self._usage[client] = usage
        return usage

    def charge(self, client: Client, cost: float) -> None:
        """Add to what a client has used."""
        self._usage[client] = self.usage(client) + cost / client.weight
        self._served[client] = time.monotonic()

    def least_served(self, clients: Iterable[Client]) -> Client | None:
        """The client that has used the least, the earlier one of equals; None if there are none."""
        client = min(clients, key=self.usage, default=None)
        if client is not None:
            self._least = max(self._least, min(map(self.usage, (client, *self._recently_served()))))
        return client

    def _recently_served(self) -> list[Client]:
        since = time.monotonic() - _RECENT_S
        recent = [client for client, served in self._served.items() if served >= since]
        if len(recent) < len(self._served):
            self._served = weakref.WeakKeyDictionary({client: self._served[client] for client in recent})
        return recent


class ClientQueues(Generic[T]):
    """A queue for each client, in the order of arrival. Not thread-safe.

    Example:
        >>> queues, one, other = ClientQueues[str](), Client(), Client()
        >>> for client, item in ((one, "a"), (one, "b"), (other, "c")):
        ...     queues.add(client, item)
        >>> len(queues), queues.count(one), queues.head(one), queues.take(other), list(queues.clients())[0] is one
        (3, 2, 'a', 'c', True)
    """

    def __init__(self) -> None:
        self._queues: dict[Client, deque[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def clients(self) -> KeysView[Client]:
        """Clients whose queues are not empty."""
        return self._queues.keys()

    def count(self, client: Client) -> int:
        """Items in a client's queue."""
        return len(self._queues.get(client, ()))

    def add(self, client: Client, item: T, *, first: bool = False) -> None:
        """Add an item at the end, or the beginning, of a client's queue."""
        queue = self._queues.setdefault(client, deque())
        (queue.appendleft if first else queue.append)(item)
        self._count += 1

    def head(self, client: Client) -> T:
        """The first item of a client."""
        return self._queues[client][0]

    def take(self, client: Client) -> T:
        """Remove the first item of a client."""
        queue = self._queues[client]
        item = queue.popleft()
        self._count -= 1
        if not queue:
            del self._queues[client]
        return item


class FairLock:
    """A lock in the order of requests; `threading.Lock` may go back to the thread that has just released it."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._next = self._serving = 0

    @property
    def waiting(self) -> int:
        """Threads that wait for it."""
        return max(0, self._next - self._serving - 1)

    def __enter__(self) -> None:
        with self._change:
            mine, self._next = self._next, self._next + 1
            self._change.wait_for(lambda: self._serving == mine)

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._serving += 1
            self._change.notify_all()


def settle(future: Future[T], outcome: T | BaseException) -> None:
    """Set the result or the error of a future, unless it is done or cancelled."""
    with suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
