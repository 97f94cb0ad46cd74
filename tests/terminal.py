"""Commands on a terminal, as a person sees them."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest


def on_a_terminal(
    arguments: Sequence[str], *, columns: int = 100, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The exit status of `claprt` with these arguments, and everything that it shows."""
    if sys.platform == "win32":
        pytest.skip("needs a terminal of POSIX")
    import fcntl
    import pty
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-m", "claprt", *arguments],
        stdout=follower, stderr=follower, stdin=follower, env={**variables, **(environment or {})},
    ) as process:  # fmt: skip
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # the other end has closed
                break
            if not part:
                break
            shown += part
    os.close(leader)
    return process.returncode, shown.decode()
