"""One thread for work that is done in steps, a step of each client's in turn: texts, scans of a library, waveforms."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from claprt.serve.errors import as_exception
from claprt.serve.scheduling.fair_queue import Client, ClientQueues, FairShares, Steps, settle

T = TypeVar("T")
_CREDIT_S = 0.25


class FairThread:
    """The thread and its queue."""

    def __init__(self, name: str, cores: AbstractContextManager[None]) -> None:
        """Start the thread; `cores` is held during each step."""
        self._cores = cores
        self._change = threading.Condition()
        self._queue: ClientQueues[tuple[Steps[Any], Future[Any]]] = ClientQueues()
        self._shares = FairShares(_CREDIT_S)
        self._ended = self._renewed = False
        self._name = name
        self._thread = self._start()

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        return thread

    def renew(self) -> None:
        """Replace the thread, since runtimes keep memory for each thread that has called them."""
        with self._change:
            before, self._renewed = self._thread, True
            self._change.notify_all()
        before.join()

    def add(self, client: Client, steps: Steps[T]) -> Future[T]:
        """Queue work. Other clients' steps may run between its steps; it stops once its future is done."""
        future: Future[T] = Future()
        with self._change:
            self._queue.add(client, (steps, future))
            self._change.notify_all()
        return future

    def close(self) -> None:
        """End the thread after all queued work."""
        with self._change:
            self._ended = True
            self._change.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: len(self._queue) or self._ended or self._renewed)
                if self._renewed and not self._ended:
                    self._renewed, self._thread = False, self._start()
                    return
                if not len(self._queue):
                    return
            with self._cores:
                self._run_step()

    def _run_step(self) -> None:
        with self._change:
            client = self._shares.least_served(self._queue.clients())
            assert client is not None
            steps, future = self._queue.head(client)
        began = time.perf_counter()
        has_more = not future.done() and self._step(steps, future)
        with self._change:
            self._shares.charge(client, time.perf_counter() - began)
            if not has_more:
                self._queue.take(client)

    def _step(self, steps: Steps[Any], future: Future[Any]) -> bool:
        """Run a step; whether there are more."""
        try:
            next(steps)
        except StopIteration as done:
            settle(future, done.value)
        except BaseException as error:  # noqa: BLE001 - the thread outlives what a step raises
            settle(future, as_exception(error))
        else:
            return True
        return False
