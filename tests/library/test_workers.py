"""Embedding in several processes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import claprt
from claprt.errors import LibraryError, OptionError

pytest.importorskip("pyarrow", reason="needs claprt[library]")

from tests.library.indexed import failures_of, rows_of, run, write_sound


@pytest.mark.seconds
def test_workers_give_the_same_rows(
    folder: Path, out: Path, clap: claprt.Clap, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> Any:
        process = popen(*arguments, **options)
        process.send_signal(signal.SIGINT)  # as Ctrl-C in a terminal reaches all processes; it is the parent's
        return process

    if sys.platform != "win32":
        monkeypatch.setattr(subprocess, "Popen", interrupted)
    (folder / "bad.wav").write_bytes(b"no sound")
    for number in range(10, 40):
        write_sound(folder / f"{number}.wav", number)
    shutil.copy(folder / "0.wav", folder / "copy.wav")
    run(folder, out=out, clap=clap)
    other = out.with_name("other")
    summary = run(folder, out=other, clap=clap, workers=2)
    assert (summary.embedded, summary.copied, summary.failed) == (35, 1, 1)
    assert summary.compute_s > 0
    assert rows_of(other) == rows_of(out)
    assert failures_of(other) == failures_of(out)
    assert run(folder, out=other, clap=clap, workers=2).unchanged == 37
    assert capfd.readouterr().err == ""  # nothing of how the workers ended


@pytest.mark.seconds
def test_a_worker_that_ends_is_named_and_the_next_run_goes_on(
    folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, out=out.with_name("whole"), clap=clap)
    begun: list[Any] = []
    popen = subprocess.Popen

    def started(*arguments: Any, **options: Any) -> Any:
        begun.append(popen(*arguments, **options))
        return begun[-1]

    def killing(summary: Any) -> None:
        begun[0].kill()

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(LibraryError, match=r"Worker 1, process \d+, ended with signal 9 .*fewer workers.*goes on"):
        run(folder, out=out, clap=clap, workers=1, report=killing)
    assert all(process.poll() is not None for process in begun)
    assert run(folder, out=out, clap=clap).unchanged > 0
    assert rows_of(out) == rows_of(out.with_name("whole"))


def test_an_impossible_number_of_workers_is_refused(folder: Path, out: Path, clap: claprt.Clap) -> None:
    with pytest.raises(OptionError, match="workers=0 is not possible"):
        run(folder, out=out, clap=clap, workers=0)
    assert not out.exists()
