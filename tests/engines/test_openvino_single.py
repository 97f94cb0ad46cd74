"""OpenVINO's form for one row: the same function, run where the manifest says that it was found right, and only there."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.engine_forms import SingleForm
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE
from claprt.engines.graph_cache import GraphCache
from claprt.engines.onnxruntime_session import Load
from claprt.errors import BundleCorruptError
from tests.engines.test_openvino import FORK, TOY_LIMIT
from tests.tiny import write_tiny_bundle

pytest.importorskip("openvino", reason="needs OpenVINO: the openvino extra")

import openvino

from claprt.engines import openvino_session, openvino_single
from claprt.engines.openvino_session import OpenVinoSession, openvino_name
from claprt.engines.openvino_single import to_single_form

MINI = Path(claprt.__file__).parent / "mini"
SOME = [make(60_000, 48_000) for make in SOUNDS.values()]


def with_form(folder: Path, **changes: Any) -> Path:
    """The bundle, changed to say that the form of its audio graph in fp32 was found right."""
    manifest = read_bundle(folder).manifest
    row = SingleForm(
        graph=Stage.AUDIO, precision=Precision.FP32, engine=openvino_name(), inputs=24,
        distance=0.0, distance_unchanged=0.0, distance_limit=1e-6,
        graph_sha256=manifest.graph(Stage.AUDIO, Precision.FP32).sha256, arithmetic="f32",
    )  # fmt: skip
    row = dataclasses.replace(row, **changes)
    (folder / MANIFEST_FILE).write_text(dataclasses.replace(manifest, single=(row,)).to_json(), encoding="utf-8")
    return folder


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """A toy bundle with a form."""
    return with_form(write_tiny_bundle(tmp_path / "single"))


def loading(folder: Path, *, single: bool) -> Load:
    found = read_bundle(folder)
    return Load(
        path=found.graph_path(Stage.AUDIO, Precision.FP32), facts=found.manifest.graph(Stage.AUDIO, Precision.FP32),
        threads=2, cache=None, single=single,
    )  # fmt: skip


def rows(count: int, views: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(-30, 15, (count, views, 1001, 64)).astype(np.float32)


def kept(cache: Path) -> list[str]:
    """What prepared graphs are kept as."""
    return sorted(path.name for path in (cache / "graphs").glob("*/*.blob"))


def test_the_function_of_the_graph() -> None:
    feeds = {"log_mels": rows(3)}
    changed, unchanged = (OpenVinoSession(loading(MINI, single=single), Precision.FP32) for single in (True, False))
    together = changed(feeds)
    assert np.abs(together - unchanged(feeds)).max() < 1e-6
    for row, vector in enumerate(together):
        assert np.array_equal(changed({"log_mels": feeds["log_mels"][row : row + 1]})[0], vector)


def test_what_is_changed() -> None:
    model = openvino.Core().read_model(MINI / "audio.fp32.onnx")
    to_single_form(model)
    assert list(model.inputs[0].shape) == [1, 1, 1001, 64]
    nodes = model.get_ordered_ops()
    attention = [node for node in nodes if node.get_type_name() == "Softmax"]
    assert len(attention) > 4
    assert {len(node.output(0).shape) for node in attention} == {4}


def test_a_matrix_with_few_neighbours_in_a_row() -> None:
    from openvino import opset13 as ops

    random = np.random.default_rng(1)
    near = np.zeros((7, 9), np.float32)
    for row, start in enumerate((0, 0, 1, 3, 5, 6, 6)):
        near[row, start : start + 3] = random.normal(size=3)
    for matrix, products in ((near, 0), (random.normal(size=(7, 9)).astype(np.float32), 1)):
        x = ops.parameter([-1, 9, 4], np.float32, name="x")
        build: Any = openvino.Model
        model = build([ops.matmul(ops.constant(matrix), x, False, False)], [x], "resize")
        to_single_form(model)
        assert [node.get_type_name() for node in model.get_ordered_ops()].count("MatMul") == products
        given = random.normal(size=(1, 9, 4)).astype(np.float32)
        found = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({0: given})[0]
        assert np.allclose(found, matrix @ given, atol=1e-6)


def test_it_is_run_where_the_manifest_lists_it(single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    plain, clap = claprt.load(single, provider="cpu"), claprt.load(single, provider="openvino")
    together = clap.embed_audio(SOME)
    assert kept(tmp_path / "cache") == ["single.blob"]
    assert clap.fingerprint == plain.fingerprint
    assert np.abs(together - plain.embed_audio(SOME)).max() < TOY_LIMIT
    assert np.array_equal(together, np.stack([clap.embed_audio(sound) for sound in SOME]))
    assert np.abs(clap.embed_text(["a dog"]) - plain.embed_text(["a dog"])).max() < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "openvino 2000.1.0"},
        {"engine": "onnxruntime 1.31.1"},
        {"graph_sha256": 64 * "0"},
        {"arithmetic": "bf16"},
        {"graph_sha256": None, "arithmetic": None},
        None,
    ],
)
def test_it_is_not_run_elsewhere(changes: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version, graph or arithmetic may come out wrong; and bundles of earlier releases list none."""
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    folder = write_tiny_bundle(tmp_path / "bundle")
    if changes is not None:
        with_form(folder, **changes)
    claprt.load(folder, provider="openvino").embed_audio(SOME[0])
    (name,) = kept(tmp_path / "cache")
    assert name != "single.blob"


