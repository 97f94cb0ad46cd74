"""Tags: calibrated or against neutral prompts, the calibration itself, and both commands."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.folder import read_bundle
from claprt.bundle.manifest import PrecisionRecall, TaggingCalibration
from claprt.cli import main
from claprt.cli.calibrate import write
from claprt.errors import DatasetError, OptionError, TextError
from claprt.evaluation.calibration import Curve, calibrate, fitted, left_out, shares, tags_of
from claprt.evaluation.dataset import Dataset, Item
from claprt.scoring.tagging import NEUTRAL_PROMPTS, log_odds, sigmoid, tag_embedding

RATE = 48_000
TAGS = ["a tone", "drums", "rain"]
FACTS = TaggingCalibration(
    slope=12.0, midpoint=0.03, prevalence=0.1, dataset="x", sounds=99, tags=9, templates=("{}",),
    held_out=PrecisionRecall(precision=0.8, recall=0.6), uncalibrated=PrecisionRecall(precision=0.1, recall=1.0),
)  # fmt: skip


@pytest.fixture
def sound() -> Any:
    return SOUNDS["tone"](RATE, RATE)


@pytest.fixture(scope="module")
def calibrated(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> claprt.Clap:
    folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("calibrated") / "bundle"))
    write(folder, dataclasses.replace(read_bundle(folder).manifest, tagging=FACTS))
    return claprt.load(folder)


def test_calibrated_probabilities(calibrated: claprt.Clap, sound: Any) -> None:
    result = claprt.tag(sound, tags=TAGS, model=calibrated)
    cosines = calibrated.embed_text(TAGS) @ calibrated.embed_audio(sound)
    assert np.allclose(result.similarities, cosines, atol=1e-6)
    assert result.calibrated
    assert result.tags == result.tag_names == tuple(TAGS)
    assert result.active_tags == [TAGS[n] for n in np.argsort(-cosines) if cosines[n] >= 0.03]
    assert "(of 3, from 0.5)" in repr(result)


def test_probabilities_by_hand(calibrated: claprt.Clap) -> None:
    """Of cosines 0.03, 0.13 and 0: 1 / (1 + e^0), 1 / (1 + e^-1.2) and 1 / (1 + e^0.36)."""
    vector = np.array([1, 0], np.float32)
    texts = np.array([[0.03, 0.99955], [0.13, 0.99151], [0, 1]], np.float32)
    result = tag_embedding(calibrated.manifest, vector, texts, texts[:0], ("a", "b", "c"))
    assert result.probabilities.tolist() == pytest.approx([0.5, 0.768525, 0.410960], abs=1e-5)


def test_against_neutral_prompts(clap: claprt.Clap, sound: Any) -> None:
    result = claprt.tag(sound, tags=TAGS, model=clap)
    vector = clap.embed_audio(sound)
    neutral = float((clap.embed_text(NEUTRAL_PROMPTS) @ vector).max())
    expected = 1 / (1 + np.exp(-18.5 * (clap.embed_text(TAGS) @ vector - neutral)))
    assert np.allclose(result.probabilities, expected, atol=1e-5)
    assert not result.calibrated
    same = claprt.tag(sound, tags=[NEUTRAL_PROMPTS[0]], model=clap)
    assert same.get_probability(0) <= 0.5 + 1e-6  # what says nothing does not apply


def test_thresholds(calibrated: claprt.Clap, sound: Any) -> None:
    result = claprt.tag(sound, tags=TAGS, model=calibrated, threshold=0)
    assert set(result.active_tags) == set(TAGS)
    assert result.active_tags == [tag for tag, _ in result.top_k(3)]
    middle = float(np.sort(result.probabilities)[1])
    assert [tag for tag, _ in result.above_threshold(middle)] == [tag for tag, _ in result.top_k(2)]
    assert claprt.tag(sound, tags=TAGS, model=calibrated, threshold=1.0).active_tags == []
    assert "none" in repr(claprt.tag(sound, tags=TAGS, model=calibrated, threshold=1))
    assert result.get_probability("rain") == result.get_probability(2) == result.get_probability(-1)
    with pytest.raises(OptionError, match="not among the tags"):
        result.get_probability("snow")
    for wrong in (-0.1, 1.1, float("nan"), "0.5", True):
        with pytest.raises(OptionError, match="not a probability"):
            claprt.tag(sound, tags=TAGS, model=calibrated, threshold=wrong)  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_one_or_many_and_templates(calibrated: claprt.Clap, sound: Any) -> None:
    both = claprt.tag([sound, SOUNDS["rain"](RATE, RATE)], tags=TAGS, model=calibrated)
    assert isinstance(both, list)
    assert np.allclose(both[0].logits, claprt.tag(sound, tags=TAGS, model=calibrated).logits, atol=1e-4)
    asked = claprt.tag(sound, tags=TAGS, model=calibrated, template="This is a sound of {}.")
    written = claprt.tag(sound, tags=[f"This is a sound of {tag}." for tag in TAGS], model=calibrated)
    assert np.array_equal(asked.similarities, written.similarities)


def test_to_dict_is_json_with_the_most_probable_first(calibrated: claprt.Clap, sound: Any) -> None:
    result = claprt.tag(sound, tags=TAGS, model=calibrated)
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["active_tags"] == result.active_tags == [row["tag"] for row in plain["tags"] if row["active"]]
    probabilities = [row["probability"] for row in plain["tags"]]
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize(
    ("tags", "error", "sentence"),
    [([], OptionError, "tags is empty"), ("rain", OptionError, "one string"), (["a", "a"], OptionError, "more than once"),
     (["a", " "], TextError, "A tag is empty"), (3, OptionError, "is not a list")],
)  # fmt: skip
def test_refusals(clap: claprt.Clap, sound: Any, tags: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        claprt.tag(sound, tags=tags, model=clap)


def test_sigmoid_and_log_odds_at_the_ends() -> None:
    assert sigmoid(np.array([-1e4, -1, 0, 1, 1e4], np.float32)).tolist() == pytest.approx([0, 0.2689414, 0.5, 0.7310586, 1])
    assert log_odds(np.array([[1.0]], np.float32), 2.0, 0.5).shape == (1, 1)


def drawn(slope: float, midpoint: float, sounds: int = 4000, tags: int = 6) -> tuple[Any, Any]:
    """Cosines, and truths that follow this very curve."""
    random = np.random.default_rng(0)
    cosines = random.normal(0.2, 0.15, (sounds, tags)).astype(np.float32)
    return cosines, random.random((sounds, tags)) < 1 / (1 + np.exp(-slope * (cosines - midpoint)))


@pytest.mark.parametrize(("slope", "midpoint"), [(20.0, 0.4), (60.0, 0.3), (5.0, 0.5)])
def test_the_curve_is_found_again(slope: float, midpoint: float) -> None:
    curve = fitted(*drawn(slope, midpoint))
    assert curve.slope == pytest.approx(slope, rel=0.08)
    assert curve.midpoint == pytest.approx(midpoint, abs=0.02)


def test_what_can_be_told_apart_wholly_gives_a_curve_all_the_same() -> None:
    cosines = np.tile(np.array([0.1, 0.2, 0.6, 0.7], np.float32), (30, 1))
    curve = fitted(cosines, cosines > 0.4)
    assert 0.25 < curve.midpoint < 0.55
    assert np.isfinite(curve.slope)
    given = left_out(cosines, cosines > 0.4) >= 0
    assert shares(given, cosines > 0.4) == PrecisionRecall(precision=1.0, recall=1.0)


def test_cosines_that_say_nothing_are_refused() -> None:
    cosines, truth = drawn(20.0, 0.4)
    with pytest.raises(DatasetError, match="say nothing to this model"):
        fitted(-cosines, truth)
    with pytest.raises(DatasetError, match="too few"):
        fitted(cosines, np.zeros_like(truth))


def test_left_out_is_predicted_without_itself() -> None:
    cosines, truth = drawn(20.0, 0.4, sounds=100)
    changed = truth.copy()
    changed[0] = ~changed[0]
    assert np.array_equal(left_out(cosines, truth)[0], left_out(cosines, changed)[0])
    assert not np.array_equal(left_out(cosines, truth)[1], left_out(cosines, changed)[1])


def test_tags_of_labels_and_captions() -> None:
    items = [Item(path=Path("a"), label="rain", captions=("wind",)), *[Item(path=Path("b"), captions=("wind",))] * 9]
    names, truth = tags_of(Dataset(name="d", items=tuple(items)))
    assert names == ("rain", "wind")
    assert truth[0].tolist() == [True, True]
    assert truth[1].tolist() == [False, True]
    with pytest.raises(DatasetError, match="calibration needs 10"):
        tags_of(Dataset(name="d", items=tuple(items[:9])))


@pytest.mark.parametrize("facts", [{"slope": 0.0}, {"midpoint": 2.0}, {"prevalence": 0.0}, {"slope": float("nan")}])
def test_facts_that_make_no_probabilities(facts: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="makes no probabilities"):
        dataclasses.replace(FACTS, **facts)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty sounds of two kinds that mini tells apart."""
    folder = tmp_path_factory.mktemp("labelled")
    random = np.random.default_rng(1)
    rows = ["file,label"]
    for number in range(20):
        noise = random.normal(0, 0.1, RATE)
        tone = 0.3 * np.sin(2 * np.pi * random.uniform(300, 900) * np.arange(RATE) / RATE)
        soundfile.write(folder / f"{number}.wav", noise if number % 2 else tone, RATE)
        rows.append(f"{number}.wav,{'white noise' if number % 2 else 'a sine wave'}")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.mark.seconds
