"""The friendly functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.cli.words import split_words
from claprt.errors import BundleNotFoundError, EmptyAudioError, OptionError, SmallModelWarning, TextError, TextTypeError
from claprt.scoring.labels import apply_template
from claprt.tasks import models
from claprt.tasks.functions import classify

RATE = 48_000
LABELS = ["a tone", "drums", "rain", "a siren"]


@pytest.fixture
def sound() -> Any:
    return SOUNDS["tone"](RATE, RATE)


def test_cosine_logit_and_probability(clap: claprt.Clap, sound: Any) -> None:
    result = classify(sound, labels=LABELS, model=clap, top_k=2)
    cosines = clap.embed_text(LABELS) @ clap.embed_audio(sound)
    assert np.allclose(result.similarities, cosines, atol=1e-6)
    assert np.allclose(result.logits, cosines * 18.5, atol=1e-4)
    shares = np.exp(cosines * 18.5)
    assert np.allclose(result.probabilities, shares / shares.sum(), atol=1e-5)
    order = np.argsort(-cosines)
    assert result.predicted_class == LABELS[order[0]] == result.best_match()[0]
    assert result.top_k_classes == tuple(LABELS[position] for position in order[:2])
    assert result.top_k_probs == tuple(float(result.probabilities[position]) for position in order[:2])
    assert result.confidence == result.top_k_probs[0] == result.best_match()[1]
    assert result.class_names == tuple(LABELS)
    assert np.array_equal(result.audio_embedding, clap.embed_audio(sound))
    assert result.predicted_class in repr(result)
    assert "(of 4)" in repr(result)


def test_probability_by_name_and_position(clap: claprt.Clap, sound: Any) -> None:
    result = classify(sound, labels=LABELS, model=clap)
    assert result.get_probability("rain") == result.get_probability(2) == float(result.probabilities[2])
    assert result.get_probability(-1) == float(result.probabilities[3])
    with pytest.raises(OptionError, match="'snow' is not among the labels 'a tone', 'drums'"):
        result.get_probability("snow")
    with pytest.raises(OptionError, match="no label 4; there are 4"):
        result.get_probability(4)


def test_to_dict_is_json_with_the_best_first(clap: claprt.Clap, sound: Any) -> None:
    result = classify(sound, labels=LABELS, model=clap)
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["predicted_class"] == plain["classes"][0]["label"] == result.predicted_class
    assert [row["similarity"] for row in plain["classes"]] == sorted(map(float, result.similarities), reverse=True)
    assert sum(row["probability"] for row in plain["classes"]) == pytest.approx(1)


def test_template(clap: claprt.Clap, sound: Any) -> None:
    asked = classify(sound, labels=LABELS, model=clap, template="This is a sound of {}.")
    written = classify(sound, labels=[f"This is a sound of {label}." for label in LABELS], model=clap)
    assert np.array_equal(asked.similarities, written.similarities)
    assert asked.class_names == tuple(LABELS)
    assert apply_template("{} {x}", ["a {}"]) == ["a {} {x}"]


def test_one_sound_or_many(clap: claprt.Clap, sound: Any) -> None:
    other = SOUNDS["drums"](RATE, RATE)
    both = classify([sound, other], labels=LABELS, model=clap)
    assert isinstance(both, list)
    for result, alone in zip(both, (sound, other), strict=True):
        one = classify(alone, labels=LABELS, model=clap)
        assert isinstance(one, claprt.Classification)
        assert np.allclose(result.similarities, one.similarities, atol=1e-6)
    assert classify([], labels=LABELS, model=clap) == []


def test_sample_rate_is_heeded(clap: claprt.Clap, sound: Any) -> None:
    slow = classify(sound, labels=LABELS, model=clap, sample_rate=16_000)
    assert not np.allclose(slow.similarities, classify(sound, labels=LABELS, model=clap).similarities, atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([], OptionError, "labels is empty"),
        ("dog", OptionError, "one string; give a list"),
        (None, OptionError, "is not a list"),
        (5, OptionError, "is not a list"),
        (b"dog", OptionError, "one string"),
        (["dog", "cat", "dog"], OptionError, "'dog' more than once"),
        (["dog", " "], TextError, "label is empty"),
        (["dog", 3], TextTypeError, "int was found"),
    ],
)
def test_labels_that_cannot_be(clap: claprt.Clap, sound: Any, labels: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        classify(sound, labels=labels, model=clap)


def test_other_options_that_cannot_be(clap: claprt.Clap, sound: Any) -> None:
    with pytest.raises(OptionError, match="top_k=0"):
        classify(sound, labels=LABELS, model=clap, top_k=0)
    with pytest.raises(OptionError, match=r"no {} for the label"):
        classify(sound, labels=LABELS, model=clap, template="a sound")
    with pytest.raises(EmptyAudioError):
        classify(np.zeros(0), labels=LABELS, model=clap)
    assert classify(sound, labels=LABELS, model=clap, top_k=99).top_k == 4


def test_a_folder_is_loaded_once(bundle: Path, sound: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_loaded", {})
    monkeypatch.chdir(bundle.parent)
    first = models.resolve_model(bundle)
    assert models.resolve_model(bundle.name) is first
    assert classify(sound, labels=LABELS, model=str(bundle)).class_names == tuple(LABELS)


def test_the_default_can_be_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_loaded", {})
    monkeypatch.setenv("CLAPRT_BUNDLE", str(bundle))
    assert models.resolve_model().bundle.path == bundle


def test_the_default_may_change(bundle: Path, fused_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_loaded", {})
    for path in (bundle, fused_bundle):
        monkeypatch.setenv("CLAPRT_BUNDLE", str(path))
        assert models.resolve_model().bundle.path == path
    monkeypatch.setenv("CLAPRT_BUNDLE", str(bundle / "nothing"))
    with pytest.raises(BundleNotFoundError, match=r"CLAPRT_BUNDLE names .*nothing, which is not a bundle"):
        models.resolve_model()


@pytest.mark.parametrize("model", [5, b"bundle", "a\0b", ""])
def test_models_that_are_no_paths(sound: Any, model: Any) -> None:
    with pytest.raises(BundleNotFoundError, match="is not a path"):
        classify(sound, labels=LABELS, model=model)
    with pytest.raises(BundleNotFoundError, match="is not a path"):
        claprt.load(model)


def test_the_default_says_that_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAPRT_BUNDLE", raising=False)
    monkeypatch.setattr("claprt.bundle.folder._said", set())
    monkeypatch.setattr(models, "_loaded", {})
    with pytest.warns(SmallModelWarning, match=r"mini, the small model .*`claprt-export 630k-audioset-best") as caught:
        classify(np.zeros(RATE), labels=LABELS)
    assert caught[0].filename == __file__
    assert claprt.load().manifest.name == "mini"  # said once


def test_the_small_one_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("claprt.bundle.folder._said", set())
    monkeypatch.chdir(tmp_path)
    assert claprt.load("mini").manifest.name == "mini"
    monkeypatch.setenv("CLAPRT_BUNDLE", "mini")
    assert claprt.load().manifest.name == "mini"


# the command


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name in ("tone", "drums"):
        soundfile.write(tmp_path / f"{name}.wav", SOUNDS[name](RATE, RATE), RATE)
    return [str(tmp_path / f"{name}.wav") for name in ("tone", "drums")]


def test_command(bundle: Path, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", *files, "--labels", "a tone,drums", "rain", "--top-k", "2", "--bundle", str(bundle)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line in files] == files
    assert len(printed) == 7
    assert all("%" in line and "cosine" in line for line in (printed[1], printed[2], printed[5], printed[6]))


def test_command_json(bundle: Path, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", *files, "--labels", "a tone,drums", "--json", "--bundle", str(bundle)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["source"] for row in rows] == files
    assert {row["label"] for row in rows[0]["classes"]} == {"a tone", "drums"}


def test_command_says_which_model(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAPRT_BUNDLE", raising=False)
    assert main(["classify", files[0], "--labels", "a sine tone,rain"]) == 0
    assert capsys.readouterr().err.count("mini, the small model") == 1


def test_command_goes_on_after_a_bad_file(
    bundle: Path, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    assert main(["classify", str(bad), files[0], "--labels", "a,b", "--json", "--bundle", str(bundle)]) == 1
    captured = capsys.readouterr()
    assert "bad.wav" in captured.err
    assert [json.loads(line)["source"] for line in captured.out.splitlines()] == files[:1]


def test_command_options_that_cannot_be(bundle: Path, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", files[0], "--labels", "a,b", "--top-k", "0", "--bundle", str(bundle)]) == 1
    assert "--top-k 0" in capsys.readouterr().err
    assert main(["classify", files[0], "--labels", "a,b", "--bundle", ""]) == 1
    assert "is not a path" in capsys.readouterr().err


def test_split_words() -> None:
    assert split_words(["dog, rain", "a siren", ","]) == ["dog", "rain", "a siren"]
    assert split_words([' ["rain, heavy", "dog"]', "[music]", "x"]) == ["rain, heavy", "dog", "[music]", "x"]
    for bad in ('["rain, heavy"', '["rain", 1]', '["rain"] dog'):
        with pytest.raises(OptionError, match="begins as a JSON list of strings, and is none"):
            split_words([bad])
