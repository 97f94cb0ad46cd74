"""Which client comes next where several wait for the same thing: a reader, the audio tower, the text tower.

Whoever has had least so far, for what it sends. A new client starts level with the one that has had least of those that
wait; one that was served before keeps what it has had. So a client that asks for little is served within a turn of its
arrival, whatever others ask for, and nobody is held up for ever.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator, KeysView
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


_REFERENCE_BYTES = 1 << 16
_LEAST, _MOST = 1 / 16, 4.0


class Turn:
    """One client, in every queue that it stands in: a connection where there is one, else a request."""

    weight: float = 1.0
    """What it has is divided by this: who sends more may have more, so that nobody has much for few bytes."""

    def brings(self, size: int) -> None:
        """Weighs it by the bytes of its latest request, from 4 KB to 256 KB; a second of float32 at 16 kHz has 64."""
        self.weight = min(max(size / _REFERENCE_BYTES, _LEAST), _MOST)


_current: ContextVar[Turn | None] = ContextVar("turn", default=None)


def stand_as(turn: Turn) -> None:
    """Says for whom the work in this context is done."""
    _current.set(turn)


def whose() -> Turn:
    """For whom the work in this context is done; somebody new where nobody has said so."""
    return _current.get() or Turn()


class Shares:
    """How much each client has had of one thing. Not safe for threads by itself."""

    def __init__(self, credit: float) -> None:
        """`credit` is how much less than others a client may be held to have had, for as long as it asked for nothing."""
        self._credit = credit
        self._had: weakref.WeakKeyDictionary[Turn, float] = weakref.WeakKeyDictionary()
        self._least = 0.0

    def had(self, turn: Turn) -> float:
        """What a client has had; a new one as much as whoever was served last."""
        had = max(self._had.get(turn, self._least), self._least - self._credit)
        self._had[turn] = had
        return had

    def charge(self, turn: Turn, cost: float) -> None:
        """Adds to what a client has had."""
        self._had[turn] = self.had(turn) + cost / turn.weight

    def first(self, turns: Iterable[Turn]) -> Turn | None:
        """The one that has had least, the earlier one of equals; None if there are none."""
        turn = min(turns, key=self.had, default=None)
        if turn is not None:
            self._least = max(self._least, self.had(turn))
        return turn


class Waiting(Generic[T]):
    """What waits, by client, in the order of arrival. Not safe for threads by itself.

    Example:
        >>> waiting, one, other = Waiting[str](), Turn(), Turn()
        >>> for turn, item in ((one, "a"), (one, "b"), (other, "c")):
        ...     waiting.add(turn, item)
        >>> len(waiting), waiting.of(one), list(waiting), waiting.take(other), list(waiting.turns())[0] is one
        (3, 2, ['a', 'b', 'c'], 'c', True)
    """

    def __init__(self) -> None:
        self._rows: dict[Turn, deque[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for row in self._rows.values():
            yield from row

    def turns(self) -> KeysView[Turn]:
        """Those for whom something waits."""
        return self._rows.keys()

    def of(self, turn: Turn) -> int:
        """How much waits for one of them."""
        return len(self._rows.get(turn, ()))

    def add(self, turn: Turn, item: T, *, first: bool = False) -> None:
        """Adds something behind, or before, what waits for the same client."""
        row = self._rows.setdefault(turn, deque())
        (row.appendleft if first else row.append)(item)
        self._count += 1

    def head(self, turn: Turn) -> T:
        """What comes next for a client."""
        return self._rows[turn][0]

    def take(self, turn: Turn) -> T:
        """Removes what comes next for a client."""
        row = self._rows[turn]
        item = row.popleft()
        self._count -= 1
        if not row:
            del self._rows[turn]
        return item


class FairLock:
    """A lock that goes to whoever has waited longest; a plain one goes back to a thread that asks again at once."""

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
    """Gives a future its result or its error, unless nobody waits for it any longer."""
    with suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


Steps = Generator[None, None, T]
"""Work that can be left between its steps, and ends with a result."""
