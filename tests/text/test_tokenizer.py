"""Tokens: what goes in, what is refused, and how batches are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.manifest import TextConfig
from claprt.errors import BundleCorruptError, TextError, TextTypeError
from claprt.text.tokenizer import Pace, Tokenizer, batches_by_length, pad

SOUND = SOUNDS["rain"](48_000, 48_000)


@pytest.fixture(scope="module")
def tokenizer(bundle: Path) -> Tokenizer:
    return Tokenizer(bundle / "tokenizer.json", TextConfig(architecture="toy", vocabulary=261))


def test_begin_and_end_marks(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(["ab"])[0]
    assert ids[0] == 0
    assert ids[-1] == 2
    assert len(ids) == 4


@pytest.mark.parametrize("length", [1, 74, 75, 76, 500])
def test_truncation_keeps_the_end_mark(tokenizer: Tokenizer, length: int) -> None:
    ids = tokenizer.encode(["a" * length])[0]
    assert len(ids) == min(length + 2, 77)
    assert ids[-1] == 2


@settings(max_examples=50)
@given(text=st.text(min_size=1).filter(lambda text: text.strip() and text.isprintable()))
@pytest.mark.seconds
def test_any_text_is_one_vector(clap: claprt.Clap, text: str) -> None:
    assert clap.embed_text(text).shape == (512,)


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_empty_text(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(TextError, match="at least one word"):
        tokenizer.encode(["fine", text])


def test_lone_surrogate(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextError, match="UTF-8"):
        tokenizer.encode(["bad \udc80 text"])


@pytest.mark.parametrize("text", [None, 3, b"bytes", ["nested"], float("nan")])
def test_not_a_string(clap: claprt.Clap, text: Any) -> None:
    with pytest.raises(TextTypeError, match="A text is a string; got"):
        clap.embed_text([text])
    with pytest.raises(TypeError):
        clap.embed_text(["fine", text])


def test_bytes_are_named_as_such(clap: claprt.Clap) -> None:
    bytes_of_any_kind: list[Any] = [b"dog", bytearray(b"dog"), [b"dog"], ["fine", b"dog"]]
    for texts in bytes_of_any_kind:
        for take in (clap.embed_text, clap.embed_labels):
            with pytest.raises(TextTypeError, match=r"got byte.*b'dog'.*Decode it first: text.decode"):
                take(texts)
    with pytest.raises(TextTypeError, match=r"bytes was found \(b'dog'\).*label.decode"):
        claprt.classify("a.wav", labels=["cat", b"dog"], model=clap)  # type: ignore[list-item]


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan")])
def test_missing_texts_are_named_as_such(clap: claprt.Clap, missing: Any) -> None:
    with pytest.raises(TextTypeError, match="Leave missing values out"):
        clap.embed_text(["fine", missing])


def test_texts_in_any_collection(clap: claprt.Clap) -> None:
    words = ["a dog", "rain"]
    rows = clap.embed_text(words)
    for kind in (tuple(words), np.array(words), np.array(words, object), dict.fromkeys(words), dict.fromkeys(words).keys()):
        for take in (clap.embed_text, clap.embed_labels):
            assert np.allclose(take(kind), rows, atol=1e-6)
    assert np.allclose(clap.embed_labels(word for word in words), rows, atol=1e-6)
    assert clap.embed_text({"a dog"}).shape == (1, 512)
    assert clap.embed_text(np.str_("a dog")).shape == clap.embed_text(np.array("a dog")).shape == (512,)  # type: ignore[arg-type]
    assert clap.embed_labels("a dog").shape == (1, 512)  # and not one row a letter
    for labels in (words, np.array(words), (word for word in words)):
        found = claprt.classify(SOUND, labels=labels, model=clap, sample_rate=48_000)  # type: ignore[arg-type]
        assert found.class_names == ("a dog", "rain")
        assert {type(name) for name in found.class_names} == {str}


@pytest.mark.parametrize("texts", [None, 3, 1.5])
def test_not_texts_at_all(clap: claprt.Clap, texts: Any) -> None:
    with pytest.raises(TextTypeError):
        clap.embed_text(texts)


def test_tokenizer_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(BundleCorruptError, match="not a tokenizer"):
        Tokenizer(path, TextConfig(architecture="toy"))


def test_tokenizer_of_another_tower(bundle: Path) -> None:
    with pytest.raises(BundleCorruptError, match="261 entries and the text tower embeds 100"):
        Tokenizer(bundle / "tokenizer.json", TextConfig(architecture="toy", vocabulary=100))


@given(lengths=st.lists(st.integers(1, 77), max_size=50), size=st.integers(1, 9))
def test_batches_by_length(lengths: list[int], size: int) -> None:
    ids = [[5] * length for length in lengths]
    batches = list(batches_by_length(ids, size))
    assert sorted(position for batch in batches for position in batch) == list(range(len(ids)))
    assert all(1 <= len(batch) <= size for batch in batches)
    longest = [max(lengths[position] for position in batch) for batch in batches]
    assert longest == sorted(longest)


def test_pad() -> None:
    token_ids, mask = pad([[0, 2], [0, 7, 8, 2]], 1)
    assert token_ids.tolist() == [[0, 2, 1, 1], [0, 7, 8, 2]]
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert token_ids.dtype == mask.dtype == "int64"


def test_sizes_of_batches_that_take_a_given_time() -> None:
    pace = Pace(0.02)
    assert pace.size(77) == 1  # nothing is known yet
    pace.took(100, 0.01)  # 10 000 tokens a second, 200 in 20 ms
    assert [pace.size(tokens) for tokens in (10, 50, 77, 500, 1)] == [20, 4, 2, 1, 32]
