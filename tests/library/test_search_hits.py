"""Searches of libraries with made-up vectors, against rankings by hand and by a plain matrix product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import claprt
from claprt.cli import main
from claprt.errors import ArrayError, OptionError, TextError

pytest.importorskip("pyarrow", reason="needs claprt[library]")
pytest.importorskip("numkong", reason="needs claprt[library]")

import pyarrow as pa

from claprt.library.library import Library
from claprt.library.manifest import LibraryManifest, ModelReference
from claprt.library.search import scan
from claprt.library.search.derived_part import encode
from claprt.library.search.exports import export_hits
from claprt.library.search.filters import Filter
from claprt.library.search.names import words_of
from claprt.library.search.searcher import Searcher
from claprt.library.store import Store, create_store
from tests.library.conftest import DIM, MANIFEST, rows_of

MakeStore = Callable[..., Store]


def axis(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector [DIM] whose first values are these."""
    vector = np.zeros(DIM, np.float32)
    vector[: len(values)] = values
    return vector


def add_rows(store: Store, *sounds: tuple[str, list[Any]], **columns: Any) -> None:
    """Add a part with these vectors for the windows of each sound, and values of some columns for all rows."""
    rows: list[Any] = []
    for path, vectors in sounds:
        table = rows_of(store, [path], windows=len(vectors))
        unit = np.array(vectors, np.float32) / np.linalg.norm(vectors, axis=1, keepdims=True)
        field = table.schema.field("embedding")
        embedding = pa.FixedSizeListArray.from_arrays(
            pa.array(unit.reshape(-1).astype(store.manifest.dtype)), type=field.type
        )
        table = table.set_column(table.schema.get_field_index("embedding"), field, embedding)
        for name, value in columns.items():
            where = table.schema.get_field_index(name)
            table = table.set_column(
                where, table.schema.field(name), pa.array([value] * len(vectors), table.schema.field(name).type)
            )
        rows.append(table)
    with store.writing() as writer:
        writer.commit(rows=[pa.concat_tables(rows)])


@pytest.fixture
def library(make_store: MakeStore) -> Library:
    """Three sounds whose cosines are known: one of two windows, and one that has vanished is the nearest of all."""
    store = make_store()
    add_rows(store, ("/drums/KickHard.wav", [axis(0, 1), axis(0.8, 0.6)]), ("/rain.flac", [axis(0.6, 0.8)]), duration_s=5.0)
    add_rows(store, ("/voices/choir.wav", [axis(0, 0, 1)]), duration_s=30.0)
    add_rows(store, ("/gone.wav", [axis(1)]), missing=True)
    return claprt.open_library(store.folder)


def test_hits_are_sounds_by_their_best_window(library: Library) -> None:
    hits = library.search(vector=axis(2), k=3)
    assert [hit.path for hit in hits] == ["/drums/KickHard.wav", "/rain.flac", "/voices/choir.wav"]
    assert [hit.score for hit in hits] == pytest.approx([0.8, 0.6, 0.0], abs=1e-6)
    assert [hit.start_s for hit in hits] == [10.0, 0.0, 0.0]
    assert hits[0].windows == ((10.0, pytest.approx(0.8)), (0.0, pytest.approx(0.0)))
    assert hits[0].facts["sample_rate"] == 48_000
    assert hits[0].duration_s == 5.0
    assert all(hit.windows == () for hit in library.search(vector=axis(1), windows=False))


def test_vanished_sounds_are_left_out_unless_asked_for(library: Library) -> None:
    assert len(library.search(vector=axis(1), k=100)) == 3
    assert library.search(vector=axis(1), k=1, missing=True)[0].path == "/gone.wav"


def test_several_vectors_are_added_up_at_equal_length(library: Library) -> None:
    (hit,) = library.search(vector=[axis(10), axis(0, 0, 1)], k=1, where="path LIKE '/drums/%'")
    assert hit.score == pytest.approx(0.8 / np.sqrt(2))


