"""Labels, tags and files on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.cli.sounds import sound_files
from claprt.errors import OptionError
from claprt.samples import sample_path

RATE = 48_000


@pytest.fixture(autouse=True)
def named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_BUNDLE", str(bundle))


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with dog.wav and rain.wav."""
    for name in ("dog", "rain"):
        samples, rate = soundfile.read(sample_path(name))
        soundfile.write(tmp_path / f"{name}.wav", samples, rate)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "files", "labels"),
    [
        (["--labels", "dog", "rain", "dog.wav"], ["dog.wav"], {"dog", "rain"}),
        (["--labels", "dog", "rain", "dog.wav", "rain.wav"], ["dog.wav", "rain.wav"], {"dog", "rain"}),
        (["--labels", "dog", "rain", "./"], ["./dog.wav", "./rain.wav"], {"dog", "rain"}),
        (["--labels", "dog,rain", "--", "dog.wav"], ["dog.wav"], {"dog", "rain"}),
        (["--labels", "dog", "rain", "--json", "dog.wav"], ["dog.wav"], {"dog", "rain"}),
        (["dog.wav", "--labels", "dog", "rain.wav"], ["dog.wav"], {"dog", "rain.wav"}),
        (["dog.wav", "--label", "rain, heavy", "--label", "a dog"], ["dog.wav"], {"rain, heavy", "a dog"}),
        (["dog.wav", "--labels", "a,b", "--label", "c, d"], ["dog.wav"], {"a", "b", "c, d"}),
    ],
)
def test_labels_and_files_in_any_order(
    sounds: Path, arguments: list[str], files: list[str], labels: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", *arguments, *([] if "--json" in arguments or "--" in arguments else ["--json"])]) == 0
    shown = capsys.readouterr().out
    if "--" in arguments:  # behind it, --json would be a file
        assert "dog " in shown
        assert "rain " in shown
        return
    found = [json.loads(line) for line in shown.splitlines()]
    assert [row["source"] for row in found] == files
    assert {row["label"] for row in found[0]["classes"]} == labels


def test_a_file_that_is_missing_is_no_label(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--labels", "dog", "rain", "missing.wav"]) == 1
    assert "missing.wav was asked for, and there is no such file" in capsys.readouterr().err


def test_a_folder_named_like_a_label_is_a_label(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sounds / "rain").mkdir()
    with pytest.raises(SystemExit):
        main(["classify", "--labels", "dog", "rain"])
    assert "name at least one FILE" in capsys.readouterr().err


def test_labels_of_any_length_are_no_files(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "a very long label " * 400
    for label in (long, "nul\0"):
        with pytest.raises(SystemExit):
            main(["classify", "--labels", "dog", label])
        assert "name at least one FILE" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "word"), [("classify", "label"), ("tag", "tag")])
def test_words_from_a_file(sounds: Path, command: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("words.txt").write_bytes("\ufeffa dog barking\r\n\r\n  rain, heavy \nété ♪\n".encode())
    assert main([command, "dog.wav", f"--{word}s-file", "words.txt", f"--{word}", "x", "--json"]) == 0
    (row,) = rows(capsys)
    found = row["classes"] if command == "classify" else row["tags"]
    assert {entry[word] for entry in found} == {"x", "a dog barking", "rain, heavy", "été ♪"}
    for bad, reason in (("missing.txt", "No such file"), (".", "directory"), ("dog.wav", "decode")):
        assert main([command, "dog.wav", f"--{word}s-file", bad]) == 1
        assert reason in capsys.readouterr().err


def test_one_label_is_always_certain(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "dog.wav", "--labels", "dog"]) == 0
    assert "one label alone always gets 100 %" in capsys.readouterr().err
    for arguments in (["--labels", "dog", "rain"], ["--labels", "dog", "-q"]):
        assert main(["classify", "dog.wav", *arguments]) == 0
        assert "one label" not in capsys.readouterr().err


def test_words_that_the_model_does_not_know(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, option in (("classify", "--labels"), ("tag", "--tags")):
        assert main([command, "dog.wav", "rain.wav", "--bundle", "mini", option, "jurisprudence", "speech"]) == 0
        assert capsys.readouterr().err.count("note: None of these words is among those that mini was trained on") == 1
        assert main([command, "dog.wav", "--bundle", "mini", option, "a dog", "speech"]) == 0
        assert "None of these words" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "default"),
    [
        (["classify", "--labels=a,b", "--json"], "skip"),
        (["tag", "--tags=a,b", "--json"], "skip"),
        (["embed"], "raise"),
        (["similarity", "--json"], "raise"),
    ],
)
def test_a_bad_file_among_others(
    sounds: Path, arguments: list[str], default: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.wav").write_text("no sound")
    files = ["dog.wav", "bad.wav", "missing.wav", "rain.wav"]
    for choice in ("raise", "skip", None):
        assert main([*arguments, *files, *([] if choice is None else ["--on-error", choice])]) == 1
        captured = capsys.readouterr()
        found = [json.loads(line) for line in captured.out.splitlines()]
        if (choice or default) == "raise":
            assert captured.err.count("claprt: bad.wav holds no sound") == 1
            assert "missing.wav" not in captured.err
            assert [row.get("source") for row in found] in ([], ["dog.wav"])
        else:
            assert captured.err.count("skipped: ") == 2
            sources = (
                found[0]["sources"]
                if arguments[0] == "similarity"
                else [row["source"] for row in found if "error" not in row]
            )
            assert sources == ["dog.wav", "rain.wav"]


def test_all_files_bad(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similarity", "missing.wav", "gone.wav", "--on-error", "skip"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("skipped: ") == 2
    assert captured.out == ""


def test_folders(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = sounds / "in" / "deep"
    deep.mkdir(parents=True)
    for source, target in (("dog.wav", "in/b.WAV"), ("rain.wav", "in/deep/a.wav"), ("dog.wav", "in/nosuffix")):
        (sounds / target).write_bytes((sounds / source).read_bytes())
    for name in ("readme.txt", "readme", ".hidden.wav"):
        (sounds / "in" / name).write_text("no sound")
    (deep / "up").symlink_to("..", target_is_directory=True)
    (deep / "self").symlink_to(".", target_is_directory=True)
    if hasattr(os, "mkfifo"):
        os.mkfifo(deep / "pipe")  # opening it would wait for ever
        os.mkfifo(deep / "pipe.wav")
    expected = [str(Path("in", name)) for name in ("b.WAV", "deep/a.wav", "nosuffix")]
    assert sound_files(["in"]) == expected
    assert sound_files(["dog.wav", "in", "-"]) == ["dog.wav", *expected, "-"]
    assert main(["embed", "in"]) == 0
    assert [row["source"] for row in rows(capsys)] == expected


def test_standard_input_once(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similarity", "-", "-"]) == 1
    assert "- was named more than once" in capsys.readouterr().err


def test_a_folder_without_sounds(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sounds / "empty").mkdir()
    with pytest.raises(OptionError, match="empty is a folder without sound files"):
        sound_files(["empty"])
    assert main(["embed", "empty", "-o", "x.npz"]) == 1
    assert "without sound files" in capsys.readouterr().err
    assert not Path("x.npz").exists()


def test_a_folder_of_one_kind_of_sound(sounds: Path) -> None:
    Path("one").mkdir()
    soundfile.write("one/tone.flac", SOUNDS["tone"](RATE, RATE).astype(np.float32), RATE)
    assert sound_files(["one/"]) == ["one/tone.flac"]
