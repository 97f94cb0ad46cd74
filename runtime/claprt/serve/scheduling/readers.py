"""Threads that read audio (decode, resample, log-mel), a slice of each input in turn, so that long ones delay nobody.

An input starts as soon as a reader is free, and most end within their first slice. Longer ones continue beside others of
their kind, one at a time, the client that has used the least first (`fair_queue`). An input also gives way to one of a
client that has used much less. While windows wait for the tower, one reader works: it keeps the tower supplied, and two
would only slow down the run. Only so many inputs are in progress, two of one client; one that exceeds its level and finds
no room in the next releases what it holds and starts again later. So memory is bounded by the number of inputs in progress,
whatever clients send. Several models share the readers; beyond the places of a level each model has one of its own, so that
inputs that wait for the tower of another model do not keep it from being read.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from claprt.serve.errors import clear_frames
from claprt.serve.scheduling.fair_queue import Client, ClientQueues, FairShares

CONCURRENCY = 2
"""Inputs that are read at the same moment, of which one may be long."""
_SLICE_S = 0.02
"""Processor time after which a long input gives way to others."""

_CREDIT_S = 0.25
_MUCH_LESS_S = 0.05
"""An input gives way at once to one of a client that has used less than its own by this much."""
_PER_CLIENT = 2
"""Inputs of one client that may be in progress."""


@dataclass(frozen=True, slots=True)
class _Level:
    budget_s: float
    """Processor time that an input may take here before it moves to the next level."""
    places: int
    """Inputs that may be in progress here."""


_LEVELS = (_Level(0.05, 6), _Level(1.0, 6), _Level(float("inf"), 4))


class Cancelled(Exception):  # noqa: N818 - not an error
    """The task has been cancelled."""


class _Restart(Exception):  # noqa: N818 - not an error
    """The next level is full; the task starts again when it has room."""


@dataclass(slots=True, eq=False)
class ReadTask:
    """One audio input to be read."""

    client: Client
    work: Callable[[ReadTask], None]
    """Reads it, from the beginning each time, and calls `Readers.pause` every few milliseconds."""
    is_cancelled: Callable[[], bool]
    on_error: Callable[[BaseException], None]
    """Called with what `work` has raised."""
    has_room: Callable[[], bool] = lambda: True
    """Whether there is room for more windows of the client."""
    model: object = None
    """Whose windows it reads."""
    read_s: float = 0.0
    """Time that it was being read, pauses excluded."""
    level: int = 0
    used_s: float = 0.0
    """Processor time of this attempt."""
    _began_s: float = 0.0
    _began_cpu_s: float = 0.0

    def start_slice(self) -> None:
        """Start the clocks."""
        self._began_s, self._began_cpu_s = time.perf_counter(), time.thread_time()

    def end_slice(self) -> float:
        """Stop the clocks; return the processor time of the slice."""
        took = self.running_s
        self.read_s += time.perf_counter() - self._began_s
        self.used_s += took
        return took

    @property
    def running_s(self) -> float:
        """Processor time of the slice so far."""
        return time.thread_time() - self._began_cpu_s


class Readers:
    """The threads and their queue."""

    def __init__(self, change: threading.Condition, has_windows: Callable[[], bool] = lambda: False) -> None:
        """Prepare the queue; threads start as they are needed.

        Args:
            change: Guards all state here, and is notified of changes; `reschedule` is called under it.
            has_windows: Whether windows wait for a tower that uses the same cores.
        """
        self._change, self._has_windows = change, has_windows
        self._shares = FairShares(_CREDIT_S)
        self._queue: ClientQueues[ReadTask] = ClientQueues()
        self._paused: dict[ReadTask, None] = {}
        self._running: set[ReadTask] = set()
        self._at_level = [Counter[object]() for _ in _LEVELS]
        """Inputs in progress of each model."""
        self._models: set[object] = set()
        self._of: Counter[Client] = Counter()
        self._first: ReadTask | None = None
        """The task whose turn it is."""
        self._next: ReadTask | None = None
        """The same, if a reader is free for it."""
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._ended = False

    def add(self, task: ReadTask) -> None:
        """Queue a task."""
        with self._change:
            self._models.add(task.model)
            self._queue.add(task.client, task)
            self.reschedule()

    def reschedule(self) -> None:
        """Choose the next task after a change, and wake its thread. The caller holds `change`."""
        self._first = self._choose()
        concurrency = 1 if self._has_windows() else CONCURRENCY
        self._next = self._first if len(self._running) < concurrency else None
        if self._next is not None and self._next not in self._paused and not self._idle:
            self._start_thread()
        self._change.notify_all()

    def pause(self, task: ReadTask, *, has_window: bool = False) -> None:
        """Give way to other tasks if it is their turn; called by the work of a task every few milliseconds.

        Args:
            task: The task.
            has_window: Whether it is about to hand over a window, for which there must be room.

        Raises:
            Cancelled: If the task has been cancelled.
        """
        if task.is_cancelled():
            raise Cancelled
        over = task.used_s + task.running_s > _LEVELS[task.level].budget_s
        slice_ended = task.level > 0 and task.running_s >= _SLICE_S
        if not (over or slice_ended or has_window or self._first is not None):
            return
        with self._change:
            full = has_window and not task.has_room()
            if not (full or over or slice_ended or self._gives_way(task)):
                return
            self._shares.charge(task.client, task.end_slice())
            try:
                if over or (full and task.level == 0):
                    self._promote(task)
                self._wait(task)
            finally:
                task.start_slice()

    def close(self) -> None:
        """End the threads after all queued tasks."""
        with self._change:
            self._ended = True
            self.reschedule()
        for thread in self._threads:
            thread.join()

    def _gives_way(self, task: ReadTask) -> bool:
        """Whether a short task of a client that has used much less waits, and may start."""
        other = self._first
        if other is None or other.level or not self._has_place(other):
            return False
        usage = self._shares.usage(task.client) + task.running_s / task.client.weight
        return self._shares.usage(other.client) < usage - _MUCH_LESS_S

    def _promote(self, task: ReadTask) -> None:
        """Move a task to the next level.

        Raises:
            _Restart: If that is full.
        """
        self._at_level[task.level][task.model] -= 1
        task.level += 1
        is_full = not self._has_place(task)
        self._at_level[task.level][task.model] += 1  # undone where the task ends this attempt
        if is_full:
            raise _Restart

    def _has_place(self, task: ReadTask) -> bool:
        """Whether one more input may be in progress at a task's level; the first of a model always may."""
        taken = self._at_level[task.level]
        return taken.total() < _LEVELS[task.level].places or not taken[task.model]

    def _wait(self, task: ReadTask) -> None:
        self._running.discard(task)
        self._paused[task] = None
        self.reschedule()
        self._change.wait_for(lambda: self._next is task or task.is_cancelled())
        del self._paused[task]
        self._running.add(task)
        self.reschedule()
        if task.is_cancelled():
            raise Cancelled

    def _choose(self) -> ReadTask | None:
        """The task whose turn it is."""
        one_is_long = any(task.level for task in self._running)
        ready: dict[Client, ReadTask] = {}
        for client in list(self._queue.clients()):
            while self._queue.count(client) and self._queue.head(client).is_cancelled():
                self._queue.take(client)
            if self._queue.count(client) and self._of[client] < _PER_CLIENT:
                task = self._queue.head(client)
                blocked = not self._has_place(task) or (task.level and one_is_long)
                if not blocked and task.has_room():
                    ready[client] = task
        for task in self._paused:
            if task.has_room() and not (task.level and one_is_long):
                ready[task.client] = task
        client = self._shares.least_served(ready)
        return None if client is None else ready[client]

    def _start_thread(self) -> None:
        most = sum(level.places for level in _LEVELS) + (len(self._models) - 1) * len(_LEVELS)
        if len(self._threads) < most:
            thread = threading.Thread(target=self._run, name=f"claprt-read_{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while self._run_one():  # in a frame of its own, so that an idle thread keeps no audio alive
            pass

    def _run_one(self) -> bool:
        """Run the next task; False at the end."""
        task = self._take_next()
        if task is None:
            return False
        task.used_s = 0.0
        task.start_slice()
        again = False
        try:
            task.work(task)
        except _Restart:
            again = True
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - a thread outlives whatever a decoder raises
            clear_frames(error)
            task.on_error(error)
        with self._change:
            self._shares.charge(task.client, task.end_slice())
            self._at_level[task.level][task.model] -= 1
            self._of -= Counter([task.client])  # also removes clients with nothing in progress
            self._running.discard(task)
            if again:
                self._queue.add(task.client, task, first=True)
            self.reschedule()
        return True

    def _take_next(self) -> ReadTask | None:
        """The next queued task to start; None once the readers have ended and the queue is empty."""
        with self._change:
            self._idle += 1
            self._change.wait_for(lambda: self._can_start() or (self._ended and not len(self._queue)))
            self._idle -= 1
            if not self._can_start():
                return None
            task = self._next
            assert task is not None
            self._queue.take(task.client)
            self._at_level[task.level][task.model] += 1
            self._of[task.client] += 1
            self._running.add(task)
            self.reschedule()
            return task

    def _can_start(self) -> bool:
        return self._next is not None and self._next not in self._paused