def test_the_command_changes_the_manifest_alone(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(read_bundle("mini").path, tmp_path / "mini"))
    before = claprt.load(folder)
    assert main(["calibrate", "--bundle", str(folder), "--dataset", str(labelled), "--dry-run", "--json"]) == 0
    dry = json.loads(capsys.readouterr().out)
    assert read_bundle(folder).manifest == before.manifest
    assert main(["calibrate", "--bundle", str(folder), "--dataset", str(labelled), "--prevalence", "0.1"]) == 0
    captured = capsys.readouterr()
    assert "as likely right as wrong" in captured.out
    assert captured.err.endswith(f"wrote {folder / 'manifest.json'}\n")
    after = claprt.load(folder)
    facts = after.manifest.tagging
    assert facts is not None
    assert dataclasses.replace(after.manifest, tagging=before.manifest.tagging) == before.manifest
    assert after.fingerprint == before.fingerprint
    assert facts.slope == pytest.approx(dry["slope"])
    assert facts.midpoint > dry["midpoint"]  # rarer tags need a higher cosine
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in before.bundle.path.iterdir())
    rare = 1 / (1 + np.exp(-facts.slope * (dry["midpoint"] - facts.midpoint)))
    assert rare / (1 - rare) == pytest.approx((0.1 / 0.9) / (dry["prevalence"] / (1 - dry["prevalence"])), rel=1e-3)


