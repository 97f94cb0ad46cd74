"""Labels and sentences of published evaluations."""

from __future__ import annotations

import pytest

from claprt.errors import OptionError
from claprt.evaluation.published import PUBLISHED, find_published


def test_every_row_is_a_set_of_labels_with_a_sentence() -> None:
    counts = {name: len(row.labels) for name, row in PUBLISHED.items()}
    assert counts == {
        "laion-esc50": 50, "laion-urbansound8k": 10, "laion-gtzan": 10, "msclap-esc50": 50, "mteb-esc50": 50,
        "mteb-urbansound8k": 10, "mteb-ravdess": 8,
    }  # fmt: skip
    for row in PUBLISHED.values():
        assert len(set(row.labels)) == len(row.labels)
        assert not any("_" in label for label in row.labels)
        assert row.template.count("{}") == 1


def test_sentences_word_for_word() -> None:
    first = {name: row.sentences(row.labels)[0] for name, row in PUBLISHED.items()}
    assert first == {
        "laion-esc50": "This is a sound of dog",
        "laion-urbansound8k": "This is a sound of air conditioner.",
        "laion-gtzan": "This audio is a blues song.",
        "msclap-esc50": "this is the sound of dog",
        "mteb-esc50": "This is a sound of dog",
        "mteb-urbansound8k": "This is a sound of air conditioner",
        "mteb-ravdess": "this person is feeling neutral",
    }
    assert find_published("mteb-esc50").sentences(["sea waves"]) == ["This is a sound of sea_waves"]


def test_names_that_are_not_known() -> None:
    with pytest.raises(OptionError, match="published='esc50' is not known; choose one of laion-esc50"):
        find_published("esc50")
