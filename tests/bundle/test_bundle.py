"""Bundles: read whole, written as read, and refused when anything is amiss."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import claprt
from claprt.bundle.digests import sha256_of
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE, parse_manifest
from claprt.bundle.onnx_file import check_self_contained
from claprt.errors import BundleCorruptError, BundleNotFoundError, BundleVersionError, OptionError
from tests.onnx_file import IN_ANOTHER_FILE, field


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def altered(copy: Path, change: Any) -> Path:
    """Changes the manifest of a copy."""
    path = copy / MANIFEST_FILE
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    return copy


def test_round_trip(bundle: Path) -> None:
    manifest = read_bundle(bundle).manifest
    assert parse_manifest(manifest.to_json().encode(), Path("x")) == manifest
    assert manifest.to_json() == (bundle / MANIFEST_FILE).read_text()


def test_facts(bundle: Path, fused_bundle: Path) -> None:
    manifest = read_bundle(bundle).manifest
    assert manifest.audio.frames == 1001
    assert manifest.audio.window_s == 10
    assert (manifest.audio.views, read_bundle(fused_bundle).manifest.audio.views) == (1, 4)
    assert manifest.graph(Stage.AUDIO, Precision.FP32).inputs[0].shape == ("batch", 1, 1001, 64)
    assert manifest.graph(Stage.LOG_MEL, Precision.INT8).file == "log_mel.onnx"
    assert set(manifest.listed_files()) == {"log_mel.onnx", "audio.fp32.onnx", "text.fp32.onnx", "tokenizer.json"}


def test_no_bundle(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "no such folder"), (tmp_path, "no manifest.json")):
        with pytest.raises(BundleNotFoundError, match=words):
            read_bundle(path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileNotFoundError, match="a file was found"):
        claprt.load(file)


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3_000])
def test_a_name_too_long_for_a_bundle(name: str) -> None:
    with pytest.raises(BundleNotFoundError, match="cannot be read: File name too long"):
        read_bundle(name)


@pytest.mark.parametrize("method", ["is_file", "read_bytes", "stat"])
def test_a_refused_permission(copy: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder that may not be entered, a manifest that may not be read, and a file that may not be looked at."""

    def refuse(self: Path, *_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(BundleNotFoundError, match=r"cannot be read: Permission denied\."):
        read_bundle(copy)


def test_a_file_that_cannot_be_verified(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_bundle(bundle)

    def fail(self: Path, *_: Any, **__: Any) -> Any:
        raise OSError(5, "Input/output error", str(self))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(BundleNotFoundError, match=r"cannot be read: Input/output error\."):
        found.verify()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered(copy: Path) -> None:
    copy.chmod(0)
    try:
        with pytest.raises(BundleNotFoundError, match="Permission denied"):
            read_bundle(copy)
    finally:
        copy.chmod(0o755)


@pytest.mark.parametrize("name", ["log_mel.onnx", "audio.fp32.onnx", "text.fp32.onnx", "tokenizer.json"])
def test_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleNotFoundError, match=name):
        claprt.load(copy)


@pytest.mark.parametrize("name", ["log_mel.onnx", "audio.fp32.onnx", "text.fp32.onnx", "tokenizer.json"])
def test_altered_file(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleCorruptError, match=f"{name} is not the file that was exported"):
        claprt.load(copy)
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(BundleCorruptError, match="bytes, the manifest says"):
        claprt.load(copy)


def test_verification_can_be_left_out(copy: Path) -> None:
    content = bytearray((copy / "text.fp32.onnx").read_bytes())
    content[-200] ^= 1
    (copy / "text.fp32.onnx").write_bytes(content)
    assert claprt.load(copy, verify=False).dim == 512


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_other_schema(copy: Path, schema: Any) -> None:
    with pytest.raises(BundleVersionError, match="Export the checkpoint again"):
        read_bundle(altered(copy, lambda facts: facts.update(schema=schema)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts.pop("audio"), "audio"),
        (lambda facts: facts["audio"].update(window_samples="ten"), "window_samples"),
        (lambda facts: facts["audio"]["mel"].update(f_min=20_000), "mel range"),
        (lambda facts: facts["audio"]["mel"].update(scale="bark"), "scale"),
        (lambda facts: facts["graphs"].pop("text"), "no fp32 graph for text"),
        (lambda facts: facts["graphs"]["audio"].update(fp4=facts["graphs"]["audio"]["fp32"]), "fp4"),
        (lambda facts: facts.update(files={}), "tokenizer.json is not listed"),
        (lambda facts: facts["graphs"]["text"]["fp32"].update(file="../../etc/passwd"), "not a plain name"),
        (lambda facts: facts["audio"]["mel"].update(n_fft=0), "must be positive"),
        (lambda facts: facts["audio"]["mel"].update(n_fft=2), "must be positive"),
        (lambda facts: facts["audio"]["mel"].update(n_fft=10**12), "shorter than the transform"),
        (lambda facts: facts["audio"]["mel"].update(n_fft=10**30), "shorter than the transform"),
        (lambda facts: facts["audio"]["mel"].update(hop=0), "must be positive"),
        (lambda facts: facts["audio"]["mel"].update(mels=-1), "must be positive"),
        (lambda facts: facts["audio"]["mel"].update(floor=0.0), "floor a small power"),
        (lambda facts: facts["audio"]["mel"].update(floor=1e300), "floor a small power"),
        (lambda facts: facts["audio"]["mel"].update(f_min=-1), "mel range"),
        (lambda facts: facts["audio"].update(window_samples=1024), "window of 1024 samples is shorter"),
        (lambda facts: facts["audio"].update(window_samples=-1), "window of -1 samples is shorter"),
        (lambda facts: facts["text"].update(max_tokens=2), "max_tokens must be at least 3"),
        (lambda facts: facts["text"].update(pad_token_id=-1), "pad_token_id one of the vocabulary"),
        (lambda facts: facts["text"].update(pad_token_id=facts["text"]["vocabulary"]), "pad_token_id"),
        (lambda facts: facts.update(embedding_dim=256), r"audio.fp32.onnx does not give vectors of 256"),
        (
            lambda facts: facts["graphs"]["text"]["fp32"]["outputs"][0].update(shape=["batch", 5, 512]),
            r"text.fp32.onnx does not give vectors of 512",
        ),
        (lambda facts: facts["graphs"]["audio"]["fp32"].update(outputs=[]), r"audio.fp32.onnx does not give vectors"),
    ],
)
def test_invalid_manifest(copy: Path, change: Any, words: str) -> None:
    with pytest.raises(BundleCorruptError, match=words):
        read_bundle(altered(copy, change))


