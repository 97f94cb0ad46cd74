"""Threads that read sounds: decoding, resampling and log-mels, a slice of each in turn, so that a long one holds up nobody.

A sound is begun as soon as one of the readers is free, and most are done within the first slice. What takes longer goes on
beside others of its kind, one of them at a time, and whoever has had least comes next (`turns`). Only so many sounds are
in hand, two of one client; one that finds no room lets go of what it holds and is begun again once there is some. So memory
is bounded by the number of sounds in hand, whatever clients send.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from claprt.serve.scheduling.turns import Shares, Turn, Waiting

AT_ONCE = 2
"""Sounds that are read at the same moment, of which one may be long."""
_SLICE_S = 0.02
"""Processor time after which a long sound lets others have their turn."""

_CREDIT_S = 0.25
_OF_ONE = 2
"""Sounds of one client that may be in hand."""


@dataclass(frozen=True, slots=True)
class _Level:
    budget_s: float
    """Processor time that a sound may take here before it goes on to the next level."""
    places: int
    """Sounds that may be in hand here."""


_LEVELS = (_Level(0.05, AT_ONCE), _Level(1.0, 6), _Level(float("inf"), 4))


class GivenUp(Exception):  # noqa: N818 - nobody has made an error
    """Nobody waits for this sound any longer."""


class _Restart(Exception):  # noqa: N818 - as above
    """There is no room for a sound that takes longer; it is begun again when there is."""


@dataclass(slots=True, eq=False)
class Reading:
    """A sound that is to be read."""

    turn: Turn
    """The client that it is read for."""
    work: Callable[[Reading], None]
    """Reads it, from the beginning each time, and calls `Readers.pause` now and then."""
    gone: Callable[[], bool]
    """Whether nobody waits for it any longer."""
    failed: Callable[[BaseException], None]
    """Takes what reading has raised."""
    read_s: float = 0.0
    """Time that it was being read, pauses left out."""
    level: int = 0
    used_s: float = 0.0
    """Processor time of this attempt."""
    _began_s: float = 0.0
    _began_cpu_s: float = 0.0

    def starts(self) -> None:
        """The clocks start."""
        self._began_s, self._began_cpu_s = time.perf_counter(), time.thread_time()

    def stops(self) -> float:
        """The clocks stop; gives the processor time of the slice."""
        took = self.running_s
        self.read_s += time.perf_counter() - self._began_s
        self.used_s += took
        return took

    @property
    def running_s(self) -> float:
        """Processor time of the slice so far."""
        return time.thread_time() - self._began_cpu_s


class Readers:
    """The threads, and what waits for them."""

    def __init__(self, change: threading.Condition, roomy: Callable[[Turn], bool]) -> None:
        """Starts no thread yet.

        Args:
            change: guards everything here, and is notified when something has changed; `changed` is called under it.
            roomy: whether there is room for more windows of a client.
        """
        self._change, self._roomy = change, roomy
        self._shares = Shares(_CREDIT_S)
        self._waiting: Waiting[Reading] = Waiting()
        self._paused: dict[Reading, None] = {}
        self._running: set[Reading] = set()
        self._in_hand = [0] * len(_LEVELS)
        self._of: Counter[Turn] = Counter()
        self._next: Reading | None = None
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._ended = False

    def add(self, reading: Reading) -> None:
        """Lets a sound wait for a reader."""
        with self._change:
            self._waiting.add(reading.turn, reading)
            self.changed()

    def changed(self) -> None:
        """Says that there may be something to do. The caller holds `change`."""
        self._next = self._chosen()
        if self._next is not None and self._next not in self._paused and not self._idle:
            self._begin_thread()
        self._change.notify_all()

    def pause(self, reading: Reading, *, brings: bool = False) -> None:
        """Lets others have their turn; the thread that reads a sound calls it every few milliseconds.

        Args:
            reading: the sound.
            brings: whether it has a window to hand over, for which there must be room.

        Raises:
            GivenUp: nobody waits for the sound any longer.
        """
        if reading.gone():
            raise GivenUp
        over = reading.used_s + reading.running_s > _LEVELS[reading.level].budget_s
        if not over and (reading.level == 0 or reading.running_s < _SLICE_S) and not brings:
            return
        with self._change:
            full = brings and not self._roomy(reading.turn)
            if not (full or over or (reading.level and reading.running_s >= _SLICE_S)):
                return
            self._shares.charge(reading.turn, reading.stops())
            try:
                if over or (full and reading.level == 0):
                    self._go_up(reading)
                self._wait(reading)
            finally:
                reading.starts()

    def close(self) -> None:
        """Ends the threads, after all that waits."""
        with self._change:
            self._ended = True
            self.changed()
        for thread in self._threads:
            thread.join()

    def _go_up(self, reading: Reading) -> None:
        """To the next level, if it has room."""
        self._in_hand[reading.level] -= 1
        reading.level += 1
        if self._in_hand[reading.level] >= _LEVELS[reading.level].places:
            self._in_hand[reading.level] += 1  # which is taken back where it is begun again
            raise _Restart
        self._in_hand[reading.level] += 1

    def _wait(self, reading: Reading) -> None:
        self._running.discard(reading)
        self._paused[reading] = None
        self.changed()
        self._change.wait_for(lambda: self._next is reading or reading.gone())
        del self._paused[reading]
        self._running.add(reading)
        self.changed()
        if reading.gone():
            raise GivenUp

    def _chosen(self) -> Reading | None:
        """What is to be read next, if a reader is free."""
        if len(self._running) >= AT_ONCE:
            return None
        one_is_long = any(reading.level for reading in self._running)
        able: dict[Turn, Reading] = {}
        for turn in list(self._waiting.turns()):
            while self._waiting.of(turn) and self._waiting.head(turn).gone():
                self._waiting.take(turn)
            if self._waiting.of(turn) and self._of[turn] < _OF_ONE:
                reading = self._waiting.head(turn)
                held_up = reading.level and (one_is_long or self._in_hand[reading.level] >= _LEVELS[reading.level].places)
                if not held_up and self._roomy(turn):
                    able[turn] = reading
        for reading in self._paused if not one_is_long else ():
            if self._roomy(reading.turn):
                able[reading.turn] = reading
        turn = self._shares.first(able)
        return None if turn is None else able[turn]

    def _begin_thread(self) -> None:
        if len(self._threads) < sum(level.places for level in _LEVELS):
            thread = threading.Thread(target=self._run, name=f"claprt-read_{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while self._read_one():  # a frame of its own: a thread that waits holds on to no sound
            pass

    def _read_one(self) -> bool:
        """Reads the next sound; False once there will be none."""
        reading = self._taken()
        if reading is None:
            return False
        reading.used_s = 0.0
        reading.starts()
        again = False
        try:
            reading.work(reading)
        except _Restart:
            again = True
        except GivenUp:
            pass
        except BaseException as error:  # noqa: BLE001 - a thread outlives whatever a decoder raises
            _let_go_of_frames(error)
            reading.failed(error)
        with self._change:
            self._shares.charge(reading.turn, reading.stops())
            self._in_hand[reading.level] -= 1
            self._of -= Counter([reading.turn])  # which leaves those that have nothing in hand out
            self._running.discard(reading)
            if again:
                self._waiting.add(reading.turn, reading, first=True)
            self.changed()
        return True

    def _taken(self) -> Reading | None:
        """The next sound to begin with; None once the readers have ended and nothing waits."""
        with self._change:
            self._idle += 1
            self._change.wait_for(lambda: self._to_begin() or (self._ended and not len(self._waiting)))
            self._idle -= 1
            if not self._to_begin():
                return None
            reading = self._next
            assert reading is not None
            self._waiting.take(reading.turn)
            self._in_hand[reading.level] += 1
            self._of[reading.turn] += 1
            self._running.add(reading)
            self.changed()
            return reading

    def _to_begin(self) -> bool:
        return self._next is not None and self._next not in self._paused


def _let_go_of_frames(error: BaseException | None) -> None:
    """Clears the local variables of the frames that an error went through, and those that led to it.

    The error becomes a future's, which those frames lead to: a cycle that would keep megabytes of a sound until a
    collection of garbage, which counts objects and not their bytes. Tracebacks read as before.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