def test_what_is_like_a_sound_of_the_library(library: Library) -> None:
    ids = {hit.path: hit.id for hit in library.search(vector=axis(1))}
    rain = library.search(like=ids["/rain.flac"], k=5)
    assert [hit.path for hit in rain] == ["/drums/KickHard.wav", "/voices/choir.wav"]
    assert rain[0].score == pytest.approx(0.96)  # 0.6 · 0.8 + 0.8 · 0.6
    # the vector of a sound is the mean of its windows: (0.4, 0.8) of length √0.8
    assert library.search(like=ids["/drums/KickHard.wav"], k=1)[0].score == pytest.approx(0.88 / np.sqrt(0.8))
    # p = (0.6, 0.8, 0), m = (0, 0, 1): p − 0.5 m has the length √1.25
    minus = library.search(like=ids["/rain.flac"], unlike=ids["/voices/choir.wav"], k=1)
    assert minus[0].score == pytest.approx(0.96 / np.sqrt(1.25))
    with pytest.raises(OptionError, match="No sound of the library has the id 'nobody'"):
        library.search(like="nobody")


@pytest.mark.parametrize(
    ("where", "paths"),
    [
        ("duration_s < 10", ["/drums/KickHard.wav", "/rain.flac"]),
        ("path LIKE '%.wav' AND duration_s > 10", ["/voices/choir.wav"]),
        ('"window" = 1', ["/drums/KickHard.wav"]),
        ("regexp_matches(path, 'rain|choir') -- a comment", ["/rain.flac", "/voices/choir.wav"]),
        ("false", []),
    ],
)
def test_filters(library: Library, where: str, paths: list[str]) -> None:
    assert [hit.path for hit in library.search(vector=axis(1), where=where)] == paths


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("duration_s <", "syntax error"),
        ("", "is no condition"),
        ("loudness > 3", "it names loudness, and the library has id, path"),
        ("path", "Could not convert"),
        ("window = 1", 'stands in double quotes, "window"'),
        ("true) UNION SELECT 1 --", "syntax error"),
        ("path IN (SELECT content FROM read_text('/etc/passwd'))", "a query of its own"),
        ("true; DROP TABLE library", "syntax error"),
        ("true) ORDER BY (path", "more than a condition"),
        ("length(repeat(path, 1000000000)) > 1", "cannot be used"),
    ],
)
def test_filters_that_are_refused(library: Library, where: str, reason: str) -> None:
    with pytest.raises(OptionError, match="where=") as refused:
        library.search(vector=axis(1), where=where)
    assert reason in str(refused.value)


def test_a_filter_that_takes_too_long_is_ended() -> None:
    condition = Filter("md5(repeat(path, 20000)) = 'x'", ["path"], longest_s=0.05)
    with pytest.raises(OptionError, match=r"it took more than 0\.05 s"):
        condition.rows(pa.table({"path": ["p"] * 100_000}))


@pytest.mark.parametrize("memory_mb", [-1, float("nan")])
def test_a_bound_on_memory_that_is_none_is_refused(make_store: MakeStore, memory_mb: float) -> None:
    with pytest.raises(OptionError, match=f"memory_mb={memory_mb:g} is not possible"):
        claprt.open_library(make_store().folder, memory_mb=memory_mb)


def test_a_long_condition_is_not_repeated_whole(library: Library) -> None:
    with pytest.raises(OptionError) as refused:
        library.search(vector=axis(1), where="x" * 100_000)
    assert len(str(refused.value)) < 2_000


def test_a_filter_cannot_read_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    condition = Filter("path = 'x'", ["path"])
    condition.where = f"path = (SELECT a FROM '{secret}')"  # as if the parser had let it through
    with pytest.raises(OptionError, match="disabled|Permission"):
        condition.rows(pa.table({"path": ["x"]}))