def _layer(facts: Any) -> Any:
    return facts["graphs"]["audio"]["fp32"]["inputs"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts["audio"]["mel"].update(mels=10**9), "mels must be 1 to 1024, and is 1e"),
        (lambda facts: facts["audio"]["mel"].update(mels=10**40), "mels must be 1 to 1024"),
        (lambda facts: facts["audio"]["mel"].update(hop=-(10**400)), "must be positive"),
        (lambda facts: facts["audio"]["mel"].update(hop=10**400), "hop must be 1 to 32768, and is far beyond"),
        (lambda facts: facts["audio"]["mel"].update(sample_rate=10**400), "too large for a float"),
        (lambda facts: facts["audio"].update(window_samples=10**12), "window_samples must be 1 to"),
        (lambda facts: facts["audio"]["mel"].update(sample_rate=10**9), "sample_rate must be 1 to 768000"),
        (lambda facts: facts["audio"]["mel"].update(n_fft=400_000), "n_fft must be 4 to"),
        (lambda facts: facts["audio"]["mel"].update(hop=10**9), "hop must be 1 to"),
        (lambda facts: facts["audio"]["mel"].update(hop=1), "larger than any that this release computes"),
        (lambda facts: facts["audio"]["mel"].update(hop=10, mels=1024, n_fft=32_768), "larger than any"),
        (lambda facts: facts["text"].update(max_tokens=10**9), "max_tokens must be 3 to"),
        (lambda facts: facts["text"].update(vocabulary=10**12), "vocabulary must be 1 to"),
        (lambda facts: facts.update(embedding_dim=10**9), "embedding_dim must be 1 to"),
        (lambda facts: facts.update(embedding_dim=0), "embedding_dim must be 1 to"),
        (lambda facts: facts.update(logit_scale_a=1e300), "logit_scale_a must be"),
        (lambda facts: facts.update(logit_scale_t=-1), "logit_scale_t must be"),
        (lambda facts: facts.update(opset=10**9), "opset must be"),
        (lambda facts: _layer(facts).update(shape=["batch", 1, 10**12, 64]), "a length of log_mels in audio.fp32.onnx"),
        (lambda facts: _layer(facts).update(shape=["batch", 1, -1, 64]), "a length of log_mels in audio.fp32.onnx"),
        (lambda facts: _layer(facts).update(shape=["batch", 1, 10**400, 64]), "a length of log_mels in audio.fp32.onnx"),
        (lambda facts: _layer(facts).update(dtype="int64int64"), "log_mels in audio.fp32.onnx has the dtype 'int64int64'"),
        (lambda facts: _layer(facts).update(dtype="V2000000000"), "log_mels in audio.fp32.onnx has the dtype"),
    ],
)
def test_numbers_beyond_every_checkpoint(copy: Path, change: Any, words: str) -> None:
    """Refused before anything is made in that size."""
    altered(copy, change)
    tracemalloc.start()
    try:
        with pytest.raises(BundleCorruptError, match=words):
            claprt.load(copy, verify=False)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.update(name="good\x1b[2J\x1b]0;title\x07"),
        lambda facts: facts.update(name="a\r\nb"),
        lambda facts: facts.update(name="a\x9b31mb"),
        lambda facts: facts.update(name="a\u202egnp.exe"),
        lambda facts: facts["source"].update(licence="MIT\x00"),
        lambda facts: facts["tools"].update({"torch\x1b[0m": "1"}),
        lambda facts: facts["audio"].update(fill="\x1b[2J"),
        lambda facts: facts["audio"].update({"\x1b[2J": 1}),
    ],
)
def test_control_characters(copy: Path, change: Any) -> None:
    """Nothing of a manifest moves the cursor of whoever prints it, not even in the message that refuses it."""
    with pytest.raises(BundleCorruptError, match="holds control characters") as caught:
        read_bundle(altered(copy, change))
    assert str(caught.value).isprintable()


