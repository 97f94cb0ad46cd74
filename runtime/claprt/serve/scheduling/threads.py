"""Threads that all models of a process share: readers of audio, a pool for short work, and the turn at the processor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from claprt.errors import ClaprtError
from claprt.serve.errors import as_exception
from claprt.serve.scheduling.audio_tower import AudioTower
from claprt.serve.scheduling.fair_queue import FairLock, settle
from claprt.serve.scheduling.readers import Readers

T = TypeVar("T")


class Threads:
    """The threads, and what work on them is not finished."""

    def __init__(self) -> None:
        self.change = threading.Condition(threading.RLock())
        """Guards the readers and the queues of all audio towers."""
        self.cores = FairLock()
        """Held during each run of a tower on the processor, since a run uses all cores."""
        self.on_cores: list[AudioTower] = []
        """Audio towers that run on the processor; one reader works while windows wait for one of them."""
        self.readers = Readers(self.change, lambda: any(tower.queued for tower in self.on_cores))
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="claprt-work")
        self.unfinished: set[Future[Any]] = set()
        """Results that requests wait for."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run a short piece of work that would still block the event loop for too long, in the caller's context."""

        def run() -> T:
            try:
                return work()
            except Exception:
                raise
            except BaseException as error:  # would end the event loop
                raise as_exception(error) from error

        return await asyncio.get_running_loop().run_in_executor(self.pool, copy_context().run, run)

    def give_up(self, error: ClaprtError) -> None:
        """End all unfinished work with an error."""
        for done in list(self.unfinished):
            settle(done, error)
        with self.change:
            self.readers.reschedule()

    def close(self) -> None:
        """Finish all work, then end the threads. Nothing may be submitted from here on; may be called twice."""
        self.pool.shutdown()
        self.readers.close()
