"""Shares of clients, and the lock in the order of requests."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from claprt.serve.scheduling.fair_queue import Client, FairLock, FairShares


class TestFairShares:
    def test_whoever_has_had_least_comes_first(self) -> None:
        shares, one, other = FairShares(credit=2.0), Client(), Client()
        assert shares.least_served([one, other]) is one
        shares.charge(one, 1.0)
        assert shares.least_served([one, other]) is other
        shares.charge(other, 5.0)
        assert shares.least_served([one, other]) is one

    def test_a_new_client_starts_level(self) -> None:
        shares, old, new = FairShares(credit=2.0), Client(), Client()
        shares.charge(old, 100.0)
        assert shares.least_served([old]) is old
        shares.charge(old, 1.0)
        assert shares.usage(new) == 100.0
        shares.charge(new, 0.5)
        assert shares.least_served([old, new]) is new
        shares.charge(new, 1.0)
        assert shares.least_served([old, new]) is old

    def test_one_that_rests_between_its_requests_keeps_its_place(self) -> None:
        """Also where, meanwhile, only a client that has used much is ready."""
        shares, light, heavy, heaviest = FairShares(credit=2.0), Client(), Client(), Client()
        for client, cost in ((light, 1.0), (heavy, 50.0), (heaviest, 100.0)):
            shares.charge(client, cost)
        assert shares.least_served([heaviest]) is heaviest
        assert shares.usage(light) == 1.0
        assert shares.least_served([heavy, light]) is light

    def test_credit_is_bounded(self) -> None:
        shares, busy, idle = FairShares(credit=2.0), Client(), Client()
        assert shares.usage(idle) == 0.0
        shares.charge(busy, 50.0)
        shares.least_served([busy])
        assert shares.usage(idle) == 48.0


def test_a_fair_lock_goes_to_the_thread_that_waited_longest() -> None:
    lock, order = FairLock(), list[str]()
    asked = threading.Event()

    def other() -> None:
        asked.set()
        with lock:
            order.append("other")

    with lock:
        thread = threading.Thread(target=other)
        thread.start()
        asked.wait()
        while lock.waiting == 0:
            time.sleep(0.001)
        order.append("first")
    with lock:  # asks again at once
        order.append("first again")
    thread.join()
    assert order == ["first", "other", "first again"]
