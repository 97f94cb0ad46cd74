"""How long `import claprt` takes; in a file of its own, since those with tests of durations are collected a second time."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pytest


@pytest.mark.timing
def test_import_time() -> None:
    """At most 0.3 s, the median of five processes, interpreter start left out."""
    program = "import time; t = time.perf_counter(); import claprt; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", program]
    times = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
    assert statistics.median(times) <= 0.3
