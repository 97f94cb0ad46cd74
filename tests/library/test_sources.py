"""Sources: what is found, what is not there, what changes while it is read."""

from __future__ import annotations

import errno
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import claprt
from claprt.errors import AudioNotFoundError, OptionError
from claprt.library import items
from claprt.library.paths import local_path
from claprt.library.roots import read_roots
from claprt.library.sources import Sources

pytest.importorskip("pyarrow", reason="needs claprt[library]")

from tests.library.indexed import failures_of, rows_of, run, write_sound


def test_lists_patterns_and_files(
    folder: Path, out: Path, clap: claprt.Clap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tmp_path / "list.txt"
    names.write_text(f"{folder / '0.wav'}\n\n{tmp_path / 'gone.wav'}\n{folder / 'deep'}\n")
    summary = run(f"@{names}", str(folder / "*.flac"), folder / "0.wav", out=out, clap=clap)
    assert (summary.found, summary.embedded, summary.failed) == (4, 3, 1)
    assert {Path(row["path"]).name for row in rows_of(out)} == {"0.wav", "stereo.wav", "long.flac"}
    assert read_roots(out) == (str(folder),)
    (failure,) = failures_of(out)
    assert (failure["error"], failure["path"]) == ("AudioNotFoundError", str(tmp_path / "gone.wav"))
    (folder / "0.wav").unlink()
    summary = run(f"@{names}", out=out, clap=clap)
    assert (summary.vanished, summary.failed) == (1, 0)
    monkeypatch.chdir(folder)  # the same sounds, named otherwise
    assert run("deep", "./long.flac", out=out, clap=clap).unchanged == 2


def test_lines_of_lists_that_are_no_files(folder: Path, out: Path, clap: claprt.Clap, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_bytes(b"\xef\xbb\xbf" + f"{folder / '0.wav'}\r\n\r\n# 1.wav\r\n\0*.wav\n".encode())
    summary = run(f"@{names}", out=out, clap=clap)
    assert (summary.found, summary.embedded) == (3, 1)
    assert [Path(failure["path"]).name for failure in failures_of(out)] == ["\0*.wav", "# 1.wav"]
    assert {failure["error"] for failure in failures_of(out)} == {"AudioNotFoundError"}


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes in folders")
def test_pipes_and_devices_are_named_and_not_waited_for(folder: Path, out: Path, clap: claprt.Clap, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.wav")
    os.mkfifo(folder / "pipe.tar")
    (folder / "zero.wav").symlink_to("/dev/zero")
    assert run(folder, out=out, clap=clap).failed == 0
    names = tmp_path / "list.txt"
    names.write_text(f"{folder / 'zero.wav'}\n")
    summary = run(str(folder / "pi*"), f"@{names}", out=out, clap=clap)
    assert (summary.found, summary.failed) == (3, 3)
    assert all("is not a file with a content" in failure["message"] for failure in failures_of(out))


def test_what_is_not_there_is_refused_before_anything_is_made(out: Path, clap: claprt.Clap, tmp_path: Path) -> None:
    with pytest.raises(AudioNotFoundError, match="gone was to be indexed, and there is no such file or folder"):
        run(tmp_path / "gone", out=out, clap=clap)
    with pytest.raises(OptionError, match="means a list of sources in the file"):
        run("@gone.txt", out=out, clap=clap)
    assert not out.exists()


def test_links_in_a_circle_end(folder: Path, out: Path, clap: claprt.Clap) -> None:
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "self.wav").symlink_to(folder / "self.wav")
    (folder / "nowhere.wav").symlink_to(folder / "nothing.wav")
    assert run(folder, out=out, clap=clap).embedded == 5


def test_an_unreadable_folder_is_named_and_its_sounds_are_not_taken_for_gone(
    folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, out=out, clap=clap)
    scandir = os.scandir

    def refused(place: str) -> Any:
        if str(place).endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)
    summary = run(folder, out=out, clap=clap)
    assert (summary.unchanged, summary.vanished) == (4, 0)
    assert summary.unreadable == [f"{folder / 'deep'} cannot be listed: Permission denied."]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8(folder: Path, out: Path, clap: claprt.Clap) -> None:
    strange = folder / os.fsdecode(b"d\xf6g \xff%.wav")
    (folder / "0.wav").rename(strange)
    run(folder, out=out, clap=clap)
    (row,) = [row for row in rows_of(out) if row["path"].startswith("file://")]
    assert row["path"].endswith("/d%F6g%20%FF%25.wav")
    assert local_path(row["path"]) == str(strange)
    strange.write_bytes(b"damaged")
    assert run(folder, out=out, clap=clap).failed == 1
    assert failures_of(out)[0]["path"] == row["path"]


def test_a_file_that_changes_while_it_is_read_fails_and_is_read_again(
    folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all: Callable[..., bytes] = vars(items)["_read_all"]

    def growing(file: Any, size: int) -> bytes:
        if str(file.name).endswith("0.wav"):
            with Path(file.name).open("ab") as more:
                more.write(b"\0\0")
        return read_all(file, size)

    with monkeypatch.context() as patch:
        patch.setattr(items, "_read_all", growing)
        assert run(folder, out=out, clap=clap).failed == 1
    assert "0.wav changed while it was read" in failures_of(out)[0]["message"]
    write_sound(folder / "0.wav", 0)
    assert run(folder, out=out, clap=clap).embedded == 1
    assert failures_of(out) == []


def test_large_files_are_not_held_in_memory(
    folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, out=out, clap=clap)
    monkeypatch.setattr(items, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(items, "NamedBytes", None)
    run(folder, out=out.with_name("other"), clap=clap)
    assert rows_of(out.with_name("other")) == rows_of(out)


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tmp_path / "list.txt"
    names.touch()

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(names))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(OptionError, match=r"list\.txt means a list of sources, which cannot be read: Permission denied"):
        Sources([f"@{names}"])


def test_a_scan_holds_no_list_of_what_a_folder_has(tmp_path: Path) -> None:
    count = 10_000
    for number in range(count):
        (tmp_path / f"{number}.wav").touch()
    scan = Sources([str(tmp_path)]).scan()
    next(scan)
    tracemalloc.start()
    try:
        found = 1 + sum(1 for _ in scan)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == count
    assert peak < 100_000  # bytes; a list of the names alone takes 650,000
