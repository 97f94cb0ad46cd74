"""The CLAP score of pairs: files of pairs, the score and its interval, shuffled pairs, streaming, the commands."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.arrays import Embeddings
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.errors import ArrayError, AudioError, DatasetError, OptionError, TextError
from claprt.evaluation.intervals import mean_interval
from claprt.evaluation.scores.exact_sums import ExactSums
from claprt.evaluation.scores.pair_scores import PairScores, PairSums
from claprt.evaluation.scores.pairs_file import read_pairs
from claprt.evaluation.scores.provenance import Provenance

RATE = 48_000
NAMES = ("tone", "drums", "rain", "chirp", "clicks")
PROVENANCE = Provenance(
    checkpoint="c", sha256="0" * 64, protocol="claprt", windows="windows-10s", precision="fp32", fingerprint="f"
)


def unit_rows(count: int, dim: int, seed: int) -> Embeddings:
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten sounds, and `pairs.csv` beside them."""
    folder = tmp_path_factory.mktemp("pairs")
    rows: list[tuple[str, str]] = []
    for name in NAMES:
        for take in range(2):
            soundfile.write(folder / f"{name}{take}.wav", SOUNDS[name](RATE // 4 + take * 99, RATE), RATE)
            rows.append((f"{name}{take}.wav", f"the sound of {name}"))
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "text"), *rows])
    return folder


# files of pairs


