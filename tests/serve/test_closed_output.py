"""`claprt serve` where its standard output is closed or full."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest


@pytest.mark.parametrize("redirection", [">&-", "<&- >&-", "> /dev/full"])
def test_it_serves(redirection: str, bundle: Path) -> None:
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f'exec "{sys.executable}" -m claprt serve --bundle "{bundle}" --port {port} {redirection}'
    with subprocess.Popen(command, shell=True, stderr=subprocess.PIPE, text=True) as process:
        answer = ""
        until = time.monotonic() + 40
        while not answer and time.monotonic() < until and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as reply:
                    answer = reply.read().decode()
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert "kromosynth" in answer, said
    assert "Traceback" not in said
    assert process.returncode == 0
