"""The folder of a library: changes that happen whole or not at all, damage, and other readers."""

from __future__ import annotations

import errno
import json
import os
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.errors import (
    LibraryCorruptError,
    LibraryError,
    LibraryNotFoundError,
    LibraryVersionError,
    LibraryWarning,
    LibraryWriteError,
    MissingDependencyError,
    OptionError,
)

pytest.importorskip("pyarrow", reason="needs claprt[library]")

import pyarrow.parquet as pq

from claprt.library import commits
from claprt.library.commits import LOG, Change, partial_path
from claprt.library.store import Store, create_store
from tests.library.conftest import DIM, MANIFEST, rows_of

MakeStore = Callable[..., Store]


def paths_in(store: Store) -> list[str]:
    return [path for _, table in store.tables(columns=["path"]) for path in table["path"].to_pylist()]


def test_what_was_committed_is_read(make_store: MakeStore) -> None:
    store = make_store(["/a", "/b"], ["/c"])
    assert [part.rows for part in store.parts()] == [2, 1]
    table = store.read(store.parts()[0])
    assert table.schema.equals(store.schema())
    assert table.equals(rows_of(store, ["/a", "/b"]))
    assert store.read(store.parts()[1], ["window", "path"]).to_pydict() == {"window": [0], "path": ["/c"]}


def test_a_library_reads_without_a_model(make_store: MakeStore) -> None:
    store = make_store(["/a", "/b", "/c"], ["/d"], windows=2)
    library = claprt.open_library(store.folder)
    assert len(library) == 8
    assert library.to_arrow().num_rows == 8
    assert library.to_arrow(["start_s", "path"]).column_names == ["start_s", "path"]
    assert [batch.num_rows for batch in library.batches(4)] == [4, 2, 2]
    assert library.failures().num_rows == 0
    assert library.fingerprint == MANIFEST.fingerprint
    assert library.to_arrow("path").column_names == ["path"]
    assert len(pickle.loads(pickle.dumps(library))) == 8


def test_rows_for_pandas(make_store: MakeStore) -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    library = claprt.open_library(make_store(["/a"]).folder)
    assert len(library.to_pandas(["embedding"])["embedding"][0]) == DIM