def test_names_that_print_otherwise_are_written_as_escapes(bundle: Path) -> None:
    manifest = dataclasses.replace(read_bundle(bundle).manifest, name="caf\xe9 \u97f3 \x1b[2J\n\udc80")
    again = parse_manifest(manifest.to_json().encode(), Path("x"))
    assert again.name == "caf\xe9 \u97f3 \\x1b[2J\\n\\udc80"


def test_a_manifest_of_gigabytes(copy: Path) -> None:
    with (copy / MANIFEST_FILE).open("r+b") as file:
        file.truncate(10**10)
    with pytest.raises(BundleCorruptError, match="has 10000000000 bytes, and a manifest has"):
        read_bundle(copy)
    with pytest.raises(BundleCorruptError, match="bytes, and a manifest has"):
        parse_manifest(b" " * 5_000_000, Path("x"))


def added_to(copy: Path, more: bytes) -> Path:
    """A copy whose audio graph has more in it, which its manifest states."""
    path = copy / "audio.fp32.onnx"
    path.write_bytes(path.read_bytes() + more)
    facts = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    return altered(copy, lambda manifest: manifest["graphs"]["audio"]["fp32"].update(facts))


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("place", list(IN_ANOTHER_FILE))
def test_weights_in_another_file(
    copy: Path, place: str, remembered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would compare them with what was exported, whatever the manifest says of the graph."""
    (copy / "weights.bin").write_bytes(bytes(10_000_000))
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache") if remembered else "off")
    added_to(copy, IN_ANOTHER_FILE[place])
    for _ in range(2):
        with pytest.raises(
            BundleCorruptError, match="audio.fp32.onnx is not a graph that is loaded here: it keeps weights in"
        ):
            claprt.load(copy)


@pytest.mark.parametrize("seed", range(4))
def test_files_that_are_no_graph(bundle: Path, tmp_path: Path, seed: int) -> None:
    """A sentence or nothing, and soon: what protobuf makes of it is then onnxruntime's to say."""
    content, rolls = (bundle / "text.fp32.onnx").read_bytes(), random.Random(seed)
    path = tmp_path / "graph.onnx"
    for number in range(100):
        harmed = bytearray(content[: rolls.randrange(1, 5_000)] if number % 2 else content)
        for _ in range(rolls.choice([1, 5, 50])):
            harmed[rolls.randrange(min(len(harmed), 100_000))] = rolls.randrange(256)
        path.write_bytes(harmed)
        with contextlib.suppress(ValueError):
            check_self_contained(path)


@pytest.mark.seconds
def test_graphs_that_are_made_to_be_walked_for_long(tmp_path: Path) -> None:
    nested = b""
    for _ in range(1000):
        nested = field(1, field(5, field(6, nested)))  # a graph in an attribute of a node of a graph
    for content, words in (
        (b"", "empty"), (field(7, nested), "graphs within graphs"), (field(7, b"\x0a\x00" * 1_100_000), "more than"),
        (b"\xff" * 20, "no end"), (b"\x3a\xff\xff\xff\xff\x7f", "beyond its end"),
        (b"\x3b", "unknown kind"), (b"\x3a", "breaks off"),
    ):  # fmt: skip
        path = tmp_path / "graph.onnx"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            check_self_contained(path)


NO_MANIFEST = {
    "empty": b"",
    "text": b"not json",
    "a list": b"[1, 2]",
    "cut": b'{"schema": 1',
    "a surrogate": "\udc80".encode("utf-8", "surrogatepass"),
    "Latin-1": b'{"schema": 1, "name": "caf\xe9"}',
    "UTF-16": '{"schema": 1}'.encode("utf-16"),
    "deep lists": b'{"schema": ' + b"[" * 100_000,
    "deep objects": b'{"schema": 1, "x": ' + b'{"x": ' * 100_000 + b"1" + b"}" * 100_001,
}


@pytest.mark.parametrize("name", list(NO_MANIFEST))
def test_manifest_that_is_none(copy: Path, name: str) -> None:
    (copy / MANIFEST_FILE).write_bytes(NO_MANIFEST[name])
    with pytest.raises(BundleCorruptError, match="is not a manifest"):
        read_bundle(copy)


def test_graphs_that_are_swapped(copy: Path) -> None:
    """Hashes that fit are not enough: a graph must have the interface that the manifest states."""

    def swap(facts: Any) -> None:
        graphs = facts["graphs"]
        for key in ("file", "sha256", "bytes"):
            audio, text = graphs["audio"]["fp32"], graphs["text"]["fp32"]
            audio[key], text[key] = text[key], audio[key]

    with pytest.raises(BundleCorruptError, match="the graph has"):
        claprt.load(altered(copy, swap))


def test_graph_that_is_none(copy: Path) -> None:
    (copy / "audio.fp32.onnx").write_bytes(b"no graph")
    size = {"bytes": 8}
    altered(copy, lambda facts: facts["graphs"]["audio"]["fp32"].update(size))
    with pytest.raises(BundleCorruptError, match="cannot be loaded"):
        claprt.load(copy, verify=False)


def test_a_graph_whose_names_cannot_be_printed(copy: Path) -> None:
    """onnxruntime quotes them; the sentence shows them as escapes."""
    graph = copy / "audio.fp32.onnx"
    content = graph.read_bytes()
    assert b"MatMul" in content
    graph.write_bytes(content.replace(b"MatMul", b"Mat\x1b\x07l"))
    with pytest.raises(BundleCorruptError, match="cannot be loaded") as refused:
        claprt.load(copy, verify=False)
    assert r"Mat\x1b\x07l" in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("precision", ["int8", "fp16", "bf16"])
def test_precision_that_is_not_there(bundle: Path, precision: str) -> None:
    with pytest.raises(OptionError, match=f"holds fp32 .* --precision fp32,{precision}|--precision {precision},fp32"):
        claprt.load(bundle, precision=precision)
