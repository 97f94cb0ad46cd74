"""Duplicates, clusters and maps of libraries whose groups are known."""

from __future__ import annotations

import json
import re
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

from claprt.library.duplicates import DuplicateGroup
from claprt.library.library import Library
from claprt.library.manifest import RowKind
from claprt.library.schema import WHOLE_SOUND
from claprt.library.search import sound_vectors
from claprt.library.store import create_store
from tests.library.conftest import MANIFEST
from tests.library.test_search_hits import add_rows, axis


def paths(group: DuplicateGroup) -> list[str]:
    return [sound.path for sound in group.sounds]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Two of the same content, two that are nearly the same, a chain of three, one by itself, and one that has vanished."""
    store = create_store(tmp_path / "library", MANIFEST)
    add_rows(store, ("/a.wav", [axis(1)]), ("/sub/a.wav", [axis(1)]), sha256="a" * 64)
    add_rows(store, ("/b.wav", [axis(0, 1)]), sample_rate=48_000)
    add_rows(store, ("/b.mp3", [axis(0, 1, 0.05)]), sample_rate=16_000, duration_s=None)
    angles = [0.0, 0.1, 0.2]  # cosines 0.995 between neighbours, 0.980 between the ends
    chain = [(f"/chain{at}.wav", [axis(0, 0, 0, np.cos(angle), np.sin(angle))]) for at, angle in enumerate(angles)]
    add_rows(store, *chain)
    add_rows(store, ("/alone.wav", [axis(0, 0, 0, 0, 0, 1), axis(0, 0, 0, 0, 0, 0, 1)]))
    add_rows(store, ("/gone.wav", [axis(0, 1)]), missing=True)
    return claprt.open_library(store.folder)


def test_duplicates_are_groups(library: Library) -> None:
    groups = library.duplicates()
    assert [paths(group) for group in groups] == [
        ["/chain0.wav", "/chain1.wav", "/chain2.wav"],
        ["/a.wav", "/sub/a.wav"],
        ["/b.wav", "/b.mp3"],  # the one of the higher rate first
    ]
    assert [group.exact for group in groups] == [False, True, False]
    assert [sound.cosine for sound in groups[0].sounds] == pytest.approx([1, np.cos(0.1), np.cos(0.2)], abs=1e-5)
    assert [sound.same_content for sound in groups[1].sounds] == [True, True]


def test_the_threshold_decides_what_is_near(library: Library) -> None:
    assert [paths(group) for group in library.duplicates(0.999)] == [["/a.wav", "/sub/a.wav"]]
    assert [paths(group) for group in library.duplicates(None)] == [["/a.wav", "/sub/a.wav"]]
    for wrong in (0.0, 1.5):
        with pytest.raises(OptionError, match="threshold="):
            library.duplicates(wrong)


def test_the_command_lists_duplicates(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["duplicates", str(library.folder), "--exact", "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)
    assert group["exact"]
    assert [sound["path"] for sound in group["sounds"]] == ["/a.wav", "/sub/a.wav"]
    assert main(["duplicates", str(library.folder)]) == 0
    captured = capsys.readouterr()
    assert "  same    /sub/a.wav" in captured.out
    assert "4 sounds could go, in 3 groups" in captured.err


def test_the_vector_of_a_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of the whole sound where there is one, else the mean of the windows scaled to length 1."""
    monkeypatch.setattr(sound_vectors, "_BLOCK", 2)
    store = create_store(tmp_path / "library", replace(MANIFEST, rows=RowKind.BOTH))
    add_rows(store, ("/mean", [axis(1), axis(0, 1)]), ("/one", [axis(0, 0, 1)]))
    add_rows(store, ("/gone", [axis(1)]), missing=True)
    add_rows(store, ("/whole", [axis(0, 0, 0, 1)]), window=WHOLE_SOUND)
    snapshot = claprt.open_library(store.folder).searcher.snapshot()
    found = sound_vectors.sound_vectors(snapshot, sound_vectors.sounds_there(snapshot))
    assert found == pytest.approx(np.stack([axis(0.5**0.5, 0.5**0.5), axis(0, 0, 1), axis(0, 0, 0, 1)]), abs=1e-6)