def test_calibration_refuses(labelled: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*arguments: str) -> str:
        assert main(["calibrate", "--dataset", str(labelled), *arguments]) == 1
        return capsys.readouterr().err

    assert "part of the installed package" in error("--bundle", "mini")
    assert "Name the folder" in error("--bundle", "triton://localhost:8001")
    assert "is not a share of right tags" in error("--bundle", str(bundle), "--prevalence", "1")
    assert "has no {}" in error("--bundle", str(bundle), "--template", "bare")
    read_only = tmp_path / "nothing"
    with pytest.raises(OptionError, match="cannot be changed"):
        write(read_only, read_bundle(bundle).manifest)


def test_no_bundle_named(labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("CLAPRT_BUNDLE", raising=False)
    assert main(["calibrate", "--dataset", str(labelled)]) == 1
    assert "Name the folder" in capsys.readouterr().err


@pytest.mark.seconds
def test_calibration_of_a_model(labelled: Path) -> None:
    from claprt.evaluation.reading.read import read_dataset

    clap = claprt.load("mini")
    facts = calibrate(clap, read_dataset(labelled))
    assert (facts.sounds, facts.tags) == (20, 2)
    assert facts.held_out.f1 >= facts.uncalibrated.f1
    assert Curve(slope=facts.slope, midpoint=facts.midpoint).slope > 0


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "tone.wav", tmp_path / "rain.wav"]
    for path in paths:
        soundfile.write(path, SOUNDS[path.stem](RATE, RATE), RATE)
    return list(map(str, paths))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(bundle: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, "--bundle", str(bundle)])
        out, err = capsys.readouterr()
        return status, out, err

    return command


def test_the_tag_command(run: Run, files: list[str], clap: claprt.Clap) -> None:
    status, out, err = run("tag", *files, "--tags", "a tone,drums", "rain", "--threshold", "0.2")
    assert status == 0
    assert all(name in out for name in (*TAGS, *files))
    assert "not calibrated" in err
    status, out, err = run("tag", *files, "--tags", *TAGS, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["source"] for line in lines] == files
    assert lines[0]["fingerprint"] == clap.fingerprint
    expected = claprt.tag(files[0], tags=TAGS, model=clap).to_dict()["tags"]
    assert [row["tag"] for row in lines[0]["tags"]] == [row["tag"] for row in expected]
    assert lines[0]["tags"][0]["probability"] == pytest.approx(expected[0]["probability"], abs=1e-4)
    status, out, err = run("tag", "missing.wav", files[0], "--tags", "rain")
    assert status == 1
    assert "missing.wav" in err
    assert "rain" in out
    assert run("tag", files[0], "--tags", "rain", "--threshold", "2")[0] == 1


def test_the_similarity_command(run: Run, files: list[str], clap: claprt.Clap) -> None:
    rows = clap.embed_audio(files)
    status, out, _ = run("similarity", *files)
    assert status == 0
    assert float(out) == pytest.approx(float(rows[0] @ rows[1]), abs=1e-4)
    out = run("similarity", *files, "--text", "rain", "--text", "the sound of a very long text indeed")[1]
    assert "[2] the sound of a very long text indeed" in out
    plain = json.loads(run("similarity", *files, "--json")[1])
    assert np.allclose(plain["similarity"], rows @ rows.T, atol=1e-6)
    assert plain["sources"] == files
    with pytest.raises(SystemExit):
        run("similarity", files[0])
    assert run("similarity", files[0], "missing.wav")[0] == 1


def test_tagging_takes_vectors(clap: claprt.Clap, sound: Any) -> None:
    neutral = clap.embed_text(NEUTRAL_PROMPTS)
    result = tag_embedding(clap.manifest, clap.embed_audio(sound), clap.embed_text(TAGS), neutral, tuple(TAGS))
    assert np.allclose(result.logits, claprt.tag(sound, tags=TAGS, model=clap).logits, atol=1e-4)
