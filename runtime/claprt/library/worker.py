"""One of the processes of `--workers`: `python -m claprt.library.worker`, started by `claprt.library.workers` alone.

Standard input brings the model's arguments, sounds and answers; standard output takes questions and outcomes.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

from claprt.library.embedding import LocalEmbedder
from claprt.library.frames import Sender, receive
from claprt.library.items import Item


class _Channel:
    """The parent's messages, each to who waits for it."""

    def __init__(self, stdin: IO[bytes], sender: Sender) -> None:
        self._stdin, self._sender = stdin, sender
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._asking = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while (message := receive(self._stdin)) is not None:
            kind, value = message
            if kind == "answer":
                self._answers.put(value)
            else:
                self._items.put(value)
        os._exit(1)  # the parent has ended; nobody takes what would still be computed

    def items(self) -> Iterator[Item]:
        """Sounds, until the parent has no more."""
        while (item := self._items.get()) is not None:
            yield item

    def claim(self, sha256: str) -> bool:
        """Ask the parent whether a content is to be embedded here."""
        with self._asking:
            self._sender.send("claim", sha256)
            return self._answers.get()

    def stored_keys(self) -> NDArray[np.uint64]:
        """Nothing: the parent knows, and is asked."""
        return np.empty(0, np.uint64)


def main() -> None:
    """Load the model, embed what comes, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    stdin, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no message
    sender = Sender(out)
    message = receive(stdin)
    if message is None:
        return
    from claprt.model.load import load_again

    arguments, fingerprint = message
    try:
        clap = load_again(arguments, fingerprint)
        embedder = LocalEmbedder(clap)
        channel = _Channel(stdin, sender)
        sender.send("ready")
        for outcome in embedder.run(channel.items(), channel):
            sender.send("outcome", outcome, embedder.timings.taken())
        sender.send("end")
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        sender.send("error", type(error).__name__, str(error))


if __name__ == "__main__":
    main()
    os._exit(0)  # at once: the thread that listens holds standard input, which an orderly end would want to close
