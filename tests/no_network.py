"""Runs a Python program in a process of its own that the kernel ends at its first attempt to use the network.

A seccomp filter makes `socket(AF_INET or AF_INET6, …)` fatal, whichever library calls it and from whatever thread; name
look-ups need a datagram socket. With `listening`, only datagram sockets are fatal, so that a server can be run. Linux only.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

AVAILABLE = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")

_PREAMBLE = """
import ctypes, socket, struct, sys

def deny(listening):
    number, arch = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}[__import__("platform").machine()]
    LOAD, EQUAL, AND, RETURN, KILL, ALLOW = 0x20, 0x15, 0x54, 0x06, 0x80000000, 0x7FFF0000
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, arch), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 0), (EQUAL, 1, 0, number),
             (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 16), (EQUAL, 2, 0, socket.AF_INET), (EQUAL, 1, 0, socket.AF_INET6),
             (RETURN, 0, 0, ALLOW)]
    if listening:
        steps += [(LOAD, 0, 0, 24), (AND, 0, 0, 0xF), (EQUAL, 1, 0, socket.SOCK_DGRAM), (RETURN, 0, 0, ALLOW)]
    steps.append((RETURN, 0, 0, KILL))
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    program = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
    assert libc.prctl(22, 2, header, 0, 0) == 0, "seccomp"

def refused(*_, **__):
    raise AssertionError("a name was looked up")

deny(LISTENING)
if not LISTENING:
    socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refused
"""


def run(program: str, home: Path, *, listening: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program's end, with a home and a temporary folder that are empty before it.

    Args:
        program: Python code.
        home: an empty folder; `home/tmp` becomes the temporary folder.
        listening: allow stream sockets.
        environment: added to this process's, in which telemetry variables are removed first.
    """
    (home / "tmp").mkdir()
    # onnxruntime is silent by itself where CI says so
    dropped = ("ORT_", "XDG_", "CLAPRT_TELE", "CI", "GITHUB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    folders = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "CLAPRT_GRAPH_CACHE": str(home / "claprt-cache")}
    code = f"LISTENING = {listening}\n{_PREAMBLE}\n{program}"
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=kept | folders | environment,
        timeout=300,
    )


def left_behind(home: Path) -> list[str]:
    """Files below a home that are not claprt's cache."""
    files = (path.relative_to(home) for path in home.rglob("*") if path.is_file())
    return sorted(str(path) for path in files if path.parts[0] != "claprt-cache")
