"""The thread that sends windows through the audio tower: those that wait, of all clients in turn, a short run at a time."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager

from claprt.arrays import Embeddings
from claprt.audio.features import AudioFeatures
from claprt.serve.errors import explained
from claprt.serve.scheduling.asked import Asked
from claprt.serve.scheduling.turns import Shares, Turn, Waiting, settle

_LARGEST_BATCH = 16
_RUN_S = 0.03
"""What a run should take where more windows wait than can be run side by side."""
_AHEAD = 64
"""Windows that may wait before readers pause; beyond them one of each client."""
_AHEAD_OF_ONE = 16
"""The same for one client."""
_CREDIT = 8.0


class AudioTower:
    """The thread, and the windows that wait for it."""

    def __init__(
        self,
        change: threading.Condition,
        vectors: Callable[[Sequence[AudioFeatures]], Embeddings],
        cores: AbstractContextManager[None],
    ) -> None:
        """Starts no thread yet.

        Args:
            change: guards everything here.
            vectors: runs the tower, in its thread.
            cores: held for each run.
        """
        self._change, self._vectors, self._cores = change, vectors, cores
        self.at_once = 2
        """Windows that the engine runs side by side."""
        self._rows: Waiting[tuple[Asked, AudioFeatures]] = Waiting()
        self._shares = Shares(_CREDIT)
        self._window_s: deque[float] = deque(maxlen=8)
        self._ended = False
        self._thread: threading.Thread | None = None

    def start(self, taken: Callable[[], None]) -> None:
        """Starts the thread; `taken` is called under the lock each time that it has taken windows."""
        self._thread = threading.Thread(target=self._run, args=[taken], name="claprt-tower", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Windows that wait."""
        return len(self._rows)

    def is_roomy(self, turn: Turn) -> bool:
        """Whether there is room for more windows of a client."""
        waiting = self._rows.of(turn)
        return not waiting or (waiting < _AHEAD_OF_ONE and len(self._rows) < _AHEAD)

    def add(self, asked: Asked, view: AudioFeatures) -> None:
        """Lets the next window of a sound wait."""
        with self._change:
            asked.starts_s.append(view.start_s)
            self._rows.add(asked.turn, (asked, view))
            self._change.notify_all()

    def close(self) -> None:
        """Ends the thread, after all that waits."""
        with self._change:
            self._ended = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self, taken: Callable[[], None]) -> None:
        while self._waited():
            with self._cores:
                if batch := self._batch(taken):
                    self._answer(batch)

    def _waited(self) -> bool:
        """Waits for windows; False once the service has ended and there are none."""
        with self._change:
            self._change.wait_for(lambda: len(self._rows) or self._ended)
            return bool(len(self._rows))

    def _batch(self, taken: Callable[[], None]) -> list[tuple[Asked, AudioFeatures]]:
        """Windows that wait, up to a batch, without those that nobody waits for."""
        with self._change:
            batch, most, level = list[tuple[Asked, AudioFeatures]](), self._most(), self._level()
            while len(batch) < most and (turn := self._shares.first(level & self._rows.turns())) is not None:
                asked, view = self._rows.take(turn)
                if not asked.done.done():  # whoever asked may have gone
                    self._shares.charge(turn, 1.0)
                    batch.append((asked, view))
            taken()
            return batch

    def _level(self) -> Set[Turn]:
        """Clients whose windows are run together; one that has had much less than the others is not kept by theirs."""
        turns = self._rows.turns()
        least = min(map(self._shares.had, turns), default=0.0)
        return {turn for turn in turns if self._shares.had(turn) <= least + _CREDIT / 2}

    def _most(self) -> int:
        """Windows in a run: as many as are run side by side, more where they are done in a moment."""
        quick = int(_RUN_S / statistics.median(self._window_s)) if self._window_s else 0
        return min(_LARGEST_BATCH, max(self.at_once, quick))

    def _answer(self, batch: list[tuple[Asked, AudioFeatures]]) -> None:
        began = time.perf_counter()
        sounds = dict.fromkeys(asked for asked, _ in batch)
        try:
            vectors = self._vectors([view for _, view in batch])
        except BaseException as error:  # noqa: BLE001 - the thread outlives it, and whoever waits is told
            told = explained(error)
            for asked in sounds:
                settle(asked.done, told)
            return
        took = time.perf_counter() - began
        self._window_s.append(took / len(batch))
        for (asked, _), vector in zip(batch, vectors, strict=True):
            asked.vectors.append(vector)
        with self._change:
            for asked in sounds:
                asked.tower_s += took
                asked.batch = max(asked.batch, len(batch))
                asked.settle()
