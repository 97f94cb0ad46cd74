"""Runs that are ended at any moment, without notice, and resumed: the rows, vectors and failures of one that was not."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import claprt

pytest.importorskip("pyarrow", reason="needs claprt[library]")

from tests.library.test_indexing import failures_of, rows_of, write_sound

INDEX = """
import pathlib
import sys
import claprt
from claprt.library import indexing, unit_writer
from claprt.library.create import index
from claprt.library.schema import arrow

indexing._FIRST_COMMIT_S = indexing._COMMIT_S = 0.01
indexing.ROWS_PER_PART = 3
unit_writer._SMALL_PARTS = 4
bundle, folder, out = sys.argv[1:]
clap = claprt.load(bundle)
arrow()
clap.engine.batch_engine()
for sound in sorted(pathlib.Path(folder).glob("??.wav"))[:1]:
    clap.embed_audio([sound] * 2)
print("loaded", flush=True)
print(index([folder], out, clap).found)
"""


def started(bundle: Path, folder: Path, out: Path) -> subprocess.Popen[str]:
    """A run whose model is loaded."""
    command = [sys.executable, "-c", INDEX, str(bundle), str(folder), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "loaded\n"
    return process


def ended(process: subprocess.Popen[str]) -> bool:
    """Whether a run came to its end."""
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
@pytest.mark.parametrize("kills", [pytest.param(4, marks=pytest.mark.seconds), pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_run_is_resumed(tmp_path: Path, bundle: Path, clap: claprt.Clap, kills: int) -> None:
    folder, whole, out = tmp_path / "sounds", tmp_path / "whole", tmp_path / "library"
    for number in range(30):
        write_sound(folder / f"{number}.wav", number, seconds=0.3 if number % 7 else 21.0)
    for number in range(5):
        (folder / f"bad{number}.wav").write_bytes(b"no sound" * (1 + number // 2))
        shutil.copy(folder / f"{number}.wav", folder / f"copy{number}.wav")
    process = started(bundle, folder, whole)
    began = time.monotonic()
    assert ended(process)
    lasts = time.monotonic() - began
    rows, failures = rows_of(whole), failures_of(whole)
    assert len(rows) == 30 + 5 * 2 + 5 + 2  # five of them, and one copy, have three windows
    assert len(failures) == 5
    order = random.Random(kills)
    killed = 0
    found: list[int] = []
    while killed < kills or (len(set(found)) == 1 and killed < kills + 20):  # none in the middle, on a busy machine
        process = started(bundle, folder, out)
        time.sleep(order.uniform(0.02, 0.9) * lasts)
        process.kill()
        if ended(process):
            assert (rows_of(out), failures_of(out)) == (rows, failures)
            shutil.rmtree(out)
        else:
            killed += 1
            found.append(len(claprt.open_library(out)) if (out / "library.json").exists() else 0)
    assert ended(started(bundle, folder, out))
    assert (rows_of(out), failures_of(out)) == (rows, failures)
    assert not list(out.rglob("*.partial"))
    assert len(set(found)) > 1  # some were killed in the middle
