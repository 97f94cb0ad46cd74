"""Every rule of the lint of a Triton repository against a copy that breaks it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient (pip install 'claprt[triton]')")

from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision
from claprt.triton.repository.builder import Build, build
from claprt.triton.repository.lint import RepositoryError, check, read_config
from claprt.triton.repository.onnx_versions import onnx_versions
from tests import onnx_file


@pytest.fixture(scope="module")
def built(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Build(bundle=read_bundle(bundle)), tmp_path_factory.mktemp("built") / "repository")


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


MUTATIONS = {
    "another name": ("audio_tower/config.pbtxt", 'name: "audio_tower"', 'name: "tower"', "the folder 'audio_tower'"),
    "another output": ("audio_tower/configs/cpu.pbtxt", '"audio_embeddings"', '"embeddings"', "outputs are"),
    "another width": ("audio_tower/configs/python.pbtxt", "dims: [ 512 ]", "dims: [ 1024 ]", "1024"),
    "another mel": ("log_mel/config.pbtxt", "[ 1, 1001, 64 ]", "[ 1, 1001, 128 ]", "outputs are"),
    "fused products": ("log_mel/configs/cpu.pbtxt", "level: -1", "level: 1", "its level must be -1"),
    "another window": ("clap_audio/config.pbtxt", "480000", "320000", "the bundle 480000"),
    "another type": ("text_tower/config.pbtxt", "TYPE_INT64", "TYPE_INT32", "inputs are"),
    "no batch": ("audio_tower/configs/cpu.pbtxt", "max_batch_size: 64", "max_batch_size: 0", "max_batch_size must be"),
    "a GPU for the CPU": ("audio_tower/configs/cpu.pbtxt", "KIND_CPU", "KIND_GPU", "wants a GPU"),
    "no place to run": ("audio_tower/configs/cpu.pbtxt", "instance_group [ { kind: KIND_CPU count: 1 } ]", "", "no instance_group"),
    "an absolute path": ("audio_tower/config.pbtxt", '"tensorrt-cache-', '"/var/cache-', "the absolute path /var/cache"),
    "engines of another checkpoint": ("text_tower/config.pbtxt", '"tensorrt-cache-', '"tensorrt-cache-0', "those of another checkpoint"),
    "a cache for two answers": (
        "clap_classify/config.pbtxt", "version_policy", "response_cache { enable: true }\nversion_policy", "does not tell requests",
    ),
    "another profile": ("audio_tower/config.pbtxt", "log_mels:64x1x1001x64", "log_mels:32x1x1001x64", "largest log_mels"),
    "profile of another mel": ("audio_tower/config.pbtxt", "log_mels:1x1x1001x64", "log_mels:1x1x1001x80", "do not fit"),
    "profile of another input": ("audio_tower/config.pbtxt", "log_mels:1x1", "log_mel:1x1", "do not fit|does not take"),
    "profile of too few tokens": ("text_tower/config.pbtxt", "token_ids:256x77", "token_ids:256x64", "largest token_ids"),
    "a profile upside down": ("text_tower/config.pbtxt", "token_ids:128x16", "token_ids:128x2", "smaller than its smallest"),
    "a long wait": ("audio_tower/config.pbtxt", "max_queue_delay_microseconds: 300", "max_queue_delay_microseconds: 20000", "wait longer"),
    "a queue without end": (
        "audio_tower/config.pbtxt", "dynamic_batching {", "dynamic_batching { default_queue_policy { timeout_action: REJECT }", "does not reject",
    ),
    "a wait without end": (
        "tokenizer/config.pbtxt", "version_policy", "dynamic_batching { default_queue_policy { max_queue_size: 9 } }\nversion_policy", "does not reject",
    ),
    "warm-up of another shape": ("audio_tower/configs/cpu.pbtxt", "dims: 1001", "dims: 1000", "warm-up 'one' gives log_mels"),
    "warm-up of another input": ("audio_tower/configs/cpu.pbtxt", 'key: "log_mels"', 'key: "mels"', "warm-up 'one' gives"),
    "warm-up beyond the batch": ("audio_tower/config.pbtxt", "batch_size: 64\n  inputs", "batch_size: 65\n  inputs", "batch of 65"),
    "a step that is not there": ("clap_text/config.pbtxt", 'model_name: "tokenizer"', 'model_name: "tokeniser"', "is not a model of this"),
    "an input not wired": (
        "clap_text/config.pbtxt", '      input_map { key: "attention_mask" value: "attention_mask" }\n', "", "not given its input",
    ),
    "a wire to nowhere": ("clap_text/config.pbtxt", 'input_map { key: "token_ids"', 'input_map { key: "ids"', "has no input ids"),
    "a tensor from nowhere": ("clap_text/config.pbtxt", 'value: "token_ids" }\n      input', 'value: "ids" }\n      input', "no step before"),
    "an output of nobody": ("clap_text/config.pbtxt", 'output_map { key: "text_embeddings"', 'output_map { key: "e"', "has no output e"),
    "an output that is not made": ("clap_text/config.pbtxt", 'value: "text_embeddings"', 'value: "vectors"', "not what the steps make"),
    "an input nobody takes": ("clap_audio_file/config.pbtxt", '      input_map { key: "sample_rate" value: "sample_rate" }\n', "", "used by no step"),
    "steps of other dims": ("clap_audio/config.pbtxt", "max_batch_size: 64", "max_batch_size: 0", "other dims"),
    "more windows than the tower takes": ("decode/config.pbtxt", 'string_value: "64"', 'string_value: "65"', "max_windows is '65'"),
    "more texts than the tower takes": ("tokenizer/config.pbtxt", 'string_value: "256"', 'string_value: "many"', "max_texts is 'many'"),
    "an unknown backend": ("decode/config.pbtxt", 'backend: "python"', 'backend: "perl"', "backend 'perl'"),
    "no version policy": ("decode/config.pbtxt", "version_policy { latest { num_versions: 1 } }", "", "no version_policy"),
    "batches that are not made": ("audio_tower/configs/python.pbtxt", r"(?s)dynamic_batching \{.*?\n\}", "", "no dynamic_batching"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", list(MUTATIONS))
def test_every_disagreement_is_found(copy: Path, bundle: Path, mutation: str) -> None:
    file, old, new, finding = MUTATIONS[mutation]
    path = copy / file
    text = path.read_text(encoding="utf-8")
    changed = re.sub(old, lambda match: new, text) if old.startswith("(?s)") else text.replace(old, new)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    found = check(copy, read_bundle(bundle).manifest, Precision.FP32)
    assert any(re.search(finding, sentence) and sentence.startswith(file.split("/")[0]) for sentence in found), found


def changed(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_queues(bundle: Path, tmp_path: Path) -> None:
    """None has a limit unless one is asked for; then all have it, and no later step of an ensemble a smaller one."""
    found = read_bundle(bundle)
    without = build(Build(bundle=found), tmp_path / "without")
    assert not any("queue_policy" in path.read_text(encoding="utf-8") for path in without.rglob("*.pbtxt"))
    folder = build(Build(bundle=found, queue=64), tmp_path / "repository")
    for path in folder.rglob("*.pbtxt"):
        config = read_config(path)
        assert config.dynamic_batching.default_queue_policy.max_queue_size == (0 if config.platform == "ensemble" else 64)
    assert check(folder, found.manifest, Precision.FP32) == []
    changed(folder, "decode/config.pbtxt", "max_queue_size: 64", "max_queue_size: 512")
    for model in ("clap_audio_file", "clap_classify"):
        sentence = f"{model}/config.pbtxt: step audio_tower has a shorter queue, of 64, than a step before it, of 512"
        assert sentence in check(folder, found.manifest, Precision.FP32)


def test_steps_start_one_after_the_other(copy: Path, bundle: Path) -> None:
    """Triton hangs where one of two fails while the other is started."""
    changed(copy, "clap_classify/config.pbtxt", '      input_map { key: "after" value: "audio_embeddings" }\n', "")
    found = check(copy, read_bundle(bundle).manifest, Precision.FP32)
    assert any(
        sentence.startswith("clap_classify/config.pbtxt: steps decode, tokenizer start together") for sentence in found
    )


@pytest.mark.parametrize(
    ("ir_version", "opsets", "finding"),
    [
        (11, {"": 20}, "is of ONNX's file format 11, and servers read up to 10"),
        (10, {"": 23}, "has operators of ONNX 23, and servers know 2"),
        (10, {"": 20, "com.microsoft": 1, "example": 1}, "has operators of example 1, and servers know none"),
        (10, {"com.microsoft": 2}, "has operators of com.microsoft 2, and servers know 1"),
    ],
)
def test_a_graph_of_the_future(copy: Path, bundle: Path, ir_version: int, opsets: dict[str, int], finding: str) -> None:
    path = copy / "text_tower" / "1" / "model.onnx"
    path.unlink()  # a link to the bundle's own
    path.write_bytes(onnx_file.model(b"", ir_version=ir_version, opsets=opsets))
    assert onnx_versions(path) == (ir_version, opsets)
    found = check(copy, read_bundle(bundle).manifest, Precision.FP32)
    assert any(sentence.startswith(f"text_tower/1/model.onnx {finding}") for sentence in found), found


@pytest.mark.parametrize(
    "content", [b"", b"shorter", b"\x08", b"\x08\x0a", b"\x08\x0aB\x05\x10\x14", b"\x08\x0aB\x02\x10", b"\x08\x0a\xff"]
)
def test_what_is_no_graph(copy: Path, bundle: Path, content: bytes) -> None:
    path = copy / "log_mel" / "1" / "model.onnx"
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ONNX file|mmap an empty file"):
        onnx_versions(path)
    found = check(copy, read_bundle(bundle).manifest, Precision.FP32)
    assert any(sentence.startswith("log_mel/1/model.onnx cannot be read: ") for sentence in found), found


def test_missing_files_are_found(copy: Path, bundle: Path) -> None:
    manifest = read_bundle(bundle).manifest
    (copy / "audio_tower" / "1" / "model.onnx").unlink()
    (copy / "decode" / "1" / "model.py").unlink()
    shutil.rmtree(copy / "pool" / "1")
    (copy / "text_tower" / "1" / "model.onnx").unlink()
    (copy / "text_tower" / "1" / "model.onnx").write_bytes(b"shorter")
    found = check(copy, manifest, Precision.FP32)
    for finding in ("version 1 has no model.onnx", "version 1 has no model.py", "no version folder", "has 7 bytes"):
        assert any(finding in sentence for sentence in found), finding
    shutil.rmtree(copy / "log_mel")
    assert "log_mel: the repository has no such model" in check(copy, manifest, Precision.FP32)


def test_a_configuration_that_is_none(copy: Path, bundle: Path) -> None:
    (copy / "pool" / "config.pbtxt").write_text("name: pool {", encoding="utf-8")
    with pytest.raises(RepositoryError, match="pool/config.pbtxt is not a model configuration"):
        check(copy, read_bundle(bundle).manifest, Precision.FP32)
