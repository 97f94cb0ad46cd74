"""Hostile base64 and `data:` URIs: how much memory they take beside their text, and how long others wait meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the service's packages")
if not Path("/proc/self/clear_refs").exists():
    pytest.skip("needs Linux", allow_module_level=True)

MB = 12
CASES = [
    ("%zz", "data:,"),
    ("%41", "data:,"),
    ("%", "data:,"),
    ("a", "data:,"),
    ("AA ", ""),
    ("AAAA\r\n", "data:audio/wav;base64,"),
    ("AAAA", "data:;base64,"),
    (" ", ""),
    ("AA ", '{"audio_buffer": "'),
    (r"AAAA\n", '{"audio_buffer": "'),
]
"""What is repeated, and what is before it."""
PROGRAM = """
import contextlib, json, os, sys, threading, time
from pathlib import Path
from claprt.errors import AudioError
from claprt.serve.base64_audio import from_uri
from claprt.serve.scheduling.audio_input import AudioInput, Encoding, decode

def resident(which):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1]) / 1024

def measure(unit, head):
    text = head + unit * ((int(sys.argv[1]) << 20) // len(unit))
    if head.startswith("{"):
        text += '"}'
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = resident("VmRSS")
    waits, ended = [], threading.Event()

    def watch():
        while not ended.is_set():
            began = time.perf_counter()
            time.sleep(0.001)
            waits.append(time.perf_counter() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with contextlib.suppress(AudioError):
        decode(AudioInput(text, 16000, Encoding.MESSAGE)) if head.startswith("{") else from_uri(text)
    ended.set()
    watcher.join()
    print(resident("VmHWM") - before, sorted(waits)[-3:][0], flush=True)

for text in ("data:,%zz", "data:,%41", "AA ", "data:audio/wav;base64,AAAA\\n"):  # what is loaded once
    with contextlib.suppress(AudioError):
        from_uri(text)
for case in json.loads(sys.argv[2]):
    if (child := os.fork()) == 0:  # each in a process of its own, which imports nothing
        measure(*case)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str], tuple[float, float]]:
    """MB more than before at the peak, and the third longest wait of another thread [s]."""
    command = [sys.executable, "-c", PROGRAM, str(MB), json.dumps(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {case: (float(grown), float(wait)) for case, (grown, wait) in zip(CASES, rows, strict=True)}


@pytest.mark.timing
@pytest.mark.parametrize(("unit", "head"), CASES)
def test_memory_and_time(unit: str, head: str, measured: dict[tuple[str, str], tuple[float, float]]) -> None:
    """At most twice the text, and what JSON makes of it; the third longest wait of another thread is short."""
    grown, wait = measured[unit, head]
    assert grown < 3 * MB + 8 if head.startswith("{") else grown < 2 * MB + 8
    assert wait < 0.3