@pytest.fixture
def three(tmp_path: Path) -> Library:
    """Sounds around three directions: 30, 20 and 10 of them."""
    store = create_store(tmp_path / "library", MANIFEST)
    generator = np.random.default_rng(5)
    for name, at, count in (("c", 2, 10), ("a", 0, 30), ("b", 1, 20)):
        vectors = 0.1 * generator.standard_normal((count, MANIFEST.dim)) + 2 * np.eye(MANIFEST.dim)[at]
        add_rows(store, *[(f"/sounds/{name}{number}.wav", [vector]) for number, vector in enumerate(vectors)])
    return claprt.open_library(store.folder)


def test_clusters_are_the_groups_that_there_are(three: Library) -> None:
    pytest.importorskip("sklearn", reason="needs claprt[library]")
    from claprt.library.clusters import find_clusters

    words, vectors = ["third", "first"], np.stack([axis(0, 0, 1), axis(1)])
    found = find_clusters(three.searcher.snapshot(), 3, words=words, word_vectors=vectors)
    assert [cluster.size for cluster in found] == [30, 20, 10]
    assert [{path[8] for path in cluster.paths} for cluster in found] == [{"a"}, {"b"}, {"c"}]
    assert [found[0].label, found[2].label] == ["first", "third"]
    assert all(cluster.medoid == cluster.paths[0] and 0.95 < cluster.cosine < 1 for cluster in found)
    assert found == find_clusters(three.searcher.snapshot(), 3, words=words, word_vectors=vectors)
    assert sum(cluster.size for cluster in three.clusters()) == 60
    with pytest.raises(OptionError, match="count=61"):
        three.clusters(61)
    with pytest.raises(OptionError, match="seed=-1 is not a whole number from 0"):
        three.clusters(seed=-1)


def test_a_map_keeps_groups_together(three: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="needs claprt[library]")
    page = tmp_path / "pages" / "map.html"
    page.parent.mkdir()
    assert main(["map", str(three.folder), "-o", str(page), "-n", "3", "--most", "50"]) == 0
    assert "50 of 60 sounds were drawn by lot" in capsys.readouterr().err
    data: dict[str, Any] = json.loads(
        re.findall(r"^const data = (.*);$", page.read_text(encoding="utf-8"), re.MULTILINE)[0]
    )
    assert data["total"] == 60
    assert len(data["sounds"]) == 50
    points = np.array([sound[:2] for sound in data["sounds"]])
    assert points.min() == 0
    assert points.max() == 1
    groups = np.array([sound[2] for sound in data["sounds"]])
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).mean() > 0.95
    name, link = data["sounds"][0][3:5]
    assert (page.parent / link).resolve() == Path(name)
    assert main(["map", str(three.folder), "-o", str(tmp_path / "no" / "map.html"), "--method", "pca"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_map_of_one_sound_and_of_none(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="needs claprt[library]")
    from claprt.library.sound_map import make_map, write_map

    store = create_store(tmp_path / "library", MANIFEST)
    library = claprt.open_library(store.folder)
    assert library.clusters() == []
    with pytest.raises(OptionError, match="is empty"):
        make_map(library.searcher.snapshot())
    add_rows(store, ("s3://bucket/</script><b>.wav", [axis(1)]))
    sounds = make_map(library.searcher.snapshot())
    write_map(sounds, tmp_path / "map.html", "one")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert sounds.points.tolist() == [[0, 0]]
    assert page.count("</script>") == 1  # a name cannot end the script
    assert re.search(r'"s3://bucket/\\u003c/script>\\u003cb>.wav",null', page)  # nor is it a file to play
