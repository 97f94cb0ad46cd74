"""SIGTERM and SIGINT, which ask the process to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType


class Stopped(BaseException):
    """A signal asked the process to stop."""


@contextlib.contextmanager
def handled_signals(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Call `handler` in the main thread, which is the caller, on SIGTERM and SIGINT; put back the handlers before it."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def stopped_by_signals() -> Generator[None]:
    """Raise `Stopped` in the main thread on SIGTERM and SIGINT, until a server takes them over.

    Raises:
        Stopped: If a signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    with handled_signals(stop):
        yield
