"""Processes that fork while they have an engine of a server: both go on, and shared memory is its owner's to give back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import claprt
from tests.triton.server import Server

_SCRIPT = """
import multiprocessing, os, signal, sys
from pathlib import Path
import numpy as np
from claprt.triton import TritonEngine

def right():
    return all(np.abs(engine.audio(mel[None], None) - row).max() <= 1e-6 for mel, row in zip(mels, rows))

def lying():
    return {path.name for path in Path("/dev/shm").glob("psm_*")} - others

def in_child(number):
    signal.alarm(30)
    assert right()
    return lying()

mels, rows = (np.load(path) for path in sys.argv[2:4])
others = set()
others = lying()
engine = TritonEngine(sys.argv[1], shared_memory=sys.argv[4] == "True", timeout_s=10, retry_for_s=0)
assert right()
before = lying()
used = os.fork()
if used == 0:
    signal.alarm(30)  # a wait without end would be a death by this
    sys.exit(7 if right() and right() else 3)
idle = os.fork()
if idle == 0:
    signal.alarm(30)
    sys.exit(8)  # without ever asking
assert right()  # at the same time as the first child
codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in (used, idle)]
assert codes == [7, 8], codes
assert lying() == before, "the child gave back too much or too little"
assert right()
with multiprocessing.get_context("fork").Pool(2) as pool:
    seen = pool.map(in_child, range(4))
    pool.close()
    pool.join()
assert before <= set.intersection(*seen)
assert engine.sharing is (len(set.union(*seen) - before) > 0)
assert lying() == before
assert right()
engine.close()
assert not lying() & before or not engine.sharing
"""


_BUSY = """
import os, signal, sys, threading, time
import numpy as np
from claprt.errors import ServerUnavailableError
from claprt.triton import TritonEngine

mels, rows = (np.load(path) for path in sys.argv[2:4])
engine = TritonEngine(sys.argv[1], shared_memory=sys.argv[4] == "True", timeout_s=10)

def right():
    return all(np.abs(engine.audio(mel[None], None) - row).max() <= 1e-6 for mel, row in zip(mels, rows))

def ask():
    while asking:
        answers.append(right())

answers, asking, codes = [], True, []
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(3):
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            code = 7 if right() else 3
        except ServerUnavailableError as error:
            code = 8 if "forked while another thread waited for the server over gRPC" in str(error) else 4
        os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
asking = False
for thread in threads:
    thread.join()
assert all(answers) and right()
assert set(codes) <= ({7, 8} if sys.argv[1].startswith("triton:") else {7}), codes
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("shared_memory", [True, False])
class TestFork:
    def test_between_requests(
        self, server: Server, clap: claprt.Clap, tmp_path: Path, protocol: str, shared_memory: bool
    ) -> None:
        """Parent and children get right vectors, at the same time, by `os.fork` and by a pool."""
        run(_SCRIPT, getattr(server, protocol), clap, tmp_path, shared_memory)

    def test_in_the_middle_of_requests(
        self, server: Server, clap: claprt.Clap, tmp_path: Path, protocol: str, shared_memory: bool
    ) -> None:
        """HTTP survives it; a child that has gRPC is told, and neither hangs nor crashes."""
        run(_BUSY, getattr(server, protocol), clap, tmp_path, shared_memory)


def run(script: str, url: str, clap: claprt.Clap, folder: Path, shared_memory: bool) -> None:
    mels = np.random.default_rng(9).normal(-30, 10, (3, 1, 1001, 64)).astype(np.float32)
    np.save(folder / "mels.npy", mels)
    np.save(folder / "rows.npy", clap.engine.audio(mels, None))
    files = [str(folder / name) for name in ("mels.npy", "rows.npy")]
    said = folder / "said.txt"
    with said.open("wb") as output:  # a pipe would stay open in a child that hangs
        command = [sys.executable, "-W", "ignore", "-c", script, url, *files, str(shared_memory)]
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=90, check=False)
    assert done.returncode == 0, said.read_text(encoding="utf-8")
