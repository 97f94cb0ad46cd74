"""Shares of the sounds, and libraries that are merged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import claprt
from claprt.errors import OptionError
from claprt.library.indexing import RunOptions
from claprt.library.maintenance import merge
from claprt.library.roots import read_roots

pytest.importorskip("pyarrow", reason="needs claprt[library]")

from tests.library.indexed import failures_of, rows_of, run, write_sound


def test_partitions_merged_are_one_run(folder: Path, out: Path, clap: claprt.Clap) -> None:
    (folder / "bad.wav").write_bytes(b"no sound")
    for number in range(10, 14):
        write_sound(folder / f"{number}.wav", number)
    run(folder, out=out, clap=clap)
    parts = [out.with_name(f"part{number}") for number in (1, 2, 3)]
    found = [
        run(folder, out=part, clap=clap, options=RunOptions(partition=(number, 3))).found
        for number, part in enumerate(parts, 1)
    ]
    assert sum(found) == 10
    assert max(found) < 10
    merged = out.with_name("merged")
    merge(merged, parts)
    assert read_roots(merged) == (str(folder),)
    assert rows_of(merged) == rows_of(out)
    assert failures_of(merged) == failures_of(out)
    merge(merged, parts)  # nothing twice
    assert rows_of(merged) == rows_of(out)
    assert run(folder, out=merged, clap=clap).unchanged == 10


def test_a_partition_that_does_not_exist_is_refused() -> None:
    for number in (0, 4):
        with pytest.raises(OptionError, match=f"partition {number}/3 does not exist; the partitions of 3 are 1/3 to 3/3"):
            RunOptions(partition=(number, 3))
    with pytest.raises(OptionError, match="partition 1/0 does not exist; the second of four is 2/4"):
        RunOptions(partition=(1, 0))


def test_a_sound_that_failed_in_one_library_is_taken_from_another(folder: Path, out: Path, clap: claprt.Clap) -> None:
    sound, good, merged = folder / "0.wav", out.with_name("good"), out.with_name("merged")
    content = sound.read_bytes()
    sound.write_bytes(b"no sound")
    run(folder, out=out, clap=clap)
    sound.write_bytes(content)
    run(folder, out=good, clap=clap)
    for libraries in ([out, good], [good, out]):
        merge(merged, libraries)
        assert failures_of(merged) == []
        assert [row["path"] for row in rows_of(merged)] == [row["path"] for row in rows_of(good)]
        shutil.rmtree(merged)


def test_a_sound_that_vanished_in_one_library_is_taken_from_another(folder: Path, out: Path, clap: claprt.Clap) -> None:
    sound, there, merged = folder / "long.flac", out.with_name("there"), out.with_name("merged")
    content = sound.read_bytes()
    run(folder, out=out, clap=clap)
    run(folder, out=there, clap=clap)
    sound.unlink()
    run(folder, out=out, clap=clap)
    sound.write_bytes(content)
    assert sum(row["missing"] for row in rows_of(out)) == 3
    for libraries in ([out, there], [there, out], [out, out]):
        merge(merged, libraries)
        assert rows_of(merged) == rows_of(there if there in libraries else out)
        shutil.rmtree(merged)


def test_libraries_that_cannot_be_merged_leave_nothing(folder: Path, out: Path, clap: claprt.Clap) -> None:
    other, merged = out.with_name("other"), out.with_name("merged")
    run(folder, out=out, clap=clap)
    run(folder, out=other, clap=clap, rows="both")
    with pytest.raises(OptionError, match="rows=windows .*rows=both"):
        merge(merged, [out, other])
    assert not merged.exists()
