"""From files to the right hit, with the small model that ships with the package."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main

pytest.importorskip("pyarrow", reason="needs claprt[library]")
pytest.importorskip("numkong", reason="needs claprt[library]")

RATE = 48_000
_ESC10 = {"a dog barking": "dog", "rain": "rain", "a baby crying": "crying_baby", "a helicopter": "helicopter"}
"""Queries, and the class that they are of."""


def search(capsys: pytest.CaptureFixture[str], library: Path, *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["search", str(library), *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.seconds
def test_the_dog_is_found_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds, library = tmp_path / "sounds", tmp_path / "sounds.lib"
    sounds.mkdir()
    for name in ("dog", "rain"):
        shutil.copy(claprt.sample_path(name), sounds / f"recording of {name}.flac")
    for name, sound in SOUNDS.items():
        soundfile.write(sounds / f"{name}.wav", sound(2 * RATE, RATE), RATE)
    assert main(["index", str(sounds), "--out", str(library), "--bundle", "mini", "--quiet"]) == 0
    for query, name in (("a dog barking", "dog"), ("rain on a roof", "rain")):
        hits = search(capsys, library, query, "-k", "3")
        assert Path(hits[0]["path"]).stem == f"recording of {name}"
        assert hits[0]["score"] > hits[1]["score"] + 0.05
    found = search(
        capsys, library, "a dog barking", "--minus", "a dog barking", "--audio", str(sounds / "tone.wav"), "-k", "1"
    )
    assert Path(found[0]["path"]).stem != "recording of dog"


@pytest.mark.slow
def test_clips_of_esc10_are_found(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first hit of each query is of its class, and so are at least four of the first five; fold 4 is not trained on."""
    folder = shared / "esc10"
    if not (folder / "labels.csv").exists():
        pytest.skip("needs the clips of ESC-10 in the shared data")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as table:
        labels = {row["file"]: row["label"] for row in csv.DictReader(table) if row["fold"] == "4"}
    (tmp_path / "clips.txt").write_text("".join(f"{folder / name}\n" for name in labels), encoding="utf-8")
    library = tmp_path / "esc10.lib"
    assert main(["index", f"@{tmp_path / 'clips.txt'}", "--out", str(library), "--bundle", "mini", "--quiet"]) == 0
    for query, wanted in _ESC10.items():
        found = [labels[Path(hit["path"]).name] for hit in search(capsys, library, query, "-k", "5")]
        assert found[0] == wanted, (query, found)
        assert found.count(wanted) >= 4, (query, found)