def test_pandas_that_is_not_installed_is_named(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    library = claprt.open_library(make_store(["/a"]).folder)
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        library.to_pandas()


def test_columns_and_batches_that_do_not_exist_are_refused(make_store: MakeStore) -> None:
    library = claprt.open_library(make_store(["/a"]).folder)
    for read in (library.to_arrow, library.to_pandas, lambda columns: list(library.batches(columns=columns))):
        with pytest.raises(OptionError, match=r"columns=\['title'\] names 'title'; the table has id, path, "):
            read(["title"])
    with pytest.raises(OptionError, match="names one twice"):
        library.to_arrow(["path", "path"])
    with pytest.raises(OptionError, match="n=0 is not possible"):
        next(library.batches(0))


def test_an_empty_library_has_its_columns(make_store: MakeStore) -> None:
    library = claprt.open_library(make_store().folder)
    assert len(library) == 0
    assert library.to_arrow().schema.equals(library.store.schema())


def test_other_tools_read_the_parts(make_store: MakeStore) -> None:
    duckdb: Any = pytest.importorskip("duckdb", reason="needs DuckDB")
    store = make_store(["/a", "/b"], ["/c"])
    parts = str(store.folder / "rows" / "*.parquet")
    found = duckdb.sql(f"select path, len(embedding) from '{parts}' where sample_rate = 48000 order by path").fetchall()
    assert found == [("/a", DIM), ("/b", DIM), ("/c", DIM)]


def test_a_part_replaces_others_in_one_change(make_store: MakeStore) -> None:
    store = make_store(["/a", "/b"], ["/c"])
    with store.writing() as writer:
        (added,) = writer.commit(rows=[rows_of(store, ["/a"])], remove=store.parts()[:1])
    assert paths_in(store) == ["/c", "/a"]
    assert added.name not in {part.name for part in make_store(["/z"], name="other").parts()}


class KilledError(BaseException):
    """Stands for the end of the process."""


class StepsLeft:
    """Lets so many calls happen; the process is killed before the next."""

    def __init__(self, count: int) -> None:
        self.count = count

    def counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if not self.count:
                raise KilledError
            self.count -= 1
            return step(*arguments, **options)

        return call


@pytest.mark.parametrize("steps", range(6))
def test_a_writer_killed_at_any_step_leaves_the_old_state_or_the_new(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Every rename and unlink of a change counts; the process ends before the n-th."""
    store, steps_left = make_store(["/a", "/b"], ["/c"]), StepsLeft(steps)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", steps_left.counted(Path.replace))
        patch.setattr(Path, "unlink", steps_left.counted(Path.unlink))
        killed = False
        try:
            with store.writing() as writer:
                steps_left.count = steps
                writer.commit(rows=[rows_of(store, ["/a"])], remove=store.parts()[:1])
        except KilledError:
            killed = True
    assert killed == (steps < 4)  # the log, the new part, the old part, the log again
    expected = (["/a", "/b", "/c"], ["/c", "/a"])
    assert paths_in(store) == expected[steps > 0]
    with Store(store.folder).writing():
        pass
    again = Store(store.folder)
    assert paths_in(again) == expected[steps > 0]
    assert not (store.folder / LOG).exists()
    assert not list(store.folder.rglob(f"*{commits.PARTIAL}"))


@pytest.mark.parametrize("steps", range(4))
def test_a_library_whose_maker_was_killed_is_made_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """The folder, the manifest, and the folders of the tables."""
    folder, steps_left = tmp_path / "library", StepsLeft(steps)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", steps_left.counted(Path.mkdir))
        patch.setattr(Path, "replace", steps_left.counted(Path.replace))
        with pytest.raises(KilledError):
            create_store(folder, MANIFEST)
    store = create_store(folder, MANIFEST)
    with store.writing() as writer:
        writer.commit(rows=[rows_of(store, ["/a"])])
    assert paths_in(Store(folder)) == ["/a"]


def test_a_reader_honours_a_log(make_store: MakeStore) -> None:
    store = make_store(["/a"], ["/b"])
    new = "rows/000009-00000000.parquet"
    pq.write_table(rows_of(store, ["/new"]), partial_path(store.folder, new))
    old = store.parts()[0].file
    (store.folder / LOG).write_text(json.dumps({"add": [new], "remove": [old]}))
    assert paths_in(Store(store.folder)) == ["/b", "/new"]


def test_readers_beside_a_writer_see_whole_states(make_store: MakeStore) -> None:
    store = make_store(["/a", "/b"])
    wrong: list[list[str]] = []
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.001):  # a thread that never waits takes the interpreter from the writer for seconds
            try:
                found = sorted(paths_in(Store(store.folder)))
            except LibraryError:  # a part was replaced between listing and reading: said, not left out
                continue
            seen.append(len(found))
            if found != ["/a", "/b"]:
                wrong.append(found)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with store.writing() as writer:
        for number in range(60):
            writer.commit(rows=[rows_of(store, ["/a", "/b"], seed=number)], remove=store.parts())
    stop.set()
    watcher.join()
    assert wrong == []
    assert seen


def test_a_full_disk_leaves_the_library_as_it_was(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(["/a"])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refused = pytest.raises(LibraryWriteError, match=r"No space left on device\. What it held before is intact")
        with refused, store.writing() as writer:
            writer.commit(rows=[rows_of(store, ["/b"])])
    assert paths_in(Store(store.folder)) == ["/a"]
    assert not list(store.folder.rglob(f"*{commits.PARTIAL}"))
    with store.writing() as writer:
        writer.commit(rows=[rows_of(store, ["/b"])])
    assert paths_in(store) == ["/a", "/b"]


def test_a_second_writer_waits(make_store: MakeStore) -> None:
    store = make_store(["/a"])
    told, order = threading.Event(), list[str]()

    def second() -> None:
        with Store(store.folder).writing(told.set) as writer:
            order.append("second")
            writer.commit(rows=[rows_of(store, ["/c"])])

    with store.writing() as writer:
        other = threading.Thread(target=second)
        other.start()
        assert told.wait(10)
        writer.commit(rows=[rows_of(store, ["/b"])])
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert paths_in(store) == ["/a", "/b", "/c"]


@pytest.mark.parametrize("where", ["footer", "vectors"])
def test_a_damaged_part_is_named_and_the_others_serve(make_store: MakeStore, where: str) -> None:
    store = make_store(["/a", "/b"], ["/c"])
    part = store.parts()[0]
    path = store.folder / part.file
    content = bytearray(path.read_bytes())
    vectors = np.asarray(store.read(part, ["embedding"])["embedding"].combine_chunks().flatten()).tobytes()
    content[-6 if where == "footer" else content.index(vectors) + 5] ^= 0x55
    path.write_bytes(content)
    library = claprt.open_library(store.folder)
    with pytest.warns(LibraryWarning, match=rf"{part.name} cannot be read: .*claprt index"):
        assert library.to_arrow()["path"].to_pylist() == ["/c"]
    assert list(library.store.damaged) == [part.file]


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryNotFoundError, match=r"does not exist.*claprt index"):
        claprt.open_library(tmp_path / "none")
    with pytest.raises(LibraryNotFoundError, match=r"without library\.json"):
        claprt.open_library(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LibraryNotFoundError, match=r"notes\.txt, which is a file; a library is a folder"):
        claprt.open_library(tmp_path / "notes.txt")
    with pytest.raises(LibraryError, match=r"holds other files \(notes\.txt\)"):
        create_store(tmp_path, MANIFEST)
    with pytest.raises(LibraryError, match=r"notes\.txt is a file, and a library is a folder; name a new folder"):
        create_store(tmp_path / "notes.txt", MANIFEST)
    with pytest.raises(LibraryWriteError, match=r"cannot be made at .*notes\.txt.inside: "):
        create_store(tmp_path / "notes.txt" / "inside", MANIFEST)
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["notes.txt"]


def test_another_format_is_refused(make_store: MakeStore) -> None:
    store = make_store(["/a"])
    path = store.folder / "library.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(LibraryVersionError, match=r"has format 2 \(claprt .*reads format 1"):
        claprt.open_library(store.folder)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1, "dim": "eight"}'])
def test_a_damaged_manifest_is_refused(make_store: MakeStore, content: str) -> None:
    store = make_store(["/a"])
    (store.folder / "library.json").write_text(content)
    with pytest.raises(LibraryCorruptError, match="is not the manifest of a library"):
        claprt.open_library(store.folder)


def test_changes_of_one_file_need_no_log(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(["/a"])
    seen: list[Change] = []
    carry_out: Callable[[Path, Change], None] = vars(commits)["_carry_out"]

    def watched(root: Path, change: Change) -> None:
        assert not (root / LOG).exists()
        seen.append(change)
        carry_out(root, change)

    monkeypatch.setattr(commits, "_carry_out", watched)
    with store.writing() as writer:
        writer.commit(rows=[rows_of(store, ["/b"])])
    assert len(seen) == 1
