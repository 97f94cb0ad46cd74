"""Embedding in several processes of this machine, each with a model of its own and a share of the cores."""

from __future__ import annotations

import contextlib
import itertools
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from typing import IO, Any, TypeAlias

from claprt.engines.hardware import default_threads
from claprt.errors import LibraryError, OptionError
from claprt.library.embedding import Claims, Outcome, Timings
from claprt.library.frames import Sender, receive
from claprt.library.items import Item
from claprt.model.clap import Clap
from claprt.validation import whole_number

_MAX_WORKERS = 1_024
_END_S = 10.0
_Message: TypeAlias = tuple["_Worker", tuple[Any, ...] | None]


class WorkerEmbedder:
    """Embeds sounds in processes that are started for each run. Outcomes come in the order in which they are ready."""

    def __init__(self, clap: Clap, workers: int) -> None:
        """Prepare to start workers.

        Args:
            clap: The model; what it was loaded with is what each worker loads, with a share of its threads.
            workers: How many.

        Raises:
            OptionError: If there is no such number of workers, or another process cannot load the model.
        """
        workers = whole_number("workers", workers)
        if not 1 <= workers <= _MAX_WORKERS:
            raise OptionError(f"workers={workers} is not possible; give 1 to {_MAX_WORKERS}.")
        if clap.load_again is None:
            raise OptionError("workers need a model that claprt.load has made, so that each of them can load it.")
        self.timings = Timings()
        threads = max(1, (clap.loaded_from.get("threads") or default_threads()) // workers)
        self._arguments = {**clap.loaded_from, "batch_size": clap.batch_size}
        if not clap.loaded_from.get("server") and "://" not in str(clap.loaded_from["bundle"]):
            self._arguments["threads"] = threads
        self._fingerprint = clap.fingerprint
        self._count = workers
        self._room = 8 * threads + 32
        """Sounds that a worker has, so that it never waits for one: more than twice what it reads ahead."""

    def run(self, items: Iterator[Item], claims: Claims) -> Iterator[Outcome]:
        """Embed sounds.

        Raises:
            LibraryError: If a worker ends, or fails.
        """
        first = list(itertools.islice(items, self._count))  # no more processes than sounds
        if not first:
            return
        items = itertools.chain(first, items)
        messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        with contextlib.ExitStack() as stack:
            workers = [_Worker(number, messages, claims) for number in range(1, len(first) + 1)]
            for worker in workers:
                stack.callback(worker.stop)
            for worker in workers:
                worker.sender.send(self._arguments, self._fingerprint)
            yield from self._exchange(workers, items, messages)

    def close(self) -> None:
        """Do nothing: processes end with the run."""

    def _exchange(
        self, workers: list[_Worker], items: Iterator[Item], messages: queue.SimpleQueue[_Message]
    ) -> Iterator[Outcome]:
        more = True
        running = len(workers)
        while running:
            for worker in sorted(workers, key=lambda one: one.outstanding) if more else ():
                for item in itertools.islice(items, self._room - worker.outstanding if worker.is_ready else 0):
                    worker.give(item)
                more = more and (not worker.is_ready or worker.outstanding == self._room)
            if not more:
                for worker in workers:
                    worker.finish()
            worker, message = messages.get()
            kind = "gone" if message is None else message[0]
            if kind == "ready":
                worker.is_ready = True
            elif kind == "outcome" and message is not None:
                worker.outstanding -= 1
                self.timings.add(*message[2])
                yield message[1]
            elif kind == "end":
                running -= 1
            elif kind == "error" and message is not None:
                raise LibraryError(f"A worker failed: {message[1]}: {message[2]} What was embedded before is kept.")
            elif kind == "gone":
                raise LibraryError(worker.how_it_ended())


@contextlib.contextmanager
def _interrupts_kept_off() -> Generator[None]:
    """Have processes that are started in the block not hear Ctrl-C, which is for this one, from their first moment on."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """A process, and a thread that takes its messages."""

    def __init__(self, number: int, messages: queue.SimpleQueue[_Message], claims: Claims) -> None:
        self._number, self._messages, self._claims = number, messages, claims
        command = [sys.executable, "-m", "claprt.library.worker"]
        with _interrupts_kept_off():
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.sender = Sender(self._process.stdin)
        self.outstanding = 0
        self.is_ready = self._is_finished = self._has_ended = False
        self._thread = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._thread.start()

    def _listen(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed by `stop`
            while (message := receive(pipe)) is not None:
                if message[0] == "claim":
                    self.sender.send("answer", self._claims.claim(message[1]))
                else:
                    self._has_ended = self._has_ended or message[0] == "end"
                    self._messages.put((self, message))
        if not self._has_ended:
            self._messages.put((self, None))

    def give(self, item: Item) -> None:
        """Have the worker embed a sound."""
        self.outstanding += 1
        with contextlib.suppress(OSError):  # it has ended, which `_listen` says
            self.sender.send("item", item)

    def finish(self) -> None:
        """Have the worker end when it has done what it was given."""
        if self.is_ready and not self._is_finished:
            self._is_finished = True
            with contextlib.suppress(OSError):
                self.sender.send("item", None)

    def how_it_ended(self) -> str:
        """How the process ended, in words."""
        status = self._process.wait()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        hint = " (often for want of memory: try fewer workers)" if status == -9 else ""
        return (
            f"Worker {self._number}, process {self._process.pid}, ended with {how}{hint}. What was embedded before is "
            "kept; the same command goes on from there."
        )

    def stop(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.stdin.close() if self._process.stdin else None
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(_END_S)
        if self._process.stdout:
            self._process.stdout.close()
