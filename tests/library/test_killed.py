"""Runs that are killed, or meet a full disk, and are resumed: the rows, vectors and failures of one that was not."""

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

from tests.library.indexed import failures_of, rows_of, run, write_sound

INDEX = """
import pathlib
import resource
import sys
import claprt
import claprt.errors
from claprt.library import indexing, unit_writer
from claprt.library.create import index
from claprt.library.schema import arrow

indexing._FIRST_COMMIT_S = indexing._COMMIT_S = 0.01
indexing.ROWS_PER_PART = 3
unit_writer._SMALL_PARTS = 4
bundle, folder, out, workers, largest_file = sys.argv[1:]
clap = claprt.load(bundle)
arrow()
clap.engine.batch_engine()
for sound in sorted(pathlib.Path(folder).glob("??.wav"))[:1]:
    clap.embed_audio([sound] * 2)
print("loaded", flush=True)
if int(largest_file):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file),) * 2)
try:
    print(index([folder], out, clap, workers=int(workers) or None).found)
except claprt.errors.LibraryWriteError as error:
    sys.exit(str(error))
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL, and no limit of what a process writes")


def started(bundle: Path, folder: Path, out: Path, *, workers: int = 0, largest_file: int = 0) -> subprocess.Popen[str]:
    """A run whose model is loaded.

    Args:
        bundle: The model.
        folder: Sounds.
        out: The library.
        workers: Processes that embed; 0 for the run's own.
        largest_file: Bytes that a file may have; 0 for any number.
    """
    command = [sys.executable, "-c", INDEX, *map(str, (bundle, folder, out, workers, largest_file))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE if largest_file else None, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "loaded\n"
    return process


def ended(process: subprocess.Popen[str]) -> bool:
    """Whether a run came to its end."""
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode == 0


def write_sounds(folder: Path, count: int) -> int:
    """Writes so many sounds, five copies and five files that are none; returns the rows that a library has of them."""
    for number in range(count):
        write_sound(folder / f"{number}.wav", number, seconds=0.3 if number % 7 else 21.0)
    for number in range(5):
        (folder / f"bad{number}.wav").write_bytes(b"no sound" * (1 + number // 2))
        shutil.copy(folder / f"{number}.wav", folder / f"copy{number}.wav")
    return count + 2 * -(-count // 7) + 5 + 2  # every seventh of them, and one copy, have three windows


@pytest.mark.seconds
def test_a_killed_run_is_resumed(tmp_path: Path, bundle: Path, clap: claprt.Clap) -> None:
    """Killed twice, early and late, when some rows are there."""
    folder, whole, out = tmp_path / "sounds", tmp_path / "whole", tmp_path / "library"
    count = write_sounds(folder, 15)
    run(folder, out=whole, clap=clap)
    rows, failures = rows_of(whole), failures_of(whole)
    assert len(rows) == count
    assert len(failures) == 5
    for there in (3, count // 2):
        process = started(bundle, folder, out)
        while process.poll() is None and not ((out / "library.json").exists() and len(claprt.open_library(out)) >= there):
            time.sleep(0.002)
        process.kill()
        assert not ended(process)
        assert there <= len(claprt.open_library(out)) < count
    run(folder, out=out, clap=clap)
    assert (rows_of(out), failures_of(out)) == (rows, failures)
    assert not list(out.rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "workers"), [(100, 0), (6, 2)])
def test_runs_that_are_killed_at_any_time_are_resumed(
    tmp_path: Path, bundle: Path, clap: claprt.Clap, kills: int, workers: int
) -> None:
    """The smaller test is `test_a_killed_run_is_resumed`."""
    folder, whole, out = tmp_path / "sounds", tmp_path / "whole", tmp_path / "library"
    count = write_sounds(folder, 30)
    process = started(bundle, folder, whole, workers=workers)
    began = time.monotonic()
    assert ended(process)
    lasts = time.monotonic() - began
    rows, failures = rows_of(whole), failures_of(whole)
    assert len(rows) == count
    assert len(failures) == 5
    order = random.Random(kills)
    killed = 0
    found: list[int] = []
    while killed < kills or (len(set(found)) == 1 and killed < kills + 20):  # none in the middle, on a busy machine
        process = started(bundle, folder, out, workers=workers)
        time.sleep(order.uniform(0.02, 0.9) * lasts)
        process.kill()
        if ended(process):
            assert (rows_of(out), failures_of(out)) == (rows, failures)
            shutil.rmtree(out)
        else:
            killed += 1
            found.append(len(claprt.open_library(out)) if (out / "library.json").exists() else 0)
    assert ended(started(bundle, folder, out, workers=workers))
    assert (rows_of(out), failures_of(out)) == (rows, failures)
    assert not list(out.rglob("*.partial"))
    assert len(set(found)) > 1  # some were killed in the middle


@pytest.mark.seconds
def test_a_run_that_meets_the_end_of_the_disk_is_resumed(
    tmp_path: Path, bundle: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses to write more, as on a full disk, here by a limit on the size of files."""
    folder, whole, out = tmp_path / "sounds", tmp_path / "whole", tmp_path / "library"
    for number in range(30):
        write_sound(folder / f"{number}.wav", number)
    monkeypatch.setattr("claprt.library.indexing._FIRST_COMMIT_S", 600.0)  # one part, however slow the machine is
    run(folder, out=whole, clap=clap)
    (part,) = (whole / "rows").iterdir()
    process = started(bundle, folder, out, largest_file=part.stat().st_size * 2 // 5)
    _, message = process.communicate()
    assert process.returncode == 1
    assert message == (
        f"The library at {out} cannot be written: File too large. What it held before is intact; the same command goes on "
        "from there.\n"
    )
    kept = rows_of(out)
    assert 0 < len(kept) < 30
    assert not list(out.rglob("*.partial"))
    assert run(folder, out=out, clap=clap).unchanged == len(kept)
    assert rows_of(out) == rows_of(whole)
