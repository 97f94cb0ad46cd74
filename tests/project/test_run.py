"""The parts of the tests, and when all of them count as passed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import run


@pytest.mark.parametrize(
    ("statuses", "selected", "expected"),
    [
        ([0, 0, 0], False, True),
        ([0, 5, 0], False, False),
        ([0, 5, 5], True, True),
        ([5, 5, 5], True, False),
        ([0, 1, 5], True, False),
    ],
)
def test_parts_without_tests(statuses: list[int], selected: bool, expected: bool) -> None:
    """A part may select none only where options of the caller's own chose tests, and some part has to run some."""
    assert run.passed(statuses, selected=selected) is expected


def test_every_test_is_in_one_part() -> None:
    """What one part names, the part of all others leaves out; no name is misspelt."""
    others, *named = sorted((names for names, _ in run.parts()), key=lambda names: "tests" not in names)
    apart = [name for names in named for name in names]
    assert len(set(apart)) == len(apart)
    assert all((run.ROOT / name).exists() for name in apart)
    assert sorted(others) == sorted(["tests", *(f"--ignore={name}" for name in apart)])


def test_files_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go with the run; a folder of the caller's own choice stays what it is, and one without room is not used."""
    monkeypatch.setattr(run, "_IN_MEMORY", tmp_path)
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(run, "_ROOM", 1)
    with run.files_in_memory():
        (folder,) = tmp_path.iterdir()
        assert os.environ["TMPDIR"] == str(folder)
        (folder / "file").write_bytes(b"x")
    assert "TMPDIR" not in os.environ
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(run, "_ROOM", 1 << 60)
    with run.files_in_memory():
        assert "TMPDIR" not in os.environ
    monkeypatch.setattr(run, "_ROOM", 1)
    monkeypatch.setenv("TMPDIR", "chosen")
    with run.files_in_memory():
        assert (os.environ["TMPDIR"], list(tmp_path.iterdir())) == ("chosen", [])