def test_many_sounds(single: Path) -> None:
    clap = claprt.load(single, provider="openvino", threads=2)
    found = clap.embed_audio(SOME * 6)
    assert np.abs(found - np.tile(clap.embed_audio(SOME), (6, 1))).max() < 1e-5
    assert clap.engine.batch_engine().max_concurrency == 2


def test_a_fused_bundle(tmp_path: Path) -> None:
    folder, long = with_form(write_tiny_bundle(tmp_path / "fused", fused=True)), np.concatenate(SOME * 2)
    plain, other = claprt.load(folder, provider="cpu"), claprt.load(folder, provider="openvino")
    both = other.embed_audio([long, SOME[3]])
    assert np.abs(both - plain.embed_audio([long, SOME[3]])).max() < TOY_LIMIT
    assert np.array_equal(both, np.stack([other.embed_audio(long), other.embed_audio(SOME[3])]))


def test_a_second_load_takes_what_was_compiled(single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    expected = claprt.load(single, provider="openvino").embed_audio(SOME[4])
    (blob,) = (tmp_path / "cache" / "graphs").glob("*/single.blob")
    with monkeypatch.context() as patch:
        patch.setattr(openvino_session, "to_single_form", None)  # cannot be called
        assert np.array_equal(claprt.load(single, provider="openvino").embed_audio(SOME[4]), expected)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 0xFF
    blob.write_bytes(content)
    assert np.array_equal(claprt.load(single, provider="openvino").embed_audio(SOME[4]), expected)
    assert blob.read_bytes() != bytes(content)


def test_what_was_kept_goes_while_it_is_taken(single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process tidies: what is gone, or empty, is compiled anew."""
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    expected = claprt.load(single, provider="openvino").embed_audio(SOME[4])
    (blob,) = (tmp_path / "cache" / "graphs").glob("*/single.blob")
    found = GraphCache.entry
    for spoil in (blob.unlink, lambda: blob.write_bytes(b"")):

        def spoiled(cache: GraphCache, *arguments: Any, spoil: Any = spoil) -> Path | None:
            entry = found(cache, *arguments)
            if (entry or tmp_path) == blob.parent:
                spoil()
            return entry

        with monkeypatch.context() as patch:
            patch.setattr(GraphCache, "entry", spoiled)
            assert np.array_equal(claprt.load(single, provider="openvino").embed_audio(SOME[4]), expected)
        assert not blob.exists() or blob.read_bytes() == b""


def test_a_changed_form_has_another_key(single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    assert openvino_single.form_digest() == hashlib.sha256(Path(openvino_single.__file__).read_bytes()).hexdigest()
    for digest in ("one", "two", "two"):
        monkeypatch.setattr(openvino_session, "form_digest", lambda digest=digest: digest)
        claprt.load(single, provider="openvino").embed_audio(SOME[0])
    assert kept(tmp_path / "cache") == ["single.blob"] * 2


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_without_what_newer_versions_can(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Before 2025.3 only bytes were imported; what cannot be imported at all is compiled."""
    expected = claprt.load(single, provider="openvino").embed_audio(SOME[4])
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    given = list[type]()
    load = openvino.Core.import_model

    def refusing(core: Any, blob: Any, *others: Any) -> Any:
        given.append(type(blob))
        if error is RuntimeError or not isinstance(blob, bytes):
            raise error("no")
        return load(core, blob, *others)

    monkeypatch.setattr(openvino.Core, "import_model", refusing)
    for _ in range(2):
        assert np.array_equal(claprt.load(single, provider="openvino").embed_audio(SOME[4]), expected)
    assert given == ([openvino.Tensor, bytes] if error is TypeError else [openvino.Tensor]) * 2


def test_a_graph_that_does_not_fit(single: Path) -> None:
    load = loading(single, single=True)
    wider = tuple(dataclasses.replace(tensor, shape=("batch", 1, 1001, 128)) for tensor in load.facts.inputs)
    with pytest.raises(BundleCorruptError, match="the manifest states inputs"):
        OpenVinoSession(dataclasses.replace(load, facts=dataclasses.replace(load.facts, inputs=wider)), Precision.FP32)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_process_is_told(single: Path) -> None:
    """OpenVINO would wait for ever; a time-out is the failure."""
    assert subprocess.run([sys.executable, "-c", FORK, str(single)], timeout=60, check=False).returncode == 0
