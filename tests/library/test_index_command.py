"""`claprt index` and `claprt library` as commands."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pytest

import claprt
from claprt.cli import index_progress, main
from claprt.cli.index_progress import progress_line, summary_lines
from claprt.errors import LibraryWarning
from claprt.library.indexing import RunOptions
from claprt.library.progress import Summary

pytest.importorskip("pyarrow", reason="needs claprt[library]")

from tests.library.indexed import rows_of, run, write_sound


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_sound(tmp_path / "sounds" / f"{number}.wav", number)
    (tmp_path / "sounds" / "bad.wav").write_bytes(b"no sound")
    return tmp_path / "sounds"


def test_index_and_upkeep(folder: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "library"
    command = ["index", str(folder), "--out", str(out), "--bundle", str(bundle)]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert f"{out}: 4 sounds found\n  3 embedded\n  1 failed\n" in shown.out
    assert f"claprt library failures {out}" in shown.out
    assert shown.err == "note: tiny has untrained weights; its vectors mean nothing.\n"
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    (folder / "0.wav").unlink()
    assert main([*command, "--json", "--quiet"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["found"], summary["unchanged"], summary["failed_before"], summary["vanished"]) == (3, 3, 1, 1)
    assert main(["library", "info", str(out), "--json", "--verify"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["sounds"], facts["vanished"], facts["failures"], facts["rows"]) == (3, 1, 1, 3)
    assert facts["model"] == str(bundle)
    assert (facts["sound_s"], facts["dtype"], facts["damaged"], facts["index"]) == (0.9, "float32", [], None)
    assert main(["library", "info", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "of these vanished  1" in lines
    assert "rows               3 of windows" in lines
    assert main(["library", "failures", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"AudioDecodeError: {folder}/bad.wav ")
    assert main(["library", "prune", str(out)]) == 0
    assert capsys.readouterr().err == f"wrote {out}: 1 vanished sounds removed\n"
    assert main(["library", "merge", str(tmp_path / "merged"), str(out)]) == 0
    assert main(["library", "compact", str(tmp_path / "merged"), "-q"]) == 0
    assert rows_of(tmp_path / "merged") == rows_of(out)


def test_partitions_by_command(folder: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.wav").unlink()  # a partition of this file alone, as the folder's path may give, would end with status 1
    parts = [str(tmp_path / name) for name in ("one", "two")]
    for number, part in enumerate(parts, 1):
        options = ["--partition", f"{number}/2", "--bundle", str(bundle), "--quiet", "--json"]
        assert main(["index", str(folder), "--out", part, *options]) == 0
    found = [json.loads(line)["found"] for line in capsys.readouterr().out.splitlines()]
    assert sum(found) == 3
    with pytest.raises(SystemExit):
        main(["index", str(folder), "--out", parts[0], "--partition", "half"])
    assert "'half' is no partition; the second of four is 2/4" in capsys.readouterr().err


def test_options_of_ray_without_ray_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "library"
    with pytest.raises(SystemExit):
        main(["index", str(folder), "--out", str(out), "--ray-gpus", "0.5"])
    assert "--ray-gpus is of the actors of --ray, which was not given" in capsys.readouterr().err
    assert main(["index", str(folder), "--out", str(out), "--ray", "--workers", "0"]) == 1
    assert "0 actors with 0 GPUs each are not possible" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "gone was to be indexed, and there is no such file or folder."),
        (["@gone"], "@gone means a list of sources in the file gone, and there is no such file."),
        (["."], "is no library and holds other files"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    folder: Path, bundle: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    assert main(["index", *arguments, "--out", ".", "--bundle", str(bundle), "--quiet"]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_damaged_part_is_named_and_its_sounds_are_embedded_anew(folder: Path, tmp_path: Path, clap: claprt.Clap) -> None:
    out = tmp_path / "library"
    run(folder, out=out, clap=clap)
    before = rows_of(out)
    (part,) = claprt.open_library(out).store.parts()
    path = out / part.file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(LibraryWarning, match=f"{part.name} cannot be read"):
        summary = run(folder, out=out, clap=clap)
    assert summary.embedded == 3
    path.unlink()
    assert rows_of(out) == before


def test_progress_says_what_people_look_at() -> None:
    summary = Summary(
        found=60, embedded=40, unchanged=10, failed=5, sound_s=7200.0, read_s=3.0, compute_s=6.0, write_s=1.0, seconds=10.0
    )  # fmt: skip
    assert progress_line(summary, 1000, 200) == (
        "55 of 1,000 sounds · 4.5/s · 0:03:30 left · 5 failed · 0.200 h of sound/s · read 30 % compute 60 % write 10 %"
    )
    assert progress_line(summary, None, 30) == "55 sounds · 4.5/s · 5 failed"
    assert summary_lines("a.lib", summary)[-2] == "  time of the threads: read 30 % compute 60 % write 10 %"


def test_the_exit_status_is_1_where_no_sound_could_be_embedded(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds, out = tmp_path / "sounds", tmp_path / "library"
    sounds.mkdir()
    for number in range(2):
        (sounds / f"{number}.wav").write_bytes(b"no sound" * (1 + number))
    command = ["index", str(sounds), "--out", str(out), "--bundle", str(bundle), "--quiet"]
    for _ in range(2):  # those that failed before do not make a success
        assert main(command) == 1
        shown = capsys.readouterr()
        message = f"claprt: none of 2 sounds could be embedded; claprt library failures {out} says why.\n"
        assert (shown.out, shown.err) == ("", message)
    write_sound(sounds / "good.wav", 1)
    assert main(command) == 0
    assert main([*command, "--retry-failures"]) == 0


def test_sources_that_cannot_be_read_are_named_whatever_was_asked_for(
    folder: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = tmp_path / "shard.tar"
    shard.write_bytes(b"no archive" * 100)
    command = ["--out", str(tmp_path / "library"), "--bundle", str(bundle), "--quiet"]
    assert main(["index", str(shard), *command]) == 1
    named, said = capsys.readouterr().err.splitlines()
    assert named.startswith(f"warning: {shard} cannot be read as a tar archive: ")
    assert said == "claprt: no sounds were found, and not all that was named could be read."
    assert main(["index", str(shard), str(folder), *command]) == 0
    assert capsys.readouterr().err == f"{named}\n"


def test_progress_counts_the_sounds_of_the_partition(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):  # four may all be of one partition
        (folder / f"more{number}.wav").touch()
    monkeypatch.setattr(index_progress, "_DELAY_S", 0.0)
    monkeypatch.setattr(index_progress, "_JSON_EVERY_S", 0.0)
    options = argparse.Namespace(json=True, quiet=False, sources=[str(folder)])
    totals: list[int] = []
    for number in (1, 2):
        progress = index_progress.IndexProgress(options, RunOptions(partition=(number, 2)))
        ends = time.monotonic() + 10
        total = None
        while total is None and time.monotonic() < ends:
            progress.report(Summary())
            total = json.loads(capsys.readouterr().err)["total"]
        assert total is not None
        totals.append(total)
    assert sum(totals) == 24
    assert max(totals) < 24


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("0.tar", "{}/*.tar"), ("a/data-00000-of-00001.arrow", "{}/a/*.arrow"), ("notes.txt", "FOLDER/*.tar")],
)
def test_a_folder_without_sounds_is_said_to_be(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str], name: str, pattern: str
) -> None:
    """With the pattern that names the archives or tables that it has."""
    (tmp_path / "shards" / name).parent.mkdir(parents=True)
    (tmp_path / "shards" / name).touch()
    assert main(["index", str(tmp_path / "shards"), "--out", str(tmp_path / "library"), "--bundle", str(bundle)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'library'}: 0 sounds found\n"
    named = pattern.format(tmp_path / "shards")
    assert f'note: no sounds were found. Archives and tables in folders are named themselves: "{named}".' in shown.err