def test_names(library: Library) -> None:
    clap = _Texts()
    hits = library.searcher.search(request(text="a hard kick", names=0.5), lambda: clap)  # pyright: ignore[reportArgumentType]
    assert hits[0].path == "/drums/KickHard.wav"
    assert hits[0].score == pytest.approx(0.5, abs=1e-6)  # its cosine with the text is 0
    add_rows(library.store, ("/kicks/soft.wav", [axis(0, 0, 0, 1)]))
    hits = library.searcher.search(request(text="kick soft", names=0.5), lambda: clap)  # pyright: ignore[reportArgumentType]
    assert hits[0].path == "/kicks/soft.wav"
    with pytest.raises(OptionError, match="no text was given"):
        library.search(vector=axis(1), names=0.5)


class _Texts:
    """A model whose texts are at right angles to all sounds."""

    def embed_text(self, texts: object) -> Any:
        return axis(0, 0, 0, 0, 1)[None]


def request(names: float, **query: Any) -> Any:
    from claprt.library.search.query import Query
    from claprt.library.search.request import Request

    return Request(query=Query(**query), names=names)


def test_words_of_paths() -> None:
    assert words_of("C:\\Samples\\808s\\BD_Long-02.WAV") == ["c", "samples", "808", "s", "bd", "long", "02"]
    assert words_of("été/Vögel.flac") == ["été", "vögel"]


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({}, OptionError, "nothing to look for"),
        ({"text": []}, OptionError, "nothing to look for"),
        ({"vector": [np.nan] * DIM}, ArrayError, "NaN"),
        ({"vector": [0.0] * DIM}, ArrayError, "all zeros"),
        ({"vector": [1.0] * 3}, ArrayError, r"shape \[3\]"),
        ({"vector": "dog"}, ArrayError, "not an array"),
        ({"vector": [1j] * DIM}, ArrayError, "not an array"),
        ({"vector": [axis(1), axis(-1)]}, OptionError, "cancels itself out"),
        ({"vector": axis(1), "k": 0}, OptionError, "k=0"),
        ({"vector": axis(1), "k": 1.5}, OptionError, "whole number"),
        ({"vector": axis(1), "names": -1}, OptionError, "names=-1"),
    ],
)
def test_searches_that_are_refused(
    library: Library, arguments: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        library.search(**arguments)


def test_an_empty_library_has_no_hits(make_store: MakeStore) -> None:
    library = claprt.open_library(make_store().folder)
    assert library.search(vector=axis(1), where="duration_s > 1") == []
    assert library.vectors().shape == (0, DIM)


def test_rows_of_one_sound_in_two_parts_are_one_hit(make_store: MakeStore) -> None:
    store = make_store()
    add_rows(store, ("/a", [axis(1)]), ("/b", [axis(0.5, 1)]))
    add_rows(store, ("/a", [axis(1, 0.1)]), ("/c", [axis(0, 1)]))
    hits = claprt.open_library(store.folder).search(vector=axis(1), k=2)
    assert [hit.path for hit in hits] == ["/a", "/b"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 300), dim=st.sampled_from([1, 8, 512]), near=st.booleans())
def test_codes_and_their_bound(seed: int, rows: int, dim: int, near: bool) -> None:
    """A product of codes is never farther from the true one than the bound says."""
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((rows, dim)) * generator.exponential(size=dim) + near * 5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes, kept = encode(vectors.astype(np.float32))
    approximate = (codes.astype(np.int64) @ codes[0].astype(np.int64)) * (kept["scale"] * kept["scale"][0]).astype(
        np.float64
    )
    bound = kept["error"] + kept["error"][0] * (1.001 + kept["error"])
    assert (np.abs(approximate - vectors @ vectors[0]) <= bound).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_scan_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """Ranks as the product of all stored vectors, with vectors so near each other that codes alone mix them up."""
    monkeypatch.setattr(scan, "_BLOCK", 64)
    store = create_store(tmp_path / "library", replace(MANIFEST, dtype=dtype))
    generator = np.random.default_rng(3)
    for part in range(4):
        near = axis(1) + 0.02 * generator.standard_normal((100, DIM))
        add_rows(store, *[(f"/{part}/{number}", [vector]) for number, vector in enumerate(near)])
    library = claprt.open_library(store.folder)
    vectors = library.vectors()
    assert vectors.dtype == dtype
    assert np.array_equal(vectors, np.stack(library.to_arrow(["embedding"])["embedding"].to_pylist()))
    query = axis(1, 0.01, -0.01)
    query /= np.linalg.norm(query)
    cosines = vectors.astype(np.float32) @ query
    best = np.argsort(-cosines, kind="stable")[:20]
    paths = library.to_arrow(["path"])["path"].to_pylist()
    for threads in (1, 3):
        snapshot = Searcher(store).snapshot()
        found = scan.nearest_sounds(snapshot, query, 20, threads=threads, memory_mb=0)
        assert [paths[row] for row in found.rows] == [paths[row] for row in best]
        assert found.scores == pytest.approx(cosines[best], abs=1e-6)


