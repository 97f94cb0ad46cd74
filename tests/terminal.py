"""Commands on a terminal, as a person sees them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence


def on_a_terminal(
    arguments: Sequence[str], *, columns: int = 100, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The exit status of `claprt` with these arguments, and everything that it shows."""
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