def test_csv_and_json_lines_say_the_same(sounds: Path, tmp_path: Path) -> None:
    pairs = read_pairs(sounds / "pairs.csv")
    assert (pairs[2].path, pairs[2].text) == (sounds / "drums0.wav", "the sound of drums")
    lines = [json.dumps({"audio": str(pair.path), "caption": pair.text, "id": number, "extra": [1]})
             for number, pair in enumerate(pairs)]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text("\n".join([*lines, ""]))
    again = read_pairs(tmp_path / "pairs.jsonl")
    assert [(pair.path, pair.text) for pair in again] == [(pair.path, pair.text) for pair in pairs]
    assert [pair.id for pair in again] == [str(number) for number in range(10)]


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the file, then the working folder."""
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        place.mkdir()
        (place / "both.wav").touch()
    (here / "one.wav").touch()
    (there / "pairs.csv").write_text("path,text\nboth.wav,a\none.wav,b\n")
    monkeypatch.chdir(here)
    assert [pair.path for pair in read_pairs(there / "pairs.csv")] == [there / "both.wav", Path("one.wav")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.csv", "", "holds no pair"),
        ("p.csv", "path,text\n", "holds no pair"),
        ("p.csv", "sound,text\na.wav,dog\n", "columns sound, text; one of path, file"),
        ("p.csv", "path,said\na.wav,dog\n", "one of text, caption"),
        ("p.csv", "path,text\na.wav,dog\na.wav,\na.wav, \n", "an empty text in 2 of 3 rows: line 3, 4"),
        ("p.csv", "path,text\n,dog\n", "an empty path in 1 of 1 rows: line 2"),
        (
            "p.csv",
            "path,text\nb.wav,dog\na.wav,x\nc.wav,y\n",
            r"2 of 3 sounds that are not there, or no files: .*b\.wav, .*c\.wav",
        ),
        ("p.csv", "id,path,text\n7,a.wav,dog\n7,a.wav,cat\n8,a.wav,x\n", "1 ids more than once: 7"),
        ("p.csv", b"\xff\xfe\xfa", "is not text in UTF-8"),
        ("p.csv", "path,text\na.wav,a dog, barking\n", "Line 2 of .* has more fields than the header's 2"),
        ("p.csv", "path,text,Text\na.wav,a,b\n", "the column text more than once"),
        ("p.csv", "path;text\na.wav;a dog\n", "separates fields by semicolons"),
        ("p.csv", "path,text\n.,a dog\n", "1 of 1 sounds that are not there, or no files"),
        ("p.jsonl", '{"path": "a.wav", "text": "dog"}\n{"path"\n', "Line 2 of .* is not JSON"),
        ("p.jsonl", '["a.wav", "dog"]\n', "not an object with a path and a text"),
        ("p.jsonl", '{"path": "a.wav", "text": null}\n', "one of text, caption"),
        ("p.jsonl", '{"path": "a.wav", "text": "x"}\n{"path": "a.wav", "text": NaN}\n', "an empty text in 1 of 2"),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=words):
        read_pairs(tmp_path / name)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such file"):
        read_pairs(tmp_path / "none.csv")


# the numbers


def test_scores_by_hand() -> None:
    """Two pairs of vectors in the plane: cosines 1 and 0.6, crossed 0 and 0.8."""
    sums = PairSums(2)
    audio, text = np.array([[1, 0], [0.6, 0.8]], np.float32), np.array([[1, 0], [1, 0]], np.float32)
    sums.add(audio, np.array([[1, 0], [0, 1]], np.float32), [("a", "x"), ("b", "y")])
    found = sums.result(PROVENANCE)
    assert (found.mean, found.std, found.median) == pytest.approx((0.9, 0.1, 0.9), abs=1e-7)
    assert found.interval is None
    assert found.shuffled is not None
    # the first sound with the second text: 0; the second sound with the first text: 0.6
    assert (found.shuffled.mean, found.shuffled.std) == pytest.approx((0.3, 0.3), abs=1e-6)
    assert float(found) == found.mean
    assert any("too few for an interval" in warning for warning in found.warnings)
    same = PairSums(2)
    same.add(audio, text, [("a", "x"), ("b", "x")])
    assert same.result(PROVENANCE).shuffled is None
    same.add(audio, text, [("a", "x"), ("c", "z")])
    assert any("1 of 4 pairs are the same sound and text" in warning for warning in same.result(PROVENANCE).warnings)
    assert not any("the same sound and text" in warning for warning in found.warnings)


def test_shuffled_pairs_are_all_combinations_that_share_nothing() -> None:
    """Against a loop over all combinations, with recurring sounds, recurring texts and a pair twice."""
    count = 40
    sounds, texts = unit_rows(25, 16, 0), unit_rows(30, 16, 1)
    draw = np.random.default_rng(2)
    of_sound, of_text = draw.integers(0, 25, count), draw.integers(0, 30, count)
    of_sound[1], of_text[1] = of_sound[0], of_text[0]
    sums = PairSums(16)
    for part in (slice(0, 7), slice(7, count)):
        names = [(f"s{s}", f"t{t}") for s, t in zip(of_sound[part], of_text[part], strict=True)]
        sums.add(sounds[of_sound[part]], texts[of_text[part]], names)
    unrelated = [
        float(sounds[of_sound[i]].astype(float) @ texts[of_text[j]].astype(float))
        for i in range(count)
        for j in range(count)
        if of_sound[i] != of_sound[j] and of_text[i] != of_text[j]
    ]
    found = sums.shuffled()
    assert found is not None
    assert found.combinations == len(unrelated)
    assert found.mean == pytest.approx(np.mean(unrelated), abs=1e-6)
    assert found.std == pytest.approx(np.std(unrelated), abs=1e-5)


def test_sums_do_not_depend_on_order_or_batches() -> None:
    rows = unit_rows(5000, 8, 3)
    whole, parts = ExactSums(8), ExactSums(8)
    whole.add(rows)
    for part in np.array_split(rows[::-1], 7):
        parts.add(part)
    assert np.array_equal(whole.sum, parts.sum)
    assert np.array_equal(whole.products, parts.products)
    assert np.allclose(whole.sum, rows.astype(float).sum(0), atol=1e-9)
    assert np.allclose(whole.products, rows.T.astype(float) @ rows, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_vectors_without_a_cosine(value: float) -> None:
    sums, rows = PairSums(4), unit_rows(2, 4, 0)
    bad = rows.copy()
    bad[1] = value
    with pytest.raises(ArrayError, match="pair b, 'y' have no cosine"):
        sums.add(bad, rows, [("a", "x"), ("b", "y")])
    with pytest.raises(ArrayError, match=r"3 pairs are \[3, 4\]; \[2, 4\] of sounds"):
        sums.add(rows, rows, [("a", "x")] * 3)


@pytest.mark.seconds
@pytest.mark.parametrize(("name", "n"), [("normal", 12), ("skewed", 60)])
def test_intervals_hold_the_true_mean_as_often_as_they_state(name: str, n: int) -> None:
    """95 % of 1500 samples; the standard error of that share is 0.6 %."""
    draw = np.random.default_rng(4)
    samples = draw.normal(0.3, 0.1, (1500, n)) if name == "normal" else draw.beta(2, 8, (1500, n))
    truth = 0.3 if name == "normal" else 0.2
    held = [
        interval.low <= truth <= interval.high
        for number, row in enumerate(samples)
        if (interval := mean_interval(row, seed=number, resamples=500)) is not None
    ]
    assert len(held) == 1500
    assert 0.93 <= np.mean(held) <= 0.97


def test_an_interval_is_about_two_standard_errors_each_way() -> None:
    values = np.random.default_rng(5).normal(0.2, 0.1, 400)
    interval = mean_interval(values)
    assert interval is not None
    assert interval.low == pytest.approx(values.mean() - 1.96 * 0.1 / 20, abs=0.002)
    assert interval.high == pytest.approx(values.mean() + 1.96 * 0.1 / 20, abs=0.002)
    assert interval == mean_interval(values[::-1])
    assert interval != mean_interval(values, seed=1)
    wider = mean_interval(values, confidence=0.99)
    assert wider is not None
    assert wider.low < interval.low < interval.high < wider.high
    flat = mean_interval(np.full(20, 0.5))
    assert flat is not None
    assert (flat.low, flat.high) == (0.5, 0.5)
    assert mean_interval(values[:7]) is None


# with a model


def test_the_default_protocol_scores_the_vectors_of_the_model(clap: claprt.Clap, sounds: Path) -> None:
    found = claprt.score(sounds / "pairs.csv", model=clap)
    pairs = read_pairs(sounds / "pairs.csv")
    audio = clap.embed_audio([pair.path for pair in pairs]).astype(np.float64)
    text = clap.embed_text([pair.text for pair in pairs]).astype(np.float64)
    assert [item.score for item in found.items] == pytest.approx((audio * text).sum(1), abs=1e-6)
    assert found.mean == pytest.approx((audio * text).sum(1).mean(), abs=1e-6)
    assert [item.path for item in found.items] == [str(pair.path) for pair in pairs]
    assert (found.n, found.provenance.fingerprint) == (10, clap.fingerprint)
    assert found.citation.startswith(f"CLAP score {found.mean:.4f} (95% CI ")
    assert clap.manifest.source.sha256 in found.citation
    assert json.loads(json.dumps(found.to_dict()))["mean"] == found.mean


def numbers(found: PairScores) -> dict[str, object]:
    """Everything but the order of the items."""
    plain = found.to_dict()
    del plain["items"]
    return plain


def test_order_and_batches_change_nothing(bundle: Path, sounds: Path) -> None:
    pairs = list(read_pairs(sounds / "pairs.csv"))
    first = claprt.score(pairs, model=bundle)
    random.Random(0).shuffle(pairs)
    with claprt.load(bundle, batch_size=3, threads=1) as other:
        again = claprt.score(pairs, model=other)
    assert numbers(first) == numbers(again)
    assert {(item.path, item.score) for item in first.items} == {(item.path, item.score) for item in again.items}
    assert [item.path for item in again.items] == [str(pair.path) for pair in pairs]


def test_another_process_prints_the_same(bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["score", "--pairs", str(sounds / "pairs.csv"), "--json", "--bundle", str(bundle), "-q"]
    assert main(arguments) == 0
    here = capsys.readouterr().out
    there = subprocess.run([sys.executable, "-m", "claprt", *arguments], capture_output=True, text=True, check=True).stdout
    assert there == here


def test_pairs_of_python(clap: claprt.Clap, sounds: Path) -> None:
    tone = SOUNDS["tone"](RATE, RATE)
    found = claprt.score([(tone, "a tone"), (str(sounds / "rain0.wav"), "rain"), (tone, "a beep")], model=clap)
    assert [item.path for item in found.items] == ["sound 0", str(sounds / "rain0.wav"), "sound 2"]
    with pytest.raises(TextError):
        claprt.score([(tone, " ")], model=clap)
    with pytest.raises(OptionError, match="Pair 0 is"):
        claprt.score([("a.wav", "text", 3)], model=clap)  # pyright: ignore[reportArgumentType]
    with pytest.raises(OptionError, match="no pairs"):
        claprt.score([], model=clap)
    with pytest.raises(OptionError, match="confidence=95"):
        claprt.score([(tone, "a")], model=clap, confidence=95)
    with pytest.raises(OptionError, match="seed=-1"):
        claprt.score([(tone, "a")], model=clap, seed=-1)
    with pytest.raises(AudioError):
        claprt.score([(np.full(RATE, np.nan, np.float32), "a")], model=clap)


def test_streaming_is_the_same_score(clap: claprt.Clap, sounds: Path) -> None:
    pairs = read_pairs(sounds / "pairs.csv")
    metric = claprt.ClapScore(clap)
    metric.update(pairs[0].path, "something else")
    metric.reset()
    for part in (pairs[:4], pairs[4:]):
        metric.update([pair.path for pair in part], [pair.text for pair in part])
    assert metric.compute().to_dict() == claprt.score(pairs, model=clap).to_dict()
    with pytest.raises(OptionError, match="2 sounds and 1 texts"):
        metric.update([pair.path for pair in pairs[:2]], "one")
    metric.reset()
    with pytest.raises(OptionError, match="no pairs"):
        metric.compute()


def test_a_sound_with_several_captions_is_embedded_once(
    clap: claprt.Clap, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    embed = claprt.Clap.iter_audio

    def counted(clap: claprt.Clap, sources: Any, *rest: Any, **options: Any) -> Any:
        listed = list(sources)
        asked.extend(listed)
        return embed(clap, listed, *rest, **options)

    monkeypatch.setattr(claprt.Clap, "iter_audio", counted)
    path = sounds / "rain0.wav"
    found = claprt.score([(path, "rain"), (sounds / "tone0.wav", "a tone"), (path, "water")], model=clap)
    assert len(asked) == 2
    assert found.shuffled is not None
    assert found.shuffled.combinations == 4


# the commands


def test_command(bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, items = tmp_path / "score.json", tmp_path / "items.csv"
    arguments = ["score", "--pairs", str(sounds / "pairs.csv"), "--bundle", str(bundle)]
    assert main([*arguments, "-o", str(out), "--items", str(items), "--seed", "3", "--confidence", "0.9"]) == 0
    captured = capsys.readouterr()
    kept = json.loads(out.read_text())
    assert f"CLAP score      {kept['mean']:.4f}" in captured.out
    assert "90% interval" in captured.out
    assert kept["citation"] in captured.out
    assert kept["citation"].endswith("seed 3.")
    assert "untrained weights" in captured.err
    with items.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == [item["score"] for item in kept["items"]]


def test_commands_that_cannot_be(bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["score", "--pairs", str(sounds / "pairs.csv"), "--bundle", str(bundle)]
    for more, words in (
        (["-o", str(tmp_path / "no" / "s.json")], "there is no folder"),
        (["--items", str(tmp_path)], "is a folder"),
        (["--confidence", "1"], "not between 0 and 1"),
    ):
        assert main([*arguments, *more]) == 1
        assert words in capsys.readouterr().err


def test_rank(clap: claprt.Clap, bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["rank", "--text", "rain", str(sounds), "--bundle", str(bundle)]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    files = sorted(map(str, sounds.glob("*.wav")))
    cosines = clap.embed_audio(files) @ clap.embed_text("rain")
    assert [row["source"] for row in found["ranking"]] == [files[place] for place in np.argsort(-cosines, kind="stable")]
    assert found["ranking"][0]["score"] == pytest.approx(cosines.max(), abs=1e-6)
    assert main([*arguments, "--top", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert printed[0].endswith(found["ranking"][0]["source"])
    (sounds / "broken.wav").write_text("no sound")
    try:
        assert main([*arguments, "--json", "--on-error", "skip"]) == 1
        assert len(json.loads(capsys.readouterr().out)["ranking"]) == 10
    finally:
        (sounds / "broken.wav").unlink()
