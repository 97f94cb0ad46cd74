"""Words that a model was trained on, and what is said where a question has none of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import claprt
from claprt.cli import main
from claprt.scoring.vocabulary import stems, unknown_labels, warning

SOUND = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)


@pytest.fixture(scope="module")
def mini() -> claprt.Clap:
    return claprt.load("mini")


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("a dog barking", {"dog", "bark"}),
        ("DOGS!", {"dog"}),
        ("the sound of it", set[str]()),
        ("running water", {"run", "water"}),
        ("8 clocks", {"clock"}),
        ("雨", {"雨"}),
    ],
)
def test_stems(label: str, found: set[str]) -> None:
    assert stems(label) == found


@pytest.mark.parametrize("label", ["a dog barking", "rain on a roof", "sirens", "white noise", "A Baby Cries", "piano"])
def test_what_mini_knows(mini: claprt.Clap, label: str) -> None:
    assert unknown_labels([label], mini.manifest.source.trained_words) == []


@pytest.mark.parametrize("label", ["speech", "a man speaking", "politics", "Hund", "雨", "applause"])
def test_what_mini_does_not_know(mini: claprt.Clap, label: str) -> None:
    assert unknown_labels([label], mini.manifest.source.trained_words) == [label]


def test_the_answer_says_so(mini: claprt.Clap) -> None:
    for words, warned in ((["speech", "politics"], True), (["speech", "rain"], False)):
        for result in (
            claprt.classify(SOUND, labels=words, model=mini, sample_rate=48_000),
            claprt.tag(SOUND, tags=words, model=mini, sample_rate=48_000),
        ):
            assert (result.warning is not None) is warned
            assert ("warning" in result.to_dict()) is warned
            assert not warned or re.search("None of these words .* mini was trained on", str(result.warning))


def test_other_bundles_say_nothing(clap: claprt.Clap) -> None:
    assert clap.manifest.source.trained_words == ""
    assert warning(clap.manifest, ["anything"]) is None


def test_the_list_is_the_exporter_s(mini: claprt.Clap) -> None:
    file = Path(__file__).parents[2] / "export" / "claprt_export" / "mini" / "weights" / "trained_words.txt"
    if not file.is_file():
        pytest.skip("needs the repository")
    assert mini.manifest.source.trained_words.split() == file.read_text(encoding="utf-8").split()


def test_the_command_line_says_so_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = claprt.sample_path("dog")
    assert main(["classify", file, file, "--bundle", "mini", "--labels", "speech", "politics"]) == 0
    assert capsys.readouterr().err.count("None of these words") == 1
    assert main(["tag", file, "--bundle", "mini", "--tags", "speech", "rain"]) == 0
    assert "None of these words" not in capsys.readouterr().err
