"""From folders of sounds to rows: facts and vectors, what is new, changed, the same, gone, or cannot be embedded."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import AudioNotFoundError, FingerprintError, LibraryError, LibraryWriteError, OptionError
from claprt.library import items, unit_writer
from claprt.library.create import index
from claprt.library.embedding import Claims, LocalEmbedder, Outcome
from claprt.library.indexing import Indexer, RunOptions
from claprt.library.items import Item
from claprt.library.known import short_key
from claprt.library.maintenance import merge, prune
from claprt.library.paths import local_path, sound_id
from claprt.library.roots import read_roots
from claprt.library.sources import Sources

pytest.importorskip("pyarrow", reason="needs claprt[library]")

import pyarrow as pa
import pyarrow.parquet as pq

RATE = 16_000
KINDS = tuple(SOUNDS)


def write_sound(path: Path, number: int, *, seconds: float = 0.3, channels: int = 1) -> Path:
    """A sound of its own for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = SOUNDS[KINDS[1 + number % (len(KINDS) - 1)]](round(seconds * RATE), RATE)
    noise = np.random.default_rng(number).uniform(-0.1, 0.1, samples.size).astype(np.float32)
    soundfile.write(path, np.repeat((0.5 * samples + noise)[:, None], channels, axis=1), RATE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of five sounds, one of three windows, one in stereo, one below."""
    sounds = tmp_path / "sounds"
    for number in range(3):
        write_sound(sounds / f"{number}.wav", number)
    write_sound(sounds / "long.flac", 3, seconds=23.0)
    write_sound(sounds / "deep" / "er" / "stereo.wav", 4, channels=2)
    (sounds / "notes.txt").write_text("no sound")
    return sounds


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "library"


def rows_of(library: Path, *columns: str) -> list[dict[str, Any]]:
    """Rows in the order of paths and windows."""
    table = claprt.open_library(library).to_arrow(columns or None)
    return sorted(table.to_pylist(), key=lambda row: (row.get("path", ""), row.get("window", 0)))


def failures_of(library: Path) -> list[dict[str, Any]]:
    return sorted(claprt.open_library(library).failures().to_pylist(), key=lambda row: row["path"])


def run(*sources: Path | str, out: Path, clap: claprt.Clap, **options: Any) -> Any:
    return index([str(one) for one in sources], out, clap, **options)


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


class CountedEngine:
    """Counts the windows that go through the audio tower."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clap: claprt.Clap) -> None:
        self.windows = 0
        engine = clap.engine.batch_engine()
        audio = engine.audio

        def counted(log_mels: Any, is_longer: Any) -> Any:
            self.windows += len(log_mels)
            return audio(log_mels, is_longer)

        monkeypatch.setattr(engine, "audio", counted)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, clap: claprt.Clap) -> CountedEngine:
    return CountedEngine(monkeypatch, clap)


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


def tar_of(folder: Path, archive: Path, mode: str = "w") -> Path:
    with tarfile.open(archive, mode) as tar:  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownVariableType]
        for path in sorted(folder.rglob("*.*")):
            tar.add(path, path.relative_to(folder))
    return archive


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


@pytest.mark.parametrize("kind", ["struct", "bytes", "path"])
def test_sounds_in_parquet(folder: Path, out: Path, clap: claprt.Clap, kind: str, engine: CountedEngine) -> None:
    table = folder / "train.parquet"
    pq.write_table(sound_table(folder, kind), table, row_group_size=2)
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


def test_a_table_without_sounds_is_named(folder: Path, out: Path, clap: claprt.Clap) -> None:
    pq.write_table(pa.table({"number": [1, 2]}), folder / "numbers.parquet")
    summary = run(folder / "numbers.parquet", out=out, clap=clap)
    assert len(summary.unreadable) == 1
    assert "has no column of sounds" in summary.unreadable[0]


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


@pytest.mark.seconds
def test_workers_give_the_same_rows(
    folder: Path, out: Path, clap: claprt.Clap, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> Any:
        process = popen(*arguments, **options)
        process.send_signal(signal.SIGINT)  # as Ctrl-C in a terminal reaches all processes; it is the parent's
        return process

    if sys.platform != "win32":
        monkeypatch.setattr(subprocess, "Popen", interrupted)
    (folder / "bad.wav").write_bytes(b"no sound")
    for number in range(10, 40):
        write_sound(folder / f"{number}.wav", number)
    shutil.copy(folder / "0.wav", folder / "copy.wav")
    run(folder, out=out, clap=clap)
    other = out.with_name("other")
    summary = run(folder, out=other, clap=clap, workers=2)
    assert (summary.embedded, summary.copied, summary.failed) == (35, 1, 1)
    assert summary.compute_s > 0
    assert rows_of(other) == rows_of(out)
    assert failures_of(other) == failures_of(out)
    assert run(folder, out=other, clap=clap, workers=2).unchanged == 37
    assert capfd.readouterr().err == ""  # nothing of how the workers ended


@pytest.mark.seconds
def test_a_worker_that_ends_is_named_and_the_next_run_goes_on(
    folder: Path, out: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, out=out.with_name("whole"), clap=clap)
    begun: list[Any] = []
    popen = subprocess.Popen

    def started(*arguments: Any, **options: Any) -> Any:
        begun.append(popen(*arguments, **options))
        return begun[-1]

    def killing(summary: Any) -> None:
        begun[0].kill()

    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(LibraryError, match=r"Worker 1, process \d+, ended with signal 9 .*fewer workers.*goes on"):
        run(folder, out=out, clap=clap, workers=1, report=killing)
    assert all(process.poll() is not None for process in begun)
    assert run(folder, out=out, clap=clap).unchanged > 0
    assert rows_of(out) == rows_of(out.with_name("whole"))


def test_an_impossible_number_of_workers_is_refused(folder: Path, out: Path, clap: claprt.Clap) -> None:
    with pytest.raises(OptionError, match="workers=0 is not possible"):
        run(folder, out=out, clap=clap, workers=0)
    assert not out.exists()
