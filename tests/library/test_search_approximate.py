"""The approximate index: its recall, sounds that came and went since, damage."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.cli import main
from claprt.errors import OptionError

pytest.importorskip("pyarrow", reason="needs claprt[library]")
pytest.importorskip("numkong", reason="needs claprt[library]")
pytest.importorskip("faiss", reason="needs claprt[library]")

from claprt.library.library import Library
from claprt.library.search import searcher
from claprt.library.search.approximate import BuildOptions, read_info
from claprt.library.search.hits import Hit
from claprt.library.store import create_store
from tests.library.conftest import MANIFEST, rows_of

DIM = 32
OPTIONS = BuildOptions(exact_below=0, centres=20)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A thousand sounds of two windows, in four parts."""
    store = create_store(tmp_path / "library", replace(MANIFEST, dim=DIM))
    with store.writing() as writer:
        for part in range(4):
            paths = [f"/{part}/{number}" for number in range(250)]
            writer.commit(rows=[rows_of(store, paths, windows=2, seed=part)])
    return claprt.open_library(store.folder)


def query(seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(DIM)


def exact(library: Library, seed: int, k: int = 10) -> list[Hit]:
    return library.search(vector=query(seed), k=k, exact=True)


def test_an_index_finds_what_the_exact_search_finds(
    library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = library.build_index(replace(OPTIONS, recall=0.9))  # vectors without any structure are the hardest
    assert 0.9 <= info.recall["sounds"] <= 1
    assert info.probes < info.centres
    assert read_info(library.folder / "index") == info
    assert main(["library", "info", str(library.folder)]) == 0
    assert f"2,000 rows, recall@10 {info.recall['sounds']:.4f} of sounds" in capsys.readouterr().out
    assert library.index == info
    shares: list[float] = []
    with monkeypatch.context() as patch:
        nearest = [exact(library, seed) for seed in range(30)]
        patch.setattr(searcher.Searcher, "_nearest", None)  # which would scan everything
        for seed, hits in enumerate(nearest):
            found = library.search(vector=query(seed))
            scores = {hit.id: hit.score for hit in hits}
            assert all(scores.get(hit.id, hit.score) == pytest.approx(hit.score, abs=1e-6) for hit in found)
            shares.append(len({hit.id for hit in found} & scores.keys()) / 10)
    assert np.mean(shares) >= 0.85


def test_small_libraries_filters_and_large_k_are_searched_exactly(library: Library) -> None:
    library.build_index(replace(OPTIONS, exact_below=2001))
    assert library.searcher._index(library.searcher.snapshot()) is None  # pyright: ignore[reportPrivateUsage]
    library.build_index(OPTIONS)
    assert library.searcher._index(library.searcher.snapshot()) is not None  # pyright: ignore[reportPrivateUsage]
    assert len(library.search(vector=query(0), k=5000)) == 1000
    assert len(library.search(vector=query(0), k=999, where="path LIKE '/2/%'")) == 250


def test_new_sounds_are_found_and_those_that_went_are_not(library: Library) -> None:
    library.build_index(OPTIONS)
    store = library.store
    with store.writing() as writer:
        new = rows_of(store, ["/new"], seed=99)
        writer.commit(
            rows=[new, rows_of(store, [f"/more/{number}" for number in range(50)], seed=7)], remove=[store.parts()[1]]
        )
    vector = new["embedding"][0].as_py()
    hits = library.search(vector=vector, k=50)
    assert hits[0].path == "/new"
    assert not any(hit.path.startswith("/1/") for hit in hits)
    assert {hit.path for hit in hits[:5]} == {hit.path for hit in library.search(vector=vector, k=5, exact=True)}
    with store.writing() as writer:
        writer.commit(rows=[rows_of(store, ["/x"])], remove=store.parts()[1:3])
    assert library.searcher._index(library.searcher.snapshot()) is None  # pyright: ignore[reportPrivateUsage] - too little is left of it
    assert library.search(vector=vector)[0].path == "/new"


def test_a_damaged_index_is_not_used(library: Library) -> None:
    info = library.build_index(OPTIONS)
    hits = library.search(vector=query(1))
    (library.folder / "index" / info.file).write_bytes(b"faiss?" * 100)
    assert claprt.open_library(library.folder).search(vector=query(1)) == exact(library, 1)
    (library.folder / "index" / info.file).unlink()
    assert claprt.open_library(library.folder).search(vector=query(1)) == exact(library, 1)
    second = library.build_index(OPTIONS)
    assert [path.name for path in (library.folder / "index").glob("*.faiss")] == [second.file]
    assert [hit.id for hit in library.search(vector=query(1))] == [hit.id for hit in hits]


def test_searches_go_on_while_an_index_is_built(library: Library) -> None:
    found: list[str] = []

    def search() -> None:
        with library.store.writing() as writer:
            writer.commit(rows=[rows_of(library.store, ["/new"], seed=99)])
        found.extend(hit.path for hit in claprt.open_library(library.folder).search(vector=query(0), where="path = '/new'"))

    def progress(stage: str, share: float) -> None:
        if stage == "add" and share == 0:
            other = threading.Thread(target=search, daemon=True)
            other.start()
            other.join(20)

    library.build_index(OPTIONS, progress=progress)
    assert found == ["/new"]


def test_an_index_that_cannot_be_built(library: Library, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="recall=0"):
        library.build_index(replace(OPTIONS, recall=0.0))
    with pytest.raises(OptionError, match=r"2,000 rows takes up to \d MB of memory .* memory_mb=1 \(--memory\) is less"):
        library.build_index(replace(OPTIONS, memory_mb=1))
    assert library.index is None
    assert library.build_index(replace(OPTIONS, memory_mb=20)).rows == 2000
    empty = create_store(tmp_path / "empty", MANIFEST)
    with pytest.raises(OptionError, match="is empty"):
        claprt.open_library(empty.folder).build_index(OPTIONS)
