"""`claprt search` on a library of the toy model."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.engines.in_process import InProcessEngine

pytest.importorskip("pyarrow", reason="needs claprt[library]")
pytest.importorskip("numkong", reason="needs claprt[library]")

import pyarrow as pa

from claprt.library.manifest import LibraryManifest, ModelReference
from claprt.library.store import create_store
from tests.library.conftest import rows_of

RATE = 48_000


@pytest.fixture
def library(tmp_path: Path, clap: claprt.Clap) -> Path:
    """Three sound files, indexed."""
    names = ["rain", "tone", "drums"]
    files = [tmp_path / "sounds" / f"{name}.wav" for name in names]
    files[0].parent.mkdir()
    for file in files:
        soundfile.write(file, SOUNDS[file.stem](RATE, RATE), RATE)
    model = ModelReference(bundle=str(clap.bundle.path), name="toy", checkpoint_sha256="0" * 64)
    store = create_store(tmp_path / "library", LibraryManifest(fingerprint=clap.fingerprint, dim=clap.dim, model=model))
    table = rows_of(store, [str(file) for file in files])
    field = table.schema.field("embedding")
    vectors = clap.embed_audio(files).reshape(-1)
    with store.writing() as writer:
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=field.type)
        writer.commit(rows=[table.set_column(table.schema.get_field_index("embedding"), field, embedding)])
    return store.folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["search", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_list_of_hits(library: Path, clap: claprt.Clap, capsys: pytest.CaptureFixture[str]) -> None:
    found: list[dict[str, Any]] = json.loads(run(capsys, library, "a dog barking", "--json", "-k", "2"))
    files = sorted(library.parent.glob("sounds/*"))
    cosines = clap.embed_audio(files) @ clap.embed_text("a dog barking")
    best = np.argsort(-cosines)[:2]
    assert [hit["path"] for hit in found] == [str(files[at]) for at in best]
    assert [hit["score"] for hit in found] == pytest.approx(cosines[best], abs=1e-5)
    assert {"path", "score", "start_s", "id", "duration_s", "windows", "facts"} == found[0].keys()


def test_words_alone_load_the_text_tower_alone(
    library: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    opened: Any = InProcessEngine._opened  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(InProcessEngine, "_opened", lambda self, stage: [used.append(stage), opened(self, stage)][1])
    run(capsys, library, "rain", "--minus", "wind")
    assert used == ["text"]
    run(capsys, library, "--audio", library.parent / "sounds" / "rain.wav")
    assert used == ["text", "audio"]


def test_a_text_that_is_too_long_is_said_to_be(
    library: Path, clap: claprt.Clap, capsys: pytest.CaptureFixture[str]
) -> None:
    most = clap.manifest.text.max_tokens
    assert main(["search", str(library), "rain", "wind " * most, "--minus", "x", "--json"]) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 3
    assert shown.err == f"note: {('wind ' * 8)!r}… is too long: only its first {most} tokens count.\n"


def test_a_table_as_wide_as_the_terminal(
    library: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = run(capsys, "--audio", library.parent / "sounds" / "tone.wav", library, "--windows").splitlines()
    assert lines[0].split() == ["score", "at", "of", "path"]
    assert lines[1].startswith("+1.000   0:00      0:10      …")
    assert lines[1].endswith("tone.wav")
    assert lines[2] == "  +1.000 0:00"
    assert max(map(len, lines)) <= 40


def test_exports(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone = library.parent / "sounds" / "tone.wav"
    query = ["search", str(library), "--audio", str(tone), "-k", "3", "--quiet", "--export"]
    (library.parent / "sounds" / "rain.wav").unlink()
    folder = tmp_path / "found"
    assert main([*query, str(folder)]) == 0
    first, second = sorted(folder.iterdir())  # the third is not there any more
    assert first.name == "1 tone.wav"
    assert first.readlink() == tone
    assert second.exists()
    assert main([*query, str(folder)]) == 1
    assert "holds something" in capsys.readouterr().err
    assert main([*query, str(tmp_path / "copies"), "--copy"]) == 0
    assert (tmp_path / "copies" / "1 tone.wav").read_bytes() == tone.read_bytes()
    assert not (tmp_path / "copies" / "1 tone.wav").is_symlink()
    assert main([*query, str(tmp_path / "found.m3u8")]) == 0
    assert (tmp_path / "found.m3u8").read_text().splitlines()[:3] == ["#EXTM3U", "#EXTINF:10,tone.wav", str(tone)]
    assert main([*query, str(tmp_path / "found.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    assert rows[0]["path"] == str(tone)
    assert float(rows[0]["score"]) == pytest.approx(1, abs=1e-5)
    assert rows[0]["sample_rate"] == "48000"
    assert main([*query, str(tmp_path / "no" / "found.csv")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--where", "path LIKE"], "syntax error"),
        (["-k", "0"], "k=0"),
        (["--like", "nobody"], "No sound of the library has the id 'nobody'"),
    ],
)
def test_what_is_refused(library: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str) -> None:
    assert main(["search", str(library), "rain", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("claprt: ")
    assert reason in error


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(tmp_path), "rain"]) == 1
    assert "claprt index" in capsys.readouterr().err
    for arguments in ([], [str(tmp_path)]):
        with pytest.raises(SystemExit) as ended:
            main(["search", *arguments])
        assert ended.value.code == 2


def test_another_model_is_refused(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(library), "rain", "--bundle", "mini"]) == 1
    error = capsys.readouterr().err
    assert f"holds vectors of {claprt.open_library(library).fingerprint}" in error
    assert "mini/laion" in error
