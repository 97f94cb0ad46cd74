"""The thread that runs the audio tower: queued windows of all clients in turn, in short batches."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager

from claprt.arrays import Embeddings
from claprt.audio.features import AudioFeatures
from claprt.serve.errors import to_client_error
from claprt.serve.scheduling.fair_queue import Client, ClientQueues, FairShares, settle
from claprt.serve.scheduling.job import AudioJob

_LARGEST_BATCH = 16
_RUN_S = 0.03
"""Target duration of a run with more windows than the engine runs concurrently."""
_QUEUE_LIMIT = 64
"""Queued windows from which readers pause, but for one window of each client."""
_CLIENT_LIMIT = 16
"""The same for the windows of one client."""
_CREDIT = 8.0


class AudioTower:
    """The thread and its queue of windows."""

    def __init__(
        self,
        change: threading.Condition,
        run: Callable[[Sequence[AudioFeatures]], Embeddings],
        cores: AbstractContextManager[None],
    ) -> None:
        """Prepare the queue; `start` starts the thread.

        Args:
            change: Guards all state here.
            run: Runs the tower, in its thread: windows to vectors [windows, dim].
            cores: Held during each run.
        """
        self._change, self._run, self._cores = change, run, cores
        self.concurrency = 2
        """Windows that the engine runs concurrently."""
        self._queue: ClientQueues[tuple[AudioJob, AudioFeatures]] = ClientQueues()
        self._shares = FairShares(_CREDIT)
        self._window_s: deque[float] = deque(maxlen=8)
        self._ended = self._renewed = False
        self._thread: threading.Thread | None = None

    def start(self, on_taken: Callable[[], None]) -> None:
        """Start the thread; it calls `on_taken` under the lock whenever it has taken windows from the queue."""
        self._thread = threading.Thread(target=self._run_all, args=[on_taken], name="claprt-tower", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """Replace the thread, since runtimes keep memory for each thread that has called them (tiny: 33 MB)."""
        with self._change:
            before, self._renewed = self._thread, True
            self._change.notify_all()
        if before is not None:
            before.join()

    @property
    def queued(self) -> int:
        """Windows in the queue."""
        return len(self._queue)

    def has_room(self, client: Client) -> bool:
        """Whether there is room for more windows of a client."""
        queued = self._queue.count(client)
        return not queued or (queued < _CLIENT_LIMIT and len(self._queue) < _QUEUE_LIMIT)

    def add(self, job: AudioJob, view: AudioFeatures) -> None:
        """Queue the next window of a job."""
        with self._change:
            job.starts_s.append(view.start_s)
            self._queue.add(job.client, (job, view))
            self._change.notify_all()

    def close(self) -> None:
        """End the thread after all queued windows."""
        with self._change:
            self._ended = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run_all(self, on_taken: Callable[[], None]) -> None:
        while self._wait_for_windows():
            with self._change:  # so that `close` waits for the new thread
                if self._renewed and not self._ended:
                    self._renewed = False
                    self.start(on_taken)
                    return
            with self._cores:
                if batch := self._take_batch(on_taken):
                    self._run_batch(batch)

    def _wait_for_windows(self) -> bool:
        """Wait for windows, or to be renewed; False once the tower has ended and there are none."""
        with self._change:
            self._change.wait_for(lambda: len(self._queue) or self._ended or self._renewed)
            return bool(len(self._queue)) or (self._renewed and not self._ended)

    def _take_batch(self, on_taken: Callable[[], None]) -> list[tuple[AudioJob, AudioFeatures]]:
        """Windows of the next run, without those of jobs that have ended."""
        with self._change:
            batch, size, clients = list[tuple[AudioJob, AudioFeatures]](), self._batch_size(), self._clients_of_batch()
            while len(batch) < size:
                client = self._shares.least_served(clients & self._queue.clients())
                if client is None:
                    break
                job, view = self._queue.take(client)
                if not job.done.done():  # the request may have been cancelled
                    self._shares.charge(client, 1.0)
                    batch.append((job, view))
            on_taken()
            return batch

    def _clients_of_batch(self) -> Set[Client]:
        """Clients that share the next run: one that has used much less than others does not run with theirs."""
        clients = self._queue.clients()
        least = min(map(self._shares.usage, clients), default=0.0)
        return {client for client in clients if self._shares.usage(client) <= least + _CREDIT / 2}

    def _batch_size(self) -> int:
        """Windows in a run: as many as run concurrently, more if they are fast."""
        fast = int(_RUN_S / statistics.median(self._window_s)) if self._window_s else 0
        return min(_LARGEST_BATCH, max(self.concurrency, fast))

    def _run_batch(self, batch: list[tuple[AudioJob, AudioFeatures]]) -> None:
        began = time.perf_counter()
        jobs = dict.fromkeys(job for job, _ in batch)
        try:
            vectors = self._run([view for _, view in batch])
        except BaseException as error:  # noqa: BLE001 - the thread outlives it, and every job gets it
            told = to_client_error(error)
            for job in jobs:
                settle(job.done, told)
            return
        took = time.perf_counter() - began
        self._window_s.append(took / len(batch))
        for (job, _), vector in zip(batch, vectors, strict=True):
            job.vectors.append(vector)
        with self._change:
            for job in jobs:
                job.tower_s += took
                job.batch = max(job.batch, len(batch))
                job.settle()
