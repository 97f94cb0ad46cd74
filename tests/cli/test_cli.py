"""The `claprt` command, as a user calls it."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.evaluation.latency import Case, Latency, Percentiles, measure_latency
from tests.streams import command
from tests.terminal import on_a_terminal

RATE = 48_000


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{name}.wav" for name in ("tone", "drums")]
    for path in paths:
        soundfile.write(path, SOUNDS[path.stem](RATE, RATE), RATE)
    long = tmp_path / "long.wav"
    soundfile.write(long, SOUNDS["rain"](RATE * 15, RATE), RATE)
    return [str(path) for path in (*paths, long)]


@pytest.fixture(autouse=True)
def named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_BUNDLE", str(bundle))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_embed_to_a_pipe(clap: claprt.Clap, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", *files, "--text", "a dog", "--text", "été ♪"]) == 0
    captured = capsys.readouterr()
    found = lines(captured.out)
    assert [row.get("source") for row in found] == [*files, None, None]
    assert [row.get("text") for row in found[3:]] == ["a dog", "été ♪"]
    assert {row["fingerprint"] for row in found} == {clap.fingerprint}
    assert np.allclose([row["embedding"] for row in found[:3]], clap.embed_audio(files))
    assert [window["start_s"] for window in found[2]["windows"]] == [0.0, 5.0]
    assert "untrained" in captured.err


def test_embed_to_files(clap: claprt.Clap, files: list[str], tmp_path: Path) -> None:
    for suffix in (".npz", ".npy", ".jsonl"):
        out = tmp_path / f"vectors{suffix}"
        assert main(["embed", *files, "--text", "a dog", "-o", str(out)]) == 0
        if suffix == ".npz":
            with np.load(out) as stored:
                assert np.allclose(stored["embeddings"], clap.embed_audio(files))
                assert np.allclose(stored["text_embeddings"], clap.embed_text(["a dog"]))
                assert stored["sources"].tolist() == files
                assert stored["texts"].tolist() == ["a dog"]
                assert str(stored["fingerprint"]) == clap.fingerprint
        elif suffix == ".npy":
            assert np.load(out).shape == (4, 512)
        else:
            assert len(lines(out.read_text(encoding="utf-8"))) == 4


def test_embed_only_texts(tmp_path: Path) -> None:
    assert main(["embed", "--text", "a", "-o", str(tmp_path / "v.npy")]) == 0
    assert np.load(tmp_path / "v.npy").shape == (1, 512)


def test_embed_standard_input(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = Path(files[0]).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(["embed", "-"]) == 0
    row = lines(capsys.readouterr().out)[0]
    assert row["source"] == f"bytes[{len(content)}]"
    assert len(row["embedding"]) == 512


def test_embed_options(files: list[str], fused_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--long", "random", "--seed", "3", "--preprocess", "transformers", "--threads", "1", "--provider", "cpu"]
    assert main(["embed", files[2], *options]) == 0
    assert lines(capsys.readouterr().out)[0]["fingerprint"].startswith("tiny/transformers/random-3/fp32/")
    assert main(["embed", files[2], "--bundle", str(fused_bundle)]) == 0
    assert "/fusion/" in lines(capsys.readouterr().out)[0]["fingerprint"]


def test_bad_files(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    assert main(["embed", files[0], str(bad), files[1]]) == 1
    captured = capsys.readouterr()
    assert f"claprt: {bad} holds no sound" in captured.err
    assert len(lines(captured.out)) == 1
    assert main(["embed", files[0], str(bad), files[1], "--on-error", "skip"]) == 1
    captured = capsys.readouterr()
    assert [("error" in row) for row in lines(captured.out)] == [False, True, False]
    assert f"skipped: {bad}" in captured.err
    out = tmp_path / "good.npz"
    assert main(["embed", files[0], str(bad), "--on-error", "skip", "-o", str(out)]) == 1
    with np.load(out) as stored:
        assert stored["sources"].tolist() == files[:1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["embed", "--text", "a", "-o", "vectors.txt"], "must end in .npz, .npy, .jsonl, .csv, or be -"),
        (["embed", "--text", "a", "-o", "nowhere/vectors.npz"], "there is no folder nowhere"),
        (["embed", "--text", ""], "at least one word"),
        (["embed", "missing.wav"], "missing.wav was asked for"),
        (["embed", "--text", "a", "--precision", "int8"], "Precision int8 was asked for"),
        (["inspect", "nowhere"], "no such folder"),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_no_bundle_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("CLAPRT_BUNDLE")
    assert main(["embed", "--text", "a"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("mini, the small model that ships with claprt") == 1
    assert lines(captured.out)[0]["fingerprint"].startswith("mini/")


@pytest.mark.parametrize("arguments", [[], ["embed"], ["embed", "--long", "tail", "x.wav"], ["sing"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: claprt" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["embed"], ["classify"], ["evaluate"], ["inspect"], ["latency"], ["demo"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_inspect(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    for words in ("tiny", "untrained weights", "50–14000 Hz, slaney", "audio 18.5000", "audio.fp32.onnx", "opset"):
        assert words in shown
    assert main(["inspect", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"
    assert main(["inspect"]) == 0  # what CLAPRT_BUNDLE names
    assert "tiny" in capsys.readouterr().out


def test_inspect_the_small_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("CLAPRT_BUNDLE")
    assert main(["inspect"]) == 0
    captured = capsys.readouterr()
    assert "mini" in captured.out
    assert captured.err == ""


def test_inspect_of_a_server(
    clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a server states is shown; `tests/triton` asks a real one."""
    asked: list[str] = []

    def load(address: str) -> claprt.Clap:
        asked.append(address)
        return clap

    monkeypatch.setattr("claprt.cli.inspect.load", load)
    assert main(["inspect", "triton://localhost:8001"]) == 0
    shown = capsys.readouterr().out
    assert asked == ["triton://localhost:8001"]
    assert "tiny" in shown
    assert shown.endswith("served at triton://localhost:8001\n")
    assert main(["inspect", "triton://localhost:8001", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"


def test_a_repository_needs_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["triton", "--bundle", "triton://localhost:8001", "--out", str(tmp_path / "out")]) == 1
    assert "triton://localhost:8001 is a server's address; name the folder of a bundle" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_embed_on_a_terminal(files: list[str]) -> None:
    status, shown = on_a_terminal(["embed", *files, "--text", "a dog"])
    assert status == 0
    assert "cosine similarity" in shown
    assert "windows: 2" in shown
    assert "  a dog\r\n" in shown  # the head of the column
    assert "--json prints them" in shown


def test_lines_that_are_already_there(
    clap: claprt.Clap, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They stay until the first sound has been embedded."""
    out = tmp_path / "vectors.jsonl"
    out.write_text("precious\n")
    for arguments in (
        ["embed", str(tmp_path / "missing.wav"), *files],
        ["embed", *files, "--text", ""],
        ["embed", *files, "--precision", "int8"],
    ):
        assert main([*arguments, "-o", str(out)]) == 1
        assert out.read_text() == "precious\n"
    assert "missing.wav was asked for" in capsys.readouterr().err
    assert main(["embed", *files, "-o", str(out)]) == 0
    rows = lines(out.read_text(encoding="utf-8"))
    assert [row["source"] for row in rows] == files
    assert np.allclose([row["embedding"] for row in rows], clap.embed_audio(files))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_stream_that_cannot_show_a_name(bundle: Path, files: list[str], tmp_path: Path, encoding: str) -> None:
    name = tmp_path / "静か ♪.wav"
    name.write_bytes(Path(files[0]).read_bytes())
    missing = str(tmp_path / "keine ♪ – да.wav")
    done = command(["embed", str(name), missing, "--on-error", "skip"], encoding=encoding)
    assert done.status == 1
    assert rb"skipped: " in done.err
    assert rb"\u266a" in done.err
    rows = lines(done.out.decode("ascii"))
    assert [row["source"] for row in rows] == [str(name), missing]
    for arguments, words in ((["inspect", str(bundle)], b"14000 Hz"), (["embed", "--text", "a ♪"], rb"a \u266a")):
        done = command(arguments, encoding=encoding)
        assert done.status == 0, done.err
        assert words in done.out


@pytest.mark.skipif(sys.platform != "linux", reason="names are any bytes on Linux only")
def test_a_name_that_is_no_utf_8(files: list[str], tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    Path(name).write_bytes(Path(files[0]).read_bytes())
    for out in (None, tmp_path / "vectors.jsonl"):
        done = command(["embed", name, *([] if out is None else ["-o", str(out)])])
        assert done.status == 0, done.err
        row = lines(done.out.decode() if out is None else out.read_text(encoding="utf-8"))[0]
        assert row["source"] == name
        assert len(row["embedding"]) == 512


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")
def test_reader_that_goes_away(files: list[str]) -> None:
    asked = f'"{sys.executable}" -m claprt embed {" ".join(files[:2] * 30)} | head -n 1'
    done = subprocess.run(asked, shell=True, capture_output=True, text=True, check=False)
    assert len(lines(done.stdout)) == 1
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written(files: list[str], tmp_path: Path) -> None:
    done = command(["embed", files[0]], stdout="/dev/full")
    assert done.status == 1
    assert b"claprt: the output cannot be written: No space left on device" in done.err
    (tmp_path / "taken.npz").mkdir()
    done = command(["embed", files[0], "-o", str(tmp_path / "taken.npz")])
    assert done.status == 1
    assert b"taken.npz is a folder; name a file" in done.err


# latency


def test_completion_is_asked_only_by_a_shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """argcomplete itself is optional; a stand-in sees what it would be given."""
    given: list[argparse.ArgumentParser] = []
    monkeypatch.setitem(sys.modules, "argcomplete", SimpleNamespace(autocomplete=given.append))
    assert main(["inspect"]) == 0
    assert given == []
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    assert main(["inspect"]) == 0
    assert [command.prog for command in given] == ["claprt"]


@pytest.mark.filterwarnings("default::claprt.errors.CacheWarning")
def test_a_cache_on_a_full_disk_does_not_end_the_command(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    done = command(["embed", files[0], "--cache", str(tmp_path / "cache")])
    assert done.status == 0, done.err
    assert len(lines(done.out.decode())) == 1
    assert re.search(rb"^warning: There is no room in the cache folder", done.err, re.MULTILINE)


@pytest.mark.usefixtures("brief_latency")
def test_latency(clap: claprt.Clap, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latency", "--trials", "2", "--target-ms", "100000"]) == 0
    shown = capsys.readouterr().out
    assert "TARGET MET" in shown
    for stage in ("decode", "resample", "window", "mel", "tower"):
        assert stage in shown
    assert main(["latency", "--trials", "1", "--target-ms", "0.001"]) == 1
    assert "TARGET MISSED" in capsys.readouterr().out


def test_latency_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claprt.evaluation.latency._WARMING", 1)
    assert main(["latency", "--trials", "1", "--json", "--target-ms", "100000"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["met"] is True
    assert [case["name"] for case in figures["cases"]] == ["1 s", "10 s", "10 x 10 s"]


def test_latency_stages_are_parts_of_the_call(fused_clap: claprt.Clap) -> None:
    latency = measure_latency(fused_clap, trials=3, calls=((1, 1), (10, 1)))
    for case in latency.cases:
        parts = sum(stage.p50_ms for stage in case.stages.values())
        assert 0 < parts < 5 * case.total.p50_ms


def test_the_verdict_is_the_worst_case() -> None:
    def case(p95: float, sounds: int) -> Case:
        return Case(name="x", sounds=sounds, total=Percentiles(p50_ms=1, p95_ms=p95, p99_ms=p95), stages={})

    def met(*cases: Case) -> bool:
        return Latency(target_ms=100, trials=1, provider="cpu", precision="fp32", model="x", trained=True, cases=cases).met

    assert met(case(99, 1), case(999, 10))
    assert not met(case(99, 1), case(1001, 10))
    assert not met(case(100, 1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials", "0"], "--trials 0"),
        (["--target-ms", "0"], "--target-ms 0"),
        (["--target-ms", "nan"], "--target-ms nan"),
        (["--target-ms", "inf"], "--target-ms inf"),
    ],
)
def test_latency_of_nothing(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latency", *arguments]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert "measuring" not in captured.err
