"""Messages between processes over pipes: pickled, each behind its length."""

from __future__ import annotations

import pickle
import struct
import threading
from typing import IO, Any

_HEAD = struct.Struct("<Q")


class Sender:
    """Writes messages from any thread, each whole."""

    def __init__(self, pipe: IO[bytes]) -> None:
        """Take the writing end."""
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, *message: Any) -> None:
        """Send a message.

        Raises:
            OSError: If the other process has ended.
        """
        content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._pipe.write(_HEAD.pack(len(content)) + content)
            self._pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[Any, ...] | None:
    """The next message; None where the other process has closed its end, or ended within a message."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    content = pipe.read(size)
    return pickle.loads(content) if len(content) == size else None  # of our own process
