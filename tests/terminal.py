"""Commands on a terminal, as a person sees them."""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from claprt.cli import main


def on_a_terminal(
    arguments: Sequence[str], *, columns: int = 100, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The exit status of `claprt` with these arguments, and everything that it shows.

    The command runs in this process, with a terminal at its three standard streams.
    """
    if sys.platform == "win32":
        pytest.skip("needs a terminal of POSIX")
    import fcntl
    import pty
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # the other end has closed
                return
            if not part:
                return
            shown.extend(part)

    reader = threading.Thread(target=read)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COLUMNS", "LINES"):
            patch.delenv(name, raising=False)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        with _standard_streams(follower):
            os.close(follower)
            reader.start()
            try:
                status = main(list(arguments))
            except SystemExit as end:
                status = int(end.code or 0)
    reader.join()
    os.close(leader)
    return status, shown.decode()


@contextmanager
def _standard_streams(descriptor: int) -> Generator[None]:
    """The three standard streams, of this process and of Python, lead to a descriptor."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(descriptor, number)
            stream = stack.enter_context(open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))
            patch.setattr(sys, name, stream)
        yield
