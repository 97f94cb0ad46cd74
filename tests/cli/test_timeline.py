"""`claprt timeline`, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main

RATE = 48_000


@pytest.fixture
def street(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CLAPRT_BUNDLE", str(bundle))
    path = tmp_path / "street.wav"
    soundfile.write(path, np.concatenate([SOUNDS[name](6 * RATE, RATE) for name in ("rain", "tone")]), RATE)
    return str(path)


def test_json(street: str, clap: claprt.Clap, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--labels", "rain,a tone", "--hop", "0.5", "--on", "0.4", "--off", "0.3", "--merge", "1", "--json", "-q"]
    assert main(["timeline", street, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    line = claprt.timeline(street, labels=["rain", "a tone"], hop_s=0.5, on=0.4, off=0.3, merge_s=1, model=clap)
    assert found == json.loads(json.dumps(line.to_dict()))


def test_chart(street: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timeline", street, "--labels", "rain", "a tone", "--on", "0", "-q"]) == 0
    rain, tone, axis, *events = capsys.readouterr().out.splitlines()
    assert rain.startswith("rain  ")
    assert tone.startswith("a tone")
    assert axis.split() == ["0", "12.0", "s", "highest"]
    assert [line.split()[:4] for line in events] == [["0.0", "–", "12.0", "s"]] * 2
    assert main(["timeline", street, "--label", "rain", "--on", "1", "-q"]) == 0
    assert "no event: no probability reached 1" in capsys.readouterr().out


def test_output(street: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [str(tmp_path / f"out{ending}") for ending in (".csv", ".txt", ".tsv", ".json")]
    named = [part for path in out for part in ("-o", path)]
    assert main(["timeline", street, "--labels", "rain", "drums", "--on", "0", *named]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("wrote ") == 4
    assert Path(out[1]).read_text() == "0.000000\t12.000000\train\n0.000000\t12.000000\tdrums\n"
    assert Path(out[2]).read_text().splitlines()[1] == "street.wav\t0.000\t12.000\train"


def test_wrong_usage(street: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status, message in (
        ([street, "--labels", "rain", "-o", "x.mp3"], 1, "x.mp3 is not a name for a timeline"),
        ([street, street, "--labels", "rain", "-o", "x.csv"], 1, "there are 2; use --json"),
        ([street, "--labels", "rain", "-o", "nowhere/x.csv"], 1, "there is no folder nowhere"),
        ([street, "--labels", "rain", "--hop", "99"], 1, "hop_s=99.0 is not possible"),
        ([str(tmp_path / "missing.wav"), "--labels", "rain"], 1, "skipped: "),
        ([str(tmp_path / "missing.wav"), "--labels", "rain", "--on-error", "raise"], 1, "claprt: "),
    ):
        assert main(["timeline", *arguments]) == status
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["timeline", street])
    assert "name what to choose from" in capsys.readouterr().err
