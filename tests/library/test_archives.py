"""Sounds within tar archives and Parquet files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

import claprt

pytest.importorskip("pyarrow", reason="needs claprt[library]")

import pyarrow as pa
import pyarrow.parquet as pq

from tests.library.indexed import CountedEngine, rows_of, run, tar_of


@pytest.mark.parametrize(("name", "mode"), [("shard.tar", "w"), ("shard.tar.gz", "w:gz")])
def test_sounds_in_tar_shards(
    folder: Path, out: Path, clap: claprt.Clap, tmp_path: Path, name: str, mode: str, engine: CountedEngine
) -> None:
    archive = tar_of(folder, tmp_path / name, mode)
    run(folder, out=out, clap=clap)
    inside = out.with_name("inside")
    summary = run(archive, out=inside, clap=clap)
    assert (summary.embedded, summary.rows) == (5, 7)
    rows = {(row["path"], row["window"]): row for row in rows_of(out)}
    for row in rows_of(inside):
        where, _, member = row["path"].partition("::")
        assert where == str(archive)
        its = rows[str(folder / member), row["window"]]
        assert {key for key in row if row[key] != its[key]} == {"id", "path", "mtime"}
    windows = engine.windows
    assert run(archive, out=inside, clap=clap).unchanged == 5
    (folder / "0.wav").unlink()
    tar_of(folder, archive, mode)
    os.utime(archive, (1e9, 1e9))
    summary = run(archive, out=inside, clap=clap)
    assert (summary.touched, summary.vanished, engine.windows) == (4, 1, windows)


def test_a_damaged_tar_is_named_and_what_is_before_the_damage_serves(
    folder: Path, out: Path, clap: claprt.Clap, tmp_path: Path
) -> None:
    archive = tar_of(folder, tmp_path / "shard.tar")
    run(archive, out=out, clap=clap)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 3])
    summary = run(archive, folder, out=out, clap=clap)
    assert summary.vanished == 0
    assert summary.copied == 5
    assert summary.failed + len(summary.unreadable) > 0


def sound_table(folder: Path, kind: str) -> Any:
    files = sorted(folder.rglob("*.wav"))
    if kind == "struct":
        return pa.table(
            {"audio": [{"bytes": file.read_bytes(), "path": file.name} for file in files], "label": [1] * len(files)}
        )
    if kind == "bytes":
        return pa.table({"bytes": [file.read_bytes() for file in files]})
    return pa.table({"path": [str(file.relative_to(folder)) for file in files]})


def write_table(content: Any, file: Path, form: str) -> None:
    """In parts of two rows; `stream` is what Hugging Face's `save_to_disk` writes."""
    if form == "parquet":
        pq.write_table(content, file, row_group_size=2)
        return
    with (pa.ipc.new_stream if form == "stream" else pa.ipc.new_file)(file, content.schema) as writer:
        writer.write_table(content, max_chunksize=2)


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("struct", "parquet"),
        ("bytes", "parquet"),
        ("path", "parquet"),
        ("struct", "stream"),
        ("bytes", "stream"),
        ("path", "file"),
    ],
)
def test_sounds_in_tables(folder: Path, out: Path, clap: claprt.Clap, kind: str, form: str, engine: CountedEngine) -> None:
    table = folder / ("train.parquet" if form == "parquet" else "data-00000-of-00001.arrow")
    write_table(sound_table(folder, kind), table, form)
    summary = run(table, out=out, clap=clap)
    assert (summary.embedded, summary.failed) == (4, 0)
    paths = [row["path"] for row in rows_of(out)]
    files = sorted(folder.rglob("*.wav"))
    expected = {
        "struct": [f"{table}::{row}/{file.name}" for row, file in enumerate(files)],
        "bytes": [f"{table}::{row}" for row in range(4)],
        "path": [str(file) for file in files],
    }[kind]
    assert paths == expected
    assert {row["sha256"] for row in rows_of(out)} == {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert run(table, out=out, clap=clap).unchanged == 4
    assert engine.windows == 4


@pytest.mark.parametrize("form", ["stream", "file"])
def test_an_arrow_file_that_is_cut_is_named(folder: Path, out: Path, clap: claprt.Clap, form: str) -> None:
    table = folder / "data.arrow"
    write_table(sound_table(folder, "struct"), table, form)
    table.write_bytes(table.read_bytes()[:-1000])
    summary = run(table, out=out, clap=clap)
    assert summary.embedded == (2 if form == "stream" else 0)  # the end of a file says where its rows are
    assert "data.arrow cannot be read as Arrow" in summary.unreadable[0]


def test_a_table_without_sounds_is_named(folder: Path, out: Path, clap: claprt.Clap) -> None:
    pq.write_table(pa.table({"number": [1, 2]}), folder / "numbers.parquet")
    summary = run(folder / "numbers.parquet", out=out, clap=clap)
    assert len(summary.unreadable) == 1
    assert "has no column of sounds" in summary.unreadable[0]
