"""One thread that embeds texts, a batch of each request in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from claprt.serve.scheduling.turns import Shares, Steps, Turn, Waiting, settle

T = TypeVar("T")
_CREDIT_S = 0.25


class Texts:
    """The thread, and what waits for it."""

    def __init__(self, explained: Callable[[BaseException], BaseException], cores: AbstractContextManager[None]) -> None:
        """Starts the thread.

        Args:
            explained: turns what is raised into what whoever waits is told.
            cores: held for each step.
        """
        self._explained, self._cores = explained, cores
        self._change = threading.Condition()
        self._waiting: Waiting[tuple[Steps[Any], Future[Any]]] = Waiting()
        self._shares = Shares(_CREDIT_S)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="claprt-text", daemon=True)
        self._thread.start()

    def add(self, turn: Turn, steps: Steps[T]) -> Future[T]:
        """Lets some work wait; between its steps others have their turn, and it is left once its future is done."""
        future: Future[T] = Future()
        with self._change:
            self._waiting.add(turn, (steps, future))
            self._change.notify_all()
        return future

    def give_up(self, error: BaseException) -> None:
        """Answers everything that waits with an error."""
        with self._change:
            for _, future in self._waiting:
                settle(future, error)

    def close(self) -> None:
        """Ends the thread, after all that waits."""
        with self._change:
            self._ended = True
            self._change.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: len(self._waiting) or self._ended)
                if not len(self._waiting):
                    return
            with self._cores:
                self._run_step()

    def _run_step(self) -> None:
        with self._change:
            turn = self._shares.first(self._waiting.turns())
            assert turn is not None
            steps, future = self._waiting.head(turn)
        began = time.perf_counter()
        goes_on = not future.done() and self._step(steps, future)
        with self._change:
            self._shares.charge(turn, time.perf_counter() - began)
            if not goes_on:
                self._waiting.take(turn)

    def _step(self, steps: Steps[Any], future: Future[Any]) -> bool:
        """Whether there are more."""
        try:
            next(steps)
        except StopIteration as done:
            settle(future, done.value)
        except BaseException as error:  # noqa: BLE001 - the thread outlives what a tokenizer raises
            settle(future, self._explained(error))
        else:
            return True
        return False
