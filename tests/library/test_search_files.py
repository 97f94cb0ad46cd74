"""The files that searches derive: brought up to date, damaged, deleted, read by several at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest

import claprt
from claprt.errors import LibraryWarning, LibraryWriteError
from claprt.library.library import Library
from claprt.library.search import derived

pytest.importorskip("pyarrow", reason="needs claprt[library]")
pytest.importorskip("numkong", reason="needs claprt[library]")

from claprt.library.search.query import Query
from claprt.library.search.request import Request
from claprt.library.store import PartGoneError, Store
from tests.library.conftest import DIM, rows_of

MakeStore = Callable[..., Store]
QUERY = np.linspace(-1, 1, DIM)


def check(library: Library) -> None:
    """Compare the derived vectors with the rows, and a search with their products."""
    table = library.to_arrow()
    vectors = np.array(table["embedding"].to_pylist(), np.float32).reshape(-1, DIM)
    assert np.array_equal(library.vectors(), vectors)
    cosines = vectors @ (QUERY / np.linalg.norm(QUERY))
    best: dict[str, float] = {}
    for path, cosine in zip(table["path"].to_pylist(), cosines, strict=True):
        best[path] = max(cosine, best.get(path, -1.0))
    expected = sorted(best, key=lambda path: -best[path])[:5]
    hits = library.search(vector=QUERY)[:5]
    assert [hit.path for hit in hits] == expected
    assert [hit.score for hit in hits] == pytest.approx([best[path] for path in expected], abs=1e-6)


def index_files(library: Library) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in (library.folder / "index").rglob("*") if path.is_file()}


def test_new_parts_are_added_to_the_files_that_are_there(make_store: MakeStore) -> None:
    store = make_store(["/a", "/b"], ["/c"], windows=2)
    library = claprt.open_library(store.folder)
    check(library)
    before = library.vectors()
    copy = before.copy()
    facts = {name: time for name, time in index_files(library).items() if name.endswith(".arrow")}
    with store.writing() as writer:
        writer.commit(rows=[rows_of(store, ["/d", "/e"], seed=7)])
    check(library)
    after = index_files(library)
    assert facts.items() <= after.items()
    assert len(after) == len(facts) + 1 + 5  # the new part's facts; three large files, the state and the lock
    assert np.array_equal(before, copy)
    assert len(before) == 6
    assert len(library.vectors()) == 8


def test_parts_that_go_take_their_rows_with_them(make_store: MakeStore) -> None:
    store = make_store(["/a", "/b"], ["/c", "/d"], ["/e"], windows=2)
    library = claprt.open_library(store.folder)
    check(library)
    before = library.vectors()
    copy = before.copy()
    with store.writing() as writer:
        writer.commit(rows=[rows_of(store, ["/c"], seed=8)], remove=[store.parts()[1]])
    check(library)
    assert np.array_equal(before, copy)  # whoever has the old files open keeps them
    assert len({name.partition(".")[0] for name in index_files(library) if name.endswith(derived.KINDS)}) == 1
    assert len([name for name in index_files(library) if name.endswith(".arrow")]) == 3


def test_another_process_finds_the_files_ready(make_store: MakeStore) -> None:
    store = make_store(["/a", "/b"], ["/c"])
    check(claprt.open_library(store.folder))
    library = claprt.open_library(store.folder)
    before = index_files(library)
    check(library)
    assert index_files(library) == before


def damage_vectors(library: Library) -> None:
    (path,) = (library.folder / "index").glob("*.vectors")
    content = bytearray(path.read_bytes())
    content[5] ^= 255
    path.write_bytes(content)


def cut_codes(library: Library) -> None:
    (path,) = (library.folder / "index").glob("*.codes")
    os.truncate(path, path.stat().st_size - 1)


def damage_state(library: Library) -> None:
    (library.folder / "index" / "state.json").write_text("{")


def delete_rows(library: Library) -> None:
    next((library.folder / "index").glob("*.rows")).unlink()


def delete_facts(library: Library) -> None:
    shutil.rmtree(library.folder / "index" / "facts")


def damage_facts(library: Library) -> None:
    for path in (library.folder / "index" / "facts").iterdir():
        path.write_bytes(b"ARROW1" + bytes(path.stat().st_size - 6))


def leave_a_tail(library: Library) -> None:
    """As a writer does that was killed before it wrote the state."""
    for kind in derived.KINDS:
        (path,) = (library.folder / "index").glob(f"*.{kind}")
        with path.open("ab") as file:
            file.write(b"\xff" * 100)


def delete_all(library: Library) -> None:
    shutil.rmtree(library.folder / "index")


@pytest.mark.parametrize(
    "harm",
    [damage_vectors, cut_codes, damage_state, delete_rows, delete_facts, damage_facts, leave_a_tail, delete_all],
    ids=lambda harm: harm.__name__,
)
@pytest.mark.parametrize("grows", [False, True])
def test_damaged_files_are_made_again(make_store: MakeStore, harm: Callable[[Library], None], grows: bool) -> None:
    store = make_store(["/a", "/b"], ["/c"])
    check(claprt.open_library(store.folder))
    harm(claprt.open_library(store.folder))
    if grows:
        with store.writing() as writer:
            writer.commit(rows=[rows_of(store, ["/d"], seed=9)], remove=store.parts()[:1])
    check(claprt.open_library(store.folder))


def test_a_copied_library_keeps_its_files(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(["/a", "/b"], ["/c"])
    library = claprt.open_library(store.folder)
    check(library)
    shutil.copytree(store.folder, tmp_path / "copy", copy_function=shutil.copyfile)  # other times
    copied = claprt.open_library(tmp_path / "copy")
    names = set(index_files(library))
    check(copied)
    assert set(index_files(copied)) == names  # of the same generation


def test_a_damaged_part_is_left_out_until_it_is_whole(make_store: MakeStore) -> None:
    store = make_store(["/a", "/b"], ["/c"], ["/d"])
    part = store.folder / store.parts()[1].file
    whole = part.read_bytes()
    broken = bytearray(whole)
    broken[40:60] = bytes(20)  # in a page, which has a checksum; the footer can be read
    part.write_bytes(broken)
    with pytest.warns(LibraryWarning, match=part.name):
        found = claprt.open_library(store.folder).search(vector=QUERY)
    assert {hit.path for hit in found} == {"/a", "/b", "/d"}
    part.write_bytes(whole)
    check(claprt.open_library(store.folder))


def test_a_library_that_cannot_be_written_is_searched_from_the_cache_folder(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    store = make_store(["/a", "/b"])
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != store.folder)
    check(claprt.open_library(store.folder))
    assert not (store.folder / "index").exists()
    assert len(list((cache / "libraries").glob("*/state.json"))) == 1
    monkeypatch.undo()
    check(claprt.open_library(store.folder))
    assert (store.folder / "index").exists()


def test_files_that_cannot_be_written(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(["/a"])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LibraryWriteError, match=r"index: No space left on device\. The library itself is as it was"):
        claprt.open_library(store.folder).search(vector=QUERY)
    monkeypatch.undo()
    check(claprt.open_library(store.folder))


def test_threads_search_while_the_library_changes(make_store: MakeStore) -> None:
    """Every search sees one state of the library: sounds of the first part, and those of one of the others."""
    store = make_store(["/always"], ["/0"])
    library = claprt.open_library(store.folder)
    wrong: list[object] = []
    stop = threading.Event()

    def search(of: Library) -> None:
        while not stop.wait(0.001):
            paths = {hit.path for hit in of.search(vector=QUERY)}
            if len(paths) != 2 or "/always" not in paths:
                wrong.append(paths)

    readers = [
        threading.Thread(target=search, args=(each,)) for each in (library, library, claprt.open_library(store.folder))
    ]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 15):
            with store.writing() as writer:
                writer.commit(rows=[rows_of(store, [f"/{number}"], seed=number)], remove=[store.parts()[-1]])
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    check(library)


class ModelBesideWriter:
    """Gives the query's vector, after a writer has replaced a part and another search has removed what was of it."""

    def __init__(self, store: Store) -> None:
        self.store, self.calls = store, 0

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        if self.calls == 1:
            with self.store.writing() as writer:
                writer.commit(rows=[rows_of(self.store, ["/new"], seed=1)], remove=[self.store.parts()[-1]])
            claprt.open_library(self.store.folder).search(vector=QUERY)
        return QUERY[None].astype(np.float32)


