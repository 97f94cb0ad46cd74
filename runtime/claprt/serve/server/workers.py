"""Several worker processes behind one port: started, replaced where one ends, told to end together.

    supervisor: opens the port, answers nobody ──┬──▶ worker 1: model, service, accepts from the port
                                                 └──▶ worker 2: the same

All workers accept from the same listening sockets, one connection at a time, so one that is busy accepts fewer, and what
waits in the port while a worker is replaced is accepted by another. uvicorn has such a supervisor; it starts uvicorn's own
server and pings workers, which a machine that is full answers late. This one waits for the end of a process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from claprt.errors import OptionError
from claprt.serve.metrics import MULTIPROCESS_VARIABLE
from claprt.serve.server.signals import handled_signals
from claprt.system.terminal import say

MOST = 64
_LOOK_S = 0.2
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process is given."""

    number: int
    """From 1."""
    of: int
    sockets: tuple[socket.socket, ...]
    """Listening sockets that all workers share."""
    pipe: Connection
    """To the supervisor: a line once the worker serves."""

    def serves(self, line: str) -> None:
        """Tell the supervisor that this worker serves, in a line for people."""
        self.pipe.send(line)


Target = Callable[[Worker], None]


def check_workers(count: int) -> None:
    """Check a number of workers.

    Raises:
        OptionError: If there are none, or too many.
    """
    if not 1 <= count <= MOST:
        raise OptionError(f"workers={count} is not possible; give 1 to {MOST}.")


class Supervisor:
    """Starts workers and keeps them running."""

    def __init__(self, count: int, sockets: Sequence[socket.socket], target: Target, *, shutdown_s: float) -> None:
        """Prepare the workers; `run` starts them.

        Args:
            count: Number of workers.
            sockets: Listening sockets.
            target: Run in each worker process; importable by name, with what it holds.
            shutdown_s: Seconds after which workers that have not ended at shutdown are killed.
        """
        self._count, self._sockets, self._target, self._shutdown_s = count, tuple(sockets), target, shutdown_s
        self._running: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._next: dict[int, float] = dict.fromkeys(range(1, count + 1), 0.0)
        """When a worker that is not running is started."""
        self._failures = 0
        """Workers that ended before they served, since one last did."""
        self._serving: set[int] = set()
        self._begun = self._told = False

    def run(self, ready: Callable[[str], None]) -> int:
        """Run until SIGTERM or SIGINT; the exit status.

        Args:
            ready: Called with the line of a worker once all workers serve.
        """
        with _metrics_folder() as folder, self._signals():
            while not self._told:
                self._start()
                ends = [process.sentinel for process, _ in self._running.values()]
                lines = [pipe for number, (_, pipe) in self._running.items() if number not in self._serving]
                wait([*ends, *lines], _LOOK_S)
                self._hear(ready)
                if not self._look(folder):
                    self._told = True
                    self._end()
                    return 1
            return self._end()

    def _start(self) -> None:
        for number in [number for number, when in self._next.items() if when <= time.monotonic()]:
            del self._next[number]
            here, there = multiprocessing.Pipe(duplex=False)
            worker = Worker(number, self._count, self._sockets, there)
            process = multiprocessing.get_context("spawn").Process(
                target=_run_worker, args=(self._target, worker), name=f"claprt-worker-{number}"
            )
            process.start()
            there.close()
            self._running[number] = process, here

    def _hear(self, ready: Callable[[str], None]) -> None:
        for number, (_, pipe) in self._running.items():
            with contextlib.suppress(EOFError, OSError):
                if number not in self._serving and pipe.poll():
                    line = str(pipe.recv())
                    self._serving.add(number)
                    self._failures = 0
                    if len(self._serving) == self._count and not self._begun:
                        self._begun = True
                        ready(line)

    def _look(self, folder: str) -> bool:
        """Replace workers that have ended; False if one could not even begin."""
        for number, (process, pipe) in list(self._running.items()):
            if process.is_alive():
                continue
            pipe.close()
            del self._running[number]
            mark_process_dead(process.pid, folder)  # its gauges; its counters stay
            served = number in self._serving
            self._serving.discard(number)
            if not self._begun:
                if process.exitcode != 1:  # with which it ends where it has said why
                    say(f"claprt: worker {number} ended with {process.exitcode} before it served.")
                return False
            self._failures += not served
            pause = 0.0 if served else min(_LONGEST_PAUSE_S, 2.0 ** min(self._failures, 10))
            self._next[number] = time.monotonic() + pause
            when = f" in {pause:g} s" if pause else ""
            say(f"warning: worker {number} ended with {process.exitcode}; another is started{when}.")
        return True

    def _end(self) -> int:
        """Tell all workers to end, and wait; 0 if all did so by themselves."""
        for one in self._sockets:
            one.close()  # once the workers have closed theirs nobody would accept what comes
        for process, _ in self._running.values():
            process.terminate()
        until, statuses = time.monotonic() + self._shutdown_s, list[int]()
        for process, pipe in self._running.values():
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()
            starting = process.exitcode == -signal.SIGTERM  # it had not come as far as to handle the signal
            statuses.append(0 if process.exitcode == 0 or starting else 1)
        return max(statuses, default=0)

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        """Handle SIGTERM and SIGINT: the first begins the shutdown, the second ends everything."""

        def stop(number: int, _: FrameType | None) -> None:
            if self._told:
                for process, _pipe in self._running.values():
                    process.kill()
                os._exit(128 + number)
            self._told = True

        with handled_signals(stop):
            yield


def _run_worker(target: Target, worker: Worker) -> None:
    """Run a worker, which a signal to the terminal does not reach and which ends with the supervisor."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, name="claprt-parent", daemon=True).start()
    target(worker)


@contextlib.contextmanager
def _metrics_folder() -> Generator[str]:
    """A folder for the metrics of all workers, which they find by the environment."""
    folder = tempfile.mkdtemp(prefix="claprt-metrics-")
    os.environ[MULTIPROCESS_VARIABLE] = folder
    try:
        yield folder
    finally:
        del os.environ[MULTIPROCESS_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)
