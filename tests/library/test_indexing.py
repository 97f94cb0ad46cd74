"""From folders of sounds to rows: facts and vectors, what is new, changed, the same, gone, or cannot be embedded."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import claprt
from claprt.errors import FingerprintError, LibraryWriteError, OptionError
from claprt.library import unit_writer
from claprt.library.embedding import Claims, LocalEmbedder, Outcome
from claprt.library.indexing import Indexer, RunOptions
from claprt.library.items import Item
from claprt.library.known import short_key
from claprt.library.maintenance import prune
from claprt.library.paths import sound_id
from claprt.library.sources import Sources

pytest.importorskip("pyarrow", reason="needs claprt[library]")

import pyarrow as pa

from tests.library.indexed import RATE, CountedEngine, failures_of, rows_of, run, write_sound


def test_rows_hold_the_facts_and_the_vectors_of_embed_audio(folder: Path, out: Path, clap: claprt.Clap) -> None:
    summary = run(folder, out=out, clap=clap)
    assert (summary.found, summary.embedded, summary.rows, summary.failed) == (5, 5, 7, 0)
    rows = rows_of(out)
    assert [(Path(row["path"]).name, row["window"], row["start_s"]) for row in rows] == [
        ("0.wav", 0, 0.0), ("1.wav", 0, 0.0), ("2.wav", 0, 0.0), ("stereo.wav", 0, 0.0),
        ("long.flac", 0, 0.0), ("long.flac", 1, 10.0), ("long.flac", 2, 13.0),
    ]  # fmt: skip
    for row in rows:
        path = Path(row["path"])
        content = path.read_bytes()
        assert row["id"] == sound_id(row["path"])
        assert (row["sha256"], row["size"], row["mtime"]) == (
            hashlib.sha256(content).hexdigest(), len(content), path.stat().st_mtime,
        )  # fmt: skip
        assert row["sample_rate"] == RATE
        assert row["channels"] == (2 if path.name == "stereo.wav" else 1)
        assert row["duration_s"] == pytest.approx(23.0 if path.name == "long.flac" else 0.3)
        assert (row["fingerprint"], row["missing"]) == (clap.fingerprint, False)
        (sound,) = clap.iter_audio(path)
        # the same computation in batches of another size: float32 rounding
        np.testing.assert_allclose(row["embedding"], sound.windows[row["window"]], atol=2e-7)


@pytest.mark.parametrize(("kind", "windows"), [("sounds", [-1]), ("both", [-1, 0, 1, 2])])
def test_rows_of_sounds_hold_the_vectors_of_embed_audio(
    folder: Path, out: Path, clap: claprt.Clap, kind: str, windows: list[int]
) -> None:
    run(folder, out=out, clap=clap, rows=kind)
    long = [row for row in rows_of(out) if row["path"].endswith("long.flac")]
    assert [row["window"] for row in long] == windows
    np.testing.assert_allclose(long[0]["embedding"], clap.embed_audio(folder / "long.flac"), atol=2e-7)


def test_float16_rounds_the_vectors(folder: Path, out: Path, clap: claprt.Clap) -> None:
    run(folder, out=out, clap=clap, dtype="float16")
    (row,) = [row for row in rows_of(out) if row["path"].endswith("0.wav")]
    np.testing.assert_allclose(row["embedding"], clap.embed_audio(folder / "0.wav"), atol=5e-4)
    assert claprt.open_library(out).to_arrow().schema.field("embedding").type.value_type == pa.float16()


def test_a_second_run_embeds_only_what_is_new_or_changed(
    folder: Path, out: Path, clap: claprt.Clap, engine: CountedEngine
) -> None:
    run(folder, out=out, clap=clap)
    before, parts = rows_of(out), claprt.open_library(out).store.parts()
    summary = run(folder, out=out, clap=clap)
    assert (summary.unchanged, summary.embedded, engine.windows) == (5, 0, 7)
    assert claprt.open_library(out).store.parts() == parts
    write_sound(folder / "new.wav", 10)
    write_sound(folder / "1.wav", 11, seconds=12.0)
    summary = run(folder, out=out, clap=clap)
    assert (summary.unchanged, summary.embedded, engine.windows) == (4, 2, 10)
    after = rows_of(out)
    changed = [row for row in after if row["path"].endswith("1.wav")]
    assert [row["window"] for row in changed] == [0, 1]
    assert changed[0]["sha256"] == hashlib.sha256((folder / "1.wav").read_bytes()).hexdigest()
    assert [row for row in after if row["path"].endswith(("0.wav", "2.wav", ".flac", "stereo.wav"))] == [
        row for row in before if not row["path"].endswith("1.wav")
    ]
    assert len(after) == 9


def test_a_run_without_anything_new_loads_no_model(folder: Path, out: Path, bundle: Path) -> None:
    with claprt.load(bundle) as clap:
        run(folder, out=out, clap=clap)
    with claprt.load(bundle, lazy=True) as clap:
        assert run(folder, out=out, clap=clap).unchanged == 5
        assert vars(clap.engine)["_runners"] == {}
        assert vars(clap.engine)["_batch_engine"] is None


def test_a_touched_sound_is_hashed_and_not_embedded(
    folder: Path, out: Path, clap: claprt.Clap, engine: CountedEngine
) -> None:
    run(folder, out=out, clap=clap)
    before = rows_of(out)
    for number in (0, 2):
        os.utime(folder / f"{number}.wav", (1e9, 1e9 + number))
    summary = run(folder, out=out, clap=clap)
    assert (summary.touched, summary.unchanged, summary.embedded, engine.windows) == (2, 3, 0, 7)
    expected = [
        row | ({"mtime": 1e9 + int(name[0])} if (name := Path(row["path"]).name) in ("0.wav", "2.wav") else {})
        for row in before
    ]
    assert rows_of(out) == expected
    assert run(folder, out=out, clap=clap).unchanged == 5


def test_identical_content_is_embedded_once(folder: Path, out: Path, clap: claprt.Clap, engine: CountedEngine) -> None:
    for copy in range(6):
        shutil.copy(folder / "long.flac", folder / f"copy{copy}.flac")
    summary = run(folder, out=out, clap=clap)
    assert (summary.embedded, summary.copied, engine.windows) == (5, 6, 7)
    shutil.copy(folder / "long.flac", folder / "later.flac")  # copied from a part that is written
    (folder / "0.wav").rename(folder / "renamed.wav")
    summary = run(folder, out=out, clap=clap)
    assert (summary.embedded, summary.copied, summary.vanished, engine.windows) == (0, 2, 1, 7)
    rows = {(Path(row["path"]).name, row["window"]): row for row in rows_of(out)}
    for name in ("copy0.flac", "copy5.flac", "later.flac"):
        for window in range(3):
            mine, its = rows[name, window], rows["long.flac", window]
            assert {key for key in mine if mine[key] != its[key]} == {"id", "path", "mtime"}
            assert mine["mtime"] == (folder / name).stat().st_mtime
    assert rows["renamed.wav", 0]["embedding"] == rows["0.wav", 0]["embedding"]


def test_vanished_sounds_are_marked_come_back_and_are_pruned(
    folder: Path, out: Path, clap: claprt.Clap, engine: CountedEngine
) -> None:
    run(folder, out=out, clap=clap)
    everything = rows_of(out)
    (folder / "long.flac").rename(folder.parent / "long.flac")
    (folder / "0.wav").unlink()
    assert run(folder, out=out, clap=clap).vanished == 2
    marked = {Path(row["path"]).name for row in rows_of(out) if row["missing"]}
    assert marked == {"long.flac", "0.wav"}
    assert run(folder, out=out, clap=clap).vanished == 0
    (folder.parent / "long.flac").rename(folder / "long.flac")
    assert run(folder, out=out, clap=clap).returned == 1
    assert engine.windows == 7
    assert [row for row in rows_of(out) if not row["missing"]] == everything[1:]
    assert prune(claprt.open_library(out).store) == 1
    assert rows_of(out) == everything[1:]


def test_only_what_the_sources_cover_is_marked(folder: Path, out: Path, clap: claprt.Clap) -> None:
    other = write_sound(folder.parent / "sounds2" / "a.wav", 20)
    run(folder, other.parent, out=out, clap=clap)
    (folder / "0.wav").unlink()
    other.unlink()
    assert run(folder, out=out, clap=clap).vanished == 1
    assert run(folder, str(other.parent / "*.wav"), out=out, clap=clap).vanished == 1


def test_failures_are_kept_and_tried_again_when_they_change(folder: Path, out: Path, clap: claprt.Clap) -> None:
    for name in ("bad.wav", "bad2.wav", "bad3.wav"):
        (folder / name).write_bytes(b"RIFF and nothing more, in all three of them")
    (folder / "empty.wav").write_bytes(b"")
    summary = run(folder, out=out, clap=clap)
    assert (summary.embedded, summary.failed) == (5, 4)
    failures = failures_of(out)
    assert [Path(row["path"]).name for row in failures] == ["bad.wav", "bad2.wav", "bad3.wav", "empty.wav"]
    assert failures[3]["error"] == "EmptyAudioError"
    for row in failures:
        path = Path(row["path"])
        assert row["message"].startswith(row["path"])
        assert (row["size"], row["mtime"], row["id"]) == (path.stat().st_size, path.stat().st_mtime, sound_id(row["path"]))
    summary = run(folder, out=out, clap=clap)
    assert (summary.failed, summary.failed_before, summary.unchanged) == (0, 4, 9)
    assert run(folder, out=out, clap=clap, options=RunOptions(retry_failures=True)).failed == 4
    assert failures_of(out) == failures
    write_sound(folder / "bad.wav", 30)
    (folder / "empty.wav").unlink()
    assert run(folder, out=out, clap=clap).embedded == 1
    assert failures_of(out) == failures[1:3]
    (folder / "0.wav").write_bytes(b"damaged since")
    assert run(folder, out=out, clap=clap).failed == 1
    assert "0.wav" not in {Path(row["path"]).name for row in rows_of(out)}


def test_another_model_or_other_rows_are_refused(
    folder: Path, out: Path, clap: claprt.Clap, fused_clap: claprt.Clap
) -> None:
    run(folder, out=out, clap=clap)
    with pytest.raises(FingerprintError) as caught:
        run(folder, out=out, clap=fused_clap)
    assert clap.fingerprint in str(caught.value)
    assert fused_clap.fingerprint in str(caught.value)
    assert f"the options that made it (bundle={str(clap.bundle.path)!r}, preprocess=" in str(caught.value)
    with pytest.raises(OptionError, match="rows=both was asked for, and the library .* has rows=windows"):
        run(folder, out=out, clap=clap, rows="both")
    with pytest.raises(OptionError, match="dtype='int8' is not known; choose float32 or float16"):
        run(folder, out=out, clap=clap, dtype="int8")


def test_a_full_disk_ends_the_run_and_the_next_goes_on(
    folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = out.with_name("whole")
    run(folder, out=whole, clap=clap)
    monkeypatch.setattr(unit_writer, "ROWS_PER_PART", 1)
    monkeypatch.setattr("claprt.library.indexing.ROWS_PER_PART", 1)
    fsync, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LibraryWriteError, match="No space left on device.*the same command goes on"):
            run(folder, out=out, clap=clap)
    kept = rows_of(out)
    assert 0 < len(kept) < 7
    assert all(row in rows_of(whole) for row in kept)
    assert 0 < run(folder, out=out, clap=clap).unchanged < 5
    assert rows_of(out) == rows_of(whole)


def test_many_small_parts_are_merged(folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        shutil.copy(folder / "0.wav", folder / f"copy{number}.wav")
    run(folder, out=out.with_name("one"), clap=clap)
    monkeypatch.setattr("claprt.library.indexing.ROWS_PER_PART", 1)
    run(folder, out=out, clap=clap)
    assert len(claprt.open_library(out).store.parts()) <= 16
    assert rows_of(out) == rows_of(out.with_name("one"))
    assert run(folder, out=out, clap=clap).unchanged == 45


def test_what_was_done_before_an_error_is_kept(
    folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(summary: Any) -> None:
        if summary.embedded == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, out=out, clap=clap, report=interrupted)
    assert run(folder, out=out, clap=clap).unchanged == 3


def test_a_library_adds_to_itself_with_its_own_model(folder: Path, out: Path, bundle: Path) -> None:
    with claprt.load(bundle, hop_s=5.0) as clap:
        run(folder / "0.wav", out=out, clap=clap)
    with claprt.open_library(out) as library:
        assert library.add(folder).embedded == 4
        assert library.model.fingerprint == library.fingerprint
        assert len(library) == 8
        (folder / "0.wav").unlink()
        assert library.add([folder]).vanished == 1
        assert library.prune() == 1


class NamedOnce:
    """Embeds as Ray's actors do: which contents the library holds is asked once, when a run begins."""

    def __init__(self, clap: claprt.Clap) -> None:
        self._local, self._runs = LocalEmbedder(clap), 0
        self.timings = self._local.timings
        self._stored = np.empty(0, np.uint64)

    def run(self, items: Iterator[Item], claims: Claims) -> Iterator[Outcome]:
        self._runs += 1
        assert self._runs < 4  # else it goes on for ever
        self._stored = claims.stored_keys()
        return self._local.run(items, self)

    def claim(self, sha256: str) -> bool:
        return short_key(sha256) not in self._stored

    def stored_keys(self) -> NDArray[np.uint64]:
        return self._stored

    def close(self) -> None:
        """Nothing is held."""


def test_a_content_whose_only_sound_changed_in_the_same_run_is_embedded_anew(
    folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claprt.library.indexing.ROWS_PER_PART", 1)
    changed, copy = folder / "0.wav", folder / "copy.wav"
    run(changed, out=out, clap=clap)
    before = rows_of(out, "path", "embedding")
    changed.rename(copy)
    write_sound(changed, 10)
    store = claprt.open_library(out).store
    with store.writing() as writer:
        summary = Indexer(store, writer, NamedOnce(clap), RunOptions()).run(Sources([str(changed), str(copy)]))
    assert (summary.embedded, summary.failed) == (2, 0)
    after = rows_of(out, "path", "embedding")
    assert [row["path"] for row in after] == [str(changed), str(copy)]
    assert after[1]["embedding"] == before[0]["embedding"]