def test_texts_and_sounds_of_the_model(tmp_path: Path, clap: claprt.Clap) -> None:
    """The query of a text and a sound is the sum of their vectors; less a text, it has half of that subtracted."""
    sound = np.sin(np.arange(48_000) / 20).astype(np.float32)
    vectors = np.stack([*clap.embed_text(["a dog", "rain"]), clap.embed_audio(sound, 48_000)])
    model = ModelReference(bundle=str(clap.bundle.path), name="toy", checkpoint_sha256="0" * 64)
    store = create_store(tmp_path / "library", LibraryManifest(fingerprint=clap.fingerprint, dim=clap.dim, model=model))
    table = rows_of(store, ["/dog", "/rain", "/tone"])
    field = table.schema.field("embedding")
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=field.type)
    with store.writing() as writer:
        writer.commit(rows=[table.set_column(table.schema.get_field_index("embedding"), field, embedding)])
    with claprt.open_library(store.folder) as library:
        (hit,) = library.search("a dog", k=1)
        assert hit.path == "/dog"
        assert hit.score == pytest.approx(1.0, abs=1e-5)
        both = vectors[0] + vectors[2]
        both /= np.linalg.norm(both)
        found = library.search("a dog", audio=sound, sample_rate=48_000, where="path = '/tone'")
        assert found[0].score == pytest.approx(both @ vectors[2], abs=1e-5)
        less = vectors[0] - 0.5 * vectors[1]
        less /= np.linalg.norm(less)
        found = library.search(text="a dog", minus="rain", where="path = '/rain'")
        assert found[0].score == pytest.approx(less @ vectors[1], abs=1e-5)
        assert library.search("dog " * 500)  # longer than the model takes: truncated, as everywhere
        with pytest.raises(TextError):
            library.search("")


def test_a_playlist_has_what_players_open(make_store: MakeStore, tmp_path: Path) -> None:
    named_so = tmp_path / "take::1.wav"
    named_so.touch()
    store = make_store(["/a.wav", str(named_so), "/shard.tar::b.wav", "s3://bucket/c.wav", "s3://bucket/shard.tar::d.wav"])
    hits = claprt.open_library(store.folder).search(vector=axis(1))
    left_out = export_hits(hits, tmp_path / "found.m3u8")
    lines = (tmp_path / "found.m3u8").read_text().splitlines()
    assert {line for line in lines if not line.startswith("#")} == {"/a.wav", str(named_so), "s3://bucket/c.wav"}
    assert {hit.path for hit in left_out} == {"/shard.tar::b.wav", "s3://bucket/shard.tar::d.wav"}


@pytest.mark.parametrize("name", ["found.m3u8", "found.CSV"])
def test_a_file_has_no_copies(library: Library, tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is a {Path(name).suffix.lower()} file, which holds none"):
        export_hits(library.search(vector=axis(1)), tmp_path / name, copy=True)
    assert not (tmp_path / name).exists()


def test_copies_go_with_an_export(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["search", str(library.folder), "rain", "--copy"])
    assert "--copy goes with --export FOLDER" in capsys.readouterr().err
