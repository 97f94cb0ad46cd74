"""Readers with work that only counts and burns time: whose turn it is, and how much is in progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from claprt.serve.scheduling.fair_queue import Client
from claprt.serve.scheduling.readers import Readers, ReadTask
from tests.serve.test_fairness import Panic


def burn(seconds: float, pause: Callable[[], None]) -> None:
    """Takes so much processor time, with pauses."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(20_000))
        pause()


class TestReaders:
    def test_only_so_many_are_in_hand(self) -> None:
        """Sixteen that take longer than a slice: each is read, and no more than the levels have places are held."""
        change, held, most, done = threading.Condition(threading.RLock()), 0, 0, 0
        readers = Readers(change)

        def work(reading: ReadTask) -> None:
            nonlocal held, most, done
            with change:
                held += 1
                most = max(most, held)
            try:
                burn(0.08, lambda: readers.pause(reading))
            finally:
                with change:
                    held -= 1
            done += 1

        for _ in range(16):
            readers.add(ReadTask(client=Client(), work=work, is_cancelled=lambda: False, on_error=lambda _: None))
        readers.close()
        assert done == 16
        assert held == 0
        assert 2 < most <= 12

    def test_a_short_one_does_not_wait_for_long_ones(self) -> None:
        change, order = threading.Condition(threading.RLock()), list[str]()
        readers = Readers(change)

        def add(name: str, seconds: float) -> None:
            def work(reading: ReadTask) -> None:
                burn(seconds, lambda: readers.pause(reading))
                order.append(name)

            readers.add(ReadTask(client=Client(), work=work, is_cancelled=lambda: False, on_error=lambda _: None))

        for _ in range(8):
            add("long", 0.15)
        time.sleep(0.1)
        add("short", 0.005)
        readers.close()
        assert order.index("short") == 0

    def test_one_gives_way_to_a_client_that_has_used_much_less(self) -> None:
        """Two that end within their first slice keep both readers busy; their clients have sent few bytes for that."""
        order = list[str]()
        readers = Readers(threading.Condition(threading.RLock()))
        begun = threading.Barrier(3)

        def add(name: str, seconds: float, client: Client, begin: Callable[[], object] = lambda: None) -> None:
            def work(reading: ReadTask) -> None:
                begin()
                burn(seconds, lambda: readers.pause(reading))
                order.append(name)

            readers.add(ReadTask(client=client, work=work, is_cancelled=lambda: False, on_error=lambda _: None))

        for name in ("first", "second"):
            busy = Client()
            busy.weigh(100)
            add(name, 0.04, busy, begun.wait)
        begun.wait()
        add("other", 0.001, Client())
        readers.close()
        assert order[0] == "other"

    def test_one_reads_while_windows_wait_for_the_tower(self) -> None:
        at_once, most, change = 0, 0, threading.Condition(threading.RLock())
        readers = Readers(change, lambda: True)

        def work(reading: ReadTask) -> None:
            nonlocal at_once, most
            with change:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.005)
            with change:
                at_once -= 1

        for _ in range(12):
            readers.add(ReadTask(client=Client(), work=work, is_cancelled=lambda: False, on_error=lambda _: None))
        readers.close()
        assert most == 1

    def test_a_model_whose_tower_is_busy_leaves_others_a_place(self) -> None:
        """Its inputs hold all places of the second level; one of another model that needs a place there has one."""
        change, room, paused, done = (
            threading.Condition(threading.RLock()),
            threading.Event(),
            list[int](),
            threading.Event(),
        )
        readers = Readers(change)

        def add_busy() -> None:
            waits = threading.Event()

            def work(reading: ReadTask) -> None:
                waits.set()
                paused.append(1)
                readers.pause(reading, has_window=True)

            has_room = lambda: room.is_set() or not waits.is_set()  # noqa: E731
            readers.add(ReadTask(Client(), work, lambda: False, lambda _: None, has_room=has_room, model="busy"))

        def other(reading: ReadTask) -> None:
            burn(0.08, lambda: readers.pause(reading))
            done.set()

        for _ in range(8):
            add_busy()
        until = time.monotonic() + 10
        while len(paused) < 8:
            assert time.monotonic() < until
            time.sleep(0.005)
        readers.add(ReadTask(Client(), other, lambda: False, lambda _: None, model="other"))
        assert done.wait(10)
        with change:
            room.set()
            readers.reschedule()
        readers.close()

    def test_one_that_fails_leaves_the_thread_alive(self) -> None:
        readers, failed, done = Readers(threading.Condition(threading.RLock())), list[str](), list[int]()

        def fails(_: ReadTask) -> None:
            raise Panic("rust")

        for _ in range(20):
            readers.add(
                ReadTask(
                    client=Client(),
                    work=fails,
                    is_cancelled=lambda: False,
                    on_error=lambda error: failed.append(str(error)),
                )
            )
        readers.add(ReadTask(Client(), lambda _: done.append(1), lambda: False, lambda _: None))
        readers.close()
        assert failed == ["rust"] * 20
        assert done == [1]