def test_a_search_that_a_writer_passes_is_done_again(make_store: MakeStore) -> None:
    store = make_store(["/always"], ["/old"])
    model = ModelBesideWriter(store)
    searcher = claprt.open_library(store.folder).searcher
    hits = searcher.search(Request(query=Query(text="a")), lambda: cast("claprt.Clap", model))
    assert {hit.path for hit in hits} == {"/always", "/new"}
    assert model.calls == 2


def test_a_library_that_changes_all_the_time_is_given_up(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = claprt.open_library(make_store(["/a"]).folder).searcher
    calls: list[str] = []

    def passed(*_: object) -> None:
        calls.append("part")
        raise PartGoneError("a part is gone")

    with pytest.raises(PartGoneError, match="a part is gone"):
        searcher.read(passed)
    assert len(calls) == 5
    monkeypatch.setattr(searcher, "snapshot", passed)  # which has tried often enough itself
    with pytest.raises(PartGoneError, match="a part is gone"):
        searcher.read(lambda _: None)
    assert len(calls) == 6


def test_facts_of_a_part_that_is_gone_are_of_before(make_store: MakeStore) -> None:
    store = make_store(["/always"], ["/old"])
    snapshot = claprt.open_library(store.folder).searcher.snapshot()
    ModelBesideWriter(store).embed_text([])
    with pytest.raises(PartGoneError, match="was replaced while the library was read"):
        snapshot.facts(1)
    assert len(snapshot.facts(0)) == 1


def test_facts_that_cannot_be_written_again(make_store: MakeStore) -> None:
    store = make_store(["/a"])
    snapshot = claprt.open_library(store.folder).searcher.snapshot()
    facts = store.folder / "index" / "facts"
    shutil.rmtree(facts)
    facts.write_bytes(b"")
    with pytest.raises(
        LibraryWriteError, match="cannot be written to .*index: File exists. The library itself is as it was"
    ):
        snapshot.facts(0)


_SEARCH = """
import sys, claprt
library = claprt.open_library(sys.argv[1])
print(len(library.search(vector=[1.0] * int(sys.argv[2]), k=100)))
"""


def test_processes_make_the_files_at_the_same_time(make_store: MakeStore) -> None:
    store = make_store(*[[f"/{part}/{sound}" for sound in range(10)] for part in range(8)])
    command = [sys.executable, "-W", "error", "-c", _SEARCH, str(store.folder), str(DIM)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["80\n"] * 2
    check(claprt.open_library(store.folder))
