"""Tokenizers of strangers: what may cost more than its text is not loaded, and what fails all the same is said in words."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tokenizers

import claprt
from claprt.bundle.manifest import TextConfig
from claprt.errors import BundleCorruptError
from claprt.text.tokenizer import Tokenizer
from claprt.text.tokenizer_file import check_tokenizer_file

FACTS = TextConfig(architecture="toy", vocabulary=261)


@pytest.fixture
def content(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "tokenizer.json").read_bytes())


def table(*texts: bytes) -> str:
    """A table of replacements as sentencepiece writes it, with an empty trie."""
    return base64.b64encode(bytes(4) + b"".join(text + b"\0" for text in texts)).decode()


GROWING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}
REGEX = {"type": "Replace", "pattern": {"Regex": "(a|a)*$"}, "content": ""}


@pytest.mark.parametrize(
    ("section", "part", "words"),
    [
        ("normalizer", REGEX, "replaces by a regular expression"),
        ("normalizer", {**GROWING, "content": "a" * 1000}, "or by a long text"),
        ("normalizer", {**GROWING, "pattern": {"String": ""}}, "replaces by"),
        ("normalizer", {"type": "Sequence", "normalizers": [GROWING] * 30}, "more than four parts"),
        (
            "normalizer",
            {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [GROWING]}]},
            "or of sequences",
        ),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}, REGEX]}, "replaces by a regular"),
        ("normalizer", {"type": "Prepend", "prepend": "a" * 1000}, "is or has 'Prepend'"),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": table(b"a" * 1000)}, "more than 256 bytes of one"),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "%"}, "cannot be read"),
        (
            "pre_tokenizer",
            {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Removed", "invert": False},
            "is or has 'Split'",
        ),
        ("pre_tokenizer", {"type": ["ByteLevel"]}, "is or has"),
        ("decoder", {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}, "is or has 'Replace'"),
        ("post_processor", {"type": "TemplateProcessing", "single": [{}] * 100, "pair": []}, "more than 64 tokens"),
        (
            "post_processor",
            {
                "type": "TemplateProcessing",
                "single": [],
                "special_tokens": {"x": {"id": "x", "ids": [1] * 9, "tokens": []}},
            },
            "or several in one place",
        ),
        ("post_processor", {"type": "TemplateProcessing", "single": 5}, "is not a tokenizer"),
        ("model", {"type": "Script"}, "is or has 'Script'"),
        ("model", {"type": "BPE", "dropout": 0.5, "vocab": {}, "merges": []}, "at random"),
        ("model", [1], "Expected `object`"),
    ],
)
def test_parts_that_are_not_run(content: dict[str, Any], tmp_path: Path, section: str, part: Any, words: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**content, section: part}))
    with pytest.raises(BundleCorruptError, match=words):
        Tokenizer(path, FACTS)


@pytest.mark.parametrize(
    ("section", "part"),
    [
        ("normalizer", {"type": "NFKC"}),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}),
        (
            "normalizer",
            {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Precompiled", "precompiled_charsmap": table(b"a", b"\xe2\x96\x81")},
                    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"},
                ],
            },
        ),
        ("pre_tokenizer", {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}),
        ("decoder", None),
    ],
)
def test_parts_that_are_run(content: dict[str, Any], section: str, part: Any) -> None:
    """Of RoBERTa, of XLM-RoBERTa, and of files that do not name their model yet."""
    check_tokenizer_file(json.dumps({**content, section: part}).encode())
    older = {**content, section: part, "model": {k: v for k, v in content["model"].items() if k != "type"}}
    check_tokenizer_file(json.dumps(older).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"model": ' * 100_000, b"{}", b'{"model": {}}'])
def test_files_that_are_no_tokenizer(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(text)
    with pytest.raises(BundleCorruptError, match="is not a tokenizer"):
        Tokenizer(path, FACTS)


class Panic(BaseException):
    """As pyo3 hands on a panic of Rust code."""


def test_a_panic_is_said_in_words(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object) -> None:
        raise Panic("called `Option::unwrap()` on a `None` value")

    tokenizer = Tokenizer(bundle / "tokenizer.json", FACTS)
    tokenizer._tokenizer = SimpleNamespace(encode_batch=panic)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    with pytest.raises(BundleCorruptError, match="fails on a text: called"):
        tokenizer.encode(["a dog"])
    monkeypatch.setattr(tokenizers, "Tokenizer", SimpleNamespace(from_buffer=panic))
    with pytest.raises(BundleCorruptError, match="is not a tokenizer: called"):
        Tokenizer(bundle / "tokenizer.json", FACTS)


def test_a_panic_of_the_library_itself(content: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A table that leads nowhere; the library writes of it to stderr, which cannot be helped."""
    content |= {"normalizer": {"type": "Precompiled", "precompiled_charsmap": table(b"a")}}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BundleCorruptError, match=r"fails on a text: .* Export the bundle again"):
        Tokenizer(path, FACTS).encode(["a dog"])
    assert "panicked" in capfd.readouterr().err


def test_an_interrupt_is_none_of_that(bundle: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    tokenizer = Tokenizer(bundle / "tokenizer.json", FACTS)
    tokenizer._tokenizer = SimpleNamespace(encode_batch=interrupt)  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode(["a dog"])


def test_ids_that_the_tower_does_not_embed(content: dict[str, Any], tmp_path: Path) -> None:
    """There may be few entries with large numbers."""
    vocabulary = content["model"]["vocab"]
    letter = "d"
    vocabulary[letter] = 4_000_000_000
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    tokenizer = Tokenizer(path, FACTS)
    with pytest.raises(BundleCorruptError, match=r"up to number 4000000000; the text tower takes 1 to 77, of 261"):
        tokenizer.encode(["a dog"])
    assert tokenizer.encode(["a cat"])


def test_no_tokens(content: dict[str, Any], tmp_path: Path) -> None:
    content |= {"post_processor": None, "normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": ""}}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BundleCorruptError, match="makes 0 tokens of a text"):
        Tokenizer(path, FACTS).encode(["a"])


def test_a_tokenizer_that_is_changed_after_the_bundle_was_loaded(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    clap, trusting = claprt.load(copy), claprt.load(copy, verify=False)
    path = copy / "tokenizer.json"
    path.write_text(path.read_text().replace('"normalizer": null', '"normalizer": {"type": "Lowercase"}'))
    with pytest.raises(BundleCorruptError, match="changed since the bundle was loaded"):
        clap.embed_text("A dog")
    assert trusting.embed_text("A dog").shape == (512,)
    path.unlink()
    with pytest.raises(BundleCorruptError, match="cannot be read"):
        Tokenizer(path, FACTS)
