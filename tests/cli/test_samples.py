"""The sample sounds and `claprt demo`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import claprt
from claprt.cli import demo, main
from claprt.errors import OptionError
from claprt.samples import SAMPLES


@pytest.fixture(scope="module")
def mini() -> claprt.Clap:
    return claprt.load("mini")


def test_samples_are_small_sounds_in_the_package() -> None:
    assert SAMPLES == ("dog", "rain")
    for name in SAMPLES:
        path = Path(claprt.sample_path(name))
        assert path.parent.parent == Path(claprt.__file__).parent
        assert path.stat().st_size <= 50_000
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (24_000, 1)
        assert 1 <= info.duration <= 2
    assert "CC0" in Path(claprt.sample_path()).with_name("LICENSE.txt").read_text(encoding="utf-8")
    with pytest.raises(OptionError, match="no sample sound 'cat'; there are dog and rain"):
        claprt.sample_path("cat")


def test_the_small_model_knows_them(mini: claprt.Clap) -> None:
    labels = [
        "rain", "a dog barking", "a crying baby", "a rooster", "sea waves", "a helicopter", "a sneeze", "white noise",
        "a siren", "birds chirping", "footsteps", "a ringing bell", "silence",
    ]  # fmt: skip
    for name, label in (("dog", "a dog barking"), ("rain", "rain")):
        result = claprt.classify(claprt.sample_path(name), labels=labels, model=mini)
        assert result.predicted_class == label
        assert result.confidence > 0.95
        assert claprt.tag(claprt.sample_path(name), tags=labels, model=mini).active_tags == [label]


def test_demo(mini: claprt.Clap, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLAPRT_BUNDLE", "nowhere")  # it needs nothing
    assert main(["demo"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    result = claprt.classify(claprt.sample_path("dog"), labels=demo.LABELS, model=mini)
    best = next(line for line in captured.out.splitlines() if "█" in line)
    assert best.startswith(f"a dog barking   {result.confidence:.1%}")
    assert f"cosine {result.similarities[0]:+.3f}" in best
    alike = claprt.similarity(claprt.sample_path("dog"), claprt.sample_path("rain"), model=mini)
    assert f"Similarity of dog.flac and rain.flac: {alike:.3f}" in captured.out
    assert re.search(r"classified in \d+ ms on cpu", captured.out)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")
def test_demo_shows_commands_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLAPRT_BUNDLE", raising=False)
    assert main(["demo"]) == 0
    commands = re.findall(r"^  claprt (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        arguments = subprocess.run(
            f"printf '%s\\n' {command}", shell=True, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("a dog barking ")


def test_demo_with_another_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--bundle", str(bundle)]) == 0
    assert "classified by tiny" in capsys.readouterr().out


def test_demo_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = [tmp_path / "dog.wav", tmp_path / "rain.flac", tmp_path / "dog.flac"]
    assert main(["demo", "--save", *map(str, targets)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"wrote {target}" for target in targets]
    for target in targets:
        assert np.array_equal(soundfile.read(target)[0], soundfile.read(claprt.sample_path(target.stem))[0])
    assert soundfile.info(targets[0]).format == "WAV"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cat.wav", "name the file after a sample sound, dog.wav or rain.wav"),
        ("taken/dog.wav", "there is such a file already"),
        ("nowhere/dog.wav", "there is no folder"),
        ("dog.txt", "cannot be written"),
        ("dog", "cannot be written"),
    ],
)
def test_demo_save_refuses(name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "dog.wav").write_text("precious")
    assert main(["demo", "--save", str(tmp_path / name)]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert (tmp_path / "taken" / "dog.wav").read_text() == "precious"
