"""Lowered precisions: what is lowered, that it stays the same function, and a quality gate that can refuse."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import claprt
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.providers import Provider, unavailable_reason
from claprt.errors import ProviderUnavailableError
from claprt.evaluation.dataset import Dataset, Item
from claprt_export.errors import PrecisionError
from claprt_export.graphs.onnx_metadata import OPSET
from claprt_export.pipeline import export_bundle
from claprt_export.precision import lower, quality_gate
from claprt_export.precision.fp16 import half_graph
from claprt_export.precision.int8 import Quantiser
from claprt_export.precision.quality_gate import centred_cosines
from tests.export.conftest import few_sounds

CONTRACT = {"log_mels", "audio_embeddings", "token_ids", "attention_mask", "text_embeddings"}


def run(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def block(*, loud: float = 1.0, shared: bool = False) -> onnx.ModelProto:
    """Two normalisations that each feed a linear layer; `loud` channels are undone by the weights that take them.

    With `shared`, both normalisations have one constant for their scales, as a tracer makes of equal ones.
    """
    random = np.random.default_rng(3)
    factor = np.ones(128, np.float32)
    factor[[5, 70]] = loud
    weights = {f"w{n}": (random.normal(0, 0.1, (128, 128)) / factor[:, None]).astype(np.float32) for n in (0, 1)}
    constants = {**weights, "b0": random.normal(0, 0.1, 128).astype(np.float32), "b1": np.zeros(128, np.float32)}
    names = ("s0", "s0") if shared else ("s0", "s1")
    shifts = ("z0", "z0") if shared else ("z0", "z1")
    for name in {*names}:
        constants[name] = factor.copy()
    for name in {*shifts}:
        constants[name] = np.zeros(128, np.float32)
    nodes = []
    taken = "x"
    for n in (0, 1):
        nodes += [
            helper.make_node("LayerNormalization", [taken, names[n], shifts[n]], [f"n{n}"], name=f"norm{n}"),
            helper.make_node("Gemm", [f"n{n}", f"w{n}", f"b{n}"], [f"y{n}"], name=f"linear{n}"),
        ]
        taken = f"y{n}"
    graph = helper.make_graph(
        nodes, "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 128])],
        [helper.make_tensor_value_info("y1", TensorProto.FLOAT, ["rows", 128])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def lowered(model: onnx.ModelProto, rows: Any, *, symmetric: bool = False) -> onnx.ModelProto:
    quantiser = Quantiser(model)
    watched = quantiser.watched()
    names = [output.name for output in watched.graph.output]
    quantiser.observe(lambda feeds: dict(zip(names, run(watched, dict(feeds)), strict=True)), [{"x": rows}])
    return quantiser.lowered(symmetric=symmetric)


@pytest.fixture(scope="module")
def rows() -> Any:
    return np.random.default_rng(0).normal(0, 1, (200, 128)).astype(np.float32)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("loud", [1.0, 40.0])
def test_int8_is_the_same_function(rows: Any, loud: float, shared: bool, symmetric: bool) -> None:
    """Even where two channels are forty times as loud as the others, which one scale for all would drown."""
    model = block(loud=loud, shared=shared)
    result = lowered(model, rows, symmetric=symmetric)
    onnx.checker.check_model(result, full_check=True)
    (found,), (expected,) = run(result, {"x": rows}), run(model, {"x": rows})
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 0.02


def test_int8_in_standard_operators_with_fixed_ranges(rows: Any) -> None:
    result = lowered(block(), rows)
    kinds = Counter(node.op_type for node in result.graph.node)
    assert kinds["QuantizeLinear"] == 2
    assert kinds["DequantizeLinear"] == 6  # input, weight and bias of each
    assert {entry.domain for entry in result.opset_import} == {""}
    stored = [
        tensor for tensor in result.graph.initializer if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 2
    ]
    assert [list(tensor.dims) for tensor in stored] == [[128, 128]] * 2
    assert not [t for t in result.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2]
    alone = np.concatenate([run(result, {"x": rows[n : n + 1]})[0] for n in range(20)])
    assert np.array_equal(alone, run(result, {"x": rows})[0][:20])  # a row does not depend on its neighbours


def test_symmetric_int8_has_no_zero_point_but_0(rows: Any) -> None:
    """Signed bytes throughout and biases in float32: what TensorRT's parser takes."""
    result = lowered(block(loud=40.0), rows, symmetric=True)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    kinds = Counter(node.op_type for node in result.graph.node)
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (2, 4)  # inputs and weights, no bias
    assert (kinds["Sub"], kinds["Add"]) == (2, 2)
    for node in result.graph.node:
        if node.op_type.endswith("tizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
    scales = [constants[node.input[1]] for node in result.graph.node if node.op_type == "QuantizeLinear"]
    assert [scale.size for scale in scales] == [1, 1]  # one for a tensor
    assert {constants[name].dtype for name in ("linear0/bias", "linear1/bias")} == {np.dtype(np.float32)}


@pytest.mark.parametrize("biased", [True, False])
def test_symmetric_int8_loses_nothing(biased: bool) -> None:
    """Its steps are those of the unsigned bytes, also where a range lies far from 0 and a layer has no bias."""
    model = block(loud=40.0)
    for tensor in model.graph.initializer:
        if tensor.name in ("z0", "z1"):
            tensor.CopyFrom(numpy_helper.from_array(np.full(128, 5, np.float32), tensor.name))
    for node in model.graph.node:
        if node.op_type == "Gemm" and not biased:
            del node.input[2]
    random = np.random.default_rng(0).normal(0, 1, (200, 128)).astype(np.float32)
    (expected,) = run(model, {"x": random})
    errors = {}
    for symmetric in (False, True):
        (found,) = run(lowered(model, random, symmetric=symmetric), {"x": random})
        errors[symmetric] = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-4 < errors[False] < 0.02
    assert errors[True] == pytest.approx(errors[False], rel=0.01)


def test_one_quantiser_lowers_both_ways(rows: Any) -> None:
    """In any order, each as if it were alone."""
    model = block(loud=40.0)
    quantiser = Quantiser(model)
    watched = quantiser.watched()
    names = [output.name for output in watched.graph.output]
    quantiser.observe(lambda feeds: dict(zip(names, run(watched, dict(feeds)), strict=True)), [{"x": rows}])
    found = [quantiser.lowered(symmetric=symmetric).SerializeToString() for symmetric in (True, False, True)]
    alone = [lowered(model, rows, symmetric=symmetric).SerializeToString() for symmetric in (True, False, True)]
    assert found == alone
    assert found[0] != found[1]


def test_quantising_leaves_the_graph_it_was_given(rows: Any) -> None:
    model = block(loud=40.0)
    before = model.SerializeToString()
    lowered(model, rows)
    half_graph(model)
    assert model.SerializeToString() == before


def test_half_has_islands_of_float32(rows: Any) -> None:
    model = block()
    result = half_graph(model)
    onnx.checker.check_model(result, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in result.graph.initializer}
    assert types["s0"] == types["z1"] == TensorProto.FLOAT
    assert types["w0/half"] == types["b1/half"] == TensorProto.FLOAT16
    assert "w0" not in types
    (found,), (expected,) = run(result, {"x": rows}), run(model, {"x": rows})
    assert found.dtype == np.float32
    assert 1e-5 < np.abs(found - expected).max() < 0.02


def test_centred_cosines() -> None:
    random = np.random.default_rng(1)
    common = 50 * random.normal(0, 1, 64)
    full = common + random.normal(0, 1, (40, 64))
    other = common + random.normal(0, 1, (40, 64))
    assert centred_cosines(full, full).min() > 1 - 1e-9
    plain = (full * other).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(other, axis=1)
    assert plain.min() > 0.99  # which is why the mean is subtracted
    assert abs(centred_cosines(other, full).mean()) < 0.1
    assert centred_cosines(np.full_like(full, np.nan), full).max() == -1


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    with few_sounds():
        yield


def test_a_bundle_with_every_precision(many: Path) -> None:
    found = read_bundle(many)
    found.verify()
    for stage in (Stage.AUDIO, Stage.TEXT):
        graphs = found.manifest.graphs[stage]
        assert set(graphs) == set(Precision)
        assert graphs[Precision.BF16] == graphs[Precision.FP32]
        assert graphs[Precision.INT8].bytes < graphs[Precision.FP32].bytes
        assert graphs[Precision.INT8_SYMMETRIC].bytes < graphs[Precision.FP32].bytes
        for precision in Precision:
            interface = {tensor.name for tensor in (*graphs[precision].inputs, *graphs[precision].outputs)}
            assert interface <= CONTRACT
            assert {tensor.dtype for tensor in (*graphs[precision].inputs, *graphs[precision].outputs)} <= {
                "float32",
                "int64",
            }
            model = onnx.load(found.graph_path(stage, precision))
            said = {entry.key: entry.value for entry in model.metadata_props}["claprt.precision"]
            assert said == ("fp32" if precision is Precision.BF16 else precision)
            assert {entry.domain for entry in model.opset_import} == {""}
        judged = {(row.graph, row.precision) for row in found.manifest.quality}
        assert {(stage, precision) for precision in Precision if precision is not Precision.FP32} <= judged


def test_int8_in_process(many: Path) -> None:
    from claprt.audio.synthetic import SOUNDS

    sounds = [make(48_000 * 4, 48_000) for make in SOUNDS.values()]
    full, low = claprt.load(many), claprt.load(many, precision="int8")
    assert low.precision == "int8"
    assert low.fingerprint != full.fingerprint
    assert "/int8/" in low.fingerprint
    assert ((low.embed_audio(sounds) * full.embed_audio(sounds)).sum(1)).min() > 0.97
    together = low.embed_audio(sounds)
    assert np.abs(together - np.stack([low.embed_audio(sound) for sound in sounds])).max() < 1e-6
    symmetric = claprt.load(many, precision="int8-symmetric")
    assert (symmetric.provider, "/int8-symmetric/" in symmetric.fingerprint) == ("cpu", True)
    assert ((symmetric.embed_audio(sounds) * full.embed_audio(sounds)).sum(1)).min() > 0.95
    with pytest.raises(ProviderUnavailableError, match="cpu does not run bf16"):
        claprt.load(many, provider="cpu", precision="bf16")


def test_the_form_for_one_row(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one engine, what OpenVINO runs faster has one vector for a sound, alone and in a batch, to the bit."""
    pytest.importorskip("openvino", reason="needs OpenVINO: the openvino extra")
    from claprt.audio.synthetic import SOUNDS
    from claprt.engines.in_process import detect_hardware
    from claprt.engines.openvino_session import openvino_arithmetic, openvino_name

    able = [
        precision for precision in (Precision.BF16, Precision.INT8)
        if unavailable_reason((Provider.OPENVINO, precision), detect_hardware()) is None
    ]  # fmt: skip
    if not able:
        pytest.skip("OpenVINO runs no lowered precision on this processor")
    manifest = read_bundle(many).manifest
    found = [(row.graph, row.precision, row.engine) for row in manifest.single]
    assert sorted(found) == [(Stage.AUDIO, precision, openvino_name()) for precision in able]
    assert all(0 < row.distance <= row.distance_limit for row in manifest.single)
    for row in manifest.single:
        assert row.graph_sha256 == manifest.graph(Stage.AUDIO, row.precision).sha256
        assert row.arithmetic == openvino_arithmetic(row.precision)
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path))
    sounds = [make(48_000 * 4, 48_000) for make in SOUNDS.values()]
    clap, graph = (claprt.load(many, provider=name, precision="int8") for name in ("openvino", "cpu"))
    together = clap.embed_audio(sounds)
    assert [path.name for path in (tmp_path / "graphs").glob("*/*.blob")] == ["single.blob"]
    assert np.array_equal(together, np.stack([clap.embed_audio(sound) for sound in sounds]))
    assert ((together * graph.embed_audio(sounds)).sum(1)).min() > 0.998
    assert clap.fingerprint == graph.fingerprint


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph passes the quality gate, on onnxruntime alone."""
    monkeypatch.setattr(lower, "_on_openvino", lambda _: False)  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(quality_gate, "LIMITS", dict.fromkeys(Precision, 1.1))


@pytest.mark.usefixtures("strict")
def test_the_quality_gate_refuses(laion_file: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def export(precision: Precision, *, forced: bool) -> Any:
        return export_bundle(
            out, checkpoint=laion_file, tokenizer=tokenizer_file, precisions=[precision], force_precision=forced
        )

    with pytest.raises(
        PrecisionError, match=r"refuses fp16 of the audio tower on onnxruntime .*below 1.1.*--force-precision"
    ):
        export(Precision.FP16, forced=False)
    assert list(tmp_path.iterdir()) == []
    manifest = export(Precision.INT8, forced=True)
    assert not manifest.accepted(Stage.AUDIO, Precision.INT8)
    assert manifest.accepted(Stage.AUDIO, Precision.FP32)
    assert str(claprt.load(out, provider="cpu", precision="auto").precision) == "fp32"
    assert str(claprt.load(out, provider="cpu", precision="int8").precision) == "int8"


def test_a_labelled_set_that_was_given(laion_file: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    """Its labels are asked for, but decide nothing: untrained weights are at chance."""
    import soundfile

    from claprt.audio.synthetic import SOUNDS

    items: list[Item] = []
    for name in ("bell", "rain", "chirp", "tone"):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, SOUNDS[name](48_000, 48_000), 48_000)
        items.append(Item(path=path, label=name))
    dataset = Dataset(name="four sounds", items=tuple(items))
    manifest = export_bundle(
        tmp_path / "out", checkpoint=laion_file, tokenizer=tokenizer_file, precisions=[Precision.FP16],
        calibration=dataset, judged_on=dataset,
    )  # fmt: skip
    tasks = [task for row in manifest.quality for task in row.tasks]
    assert all(row.by_cosine_alone for row in manifest.quality)
    assert len(tasks) == 2
    for task in tasks:
        assert (task.dataset, task.sounds) == ("four sounds", 4)
        assert task.top1_fp32 is not None
        assert 0 <= task.top1_fp32 <= 1
        assert task.recall5_fp32 == 1.0  # of four sounds, each is among the first five
        assert not task.signal
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    bad = dataclasses.replace(dataset, items=(*dataset.items, Item(path=broken, label="tone")))
    with pytest.raises(PrecisionError, match="cannot be used"):
        export_bundle(
            tmp_path / "out2", checkpoint=laion_file, tokenizer=tokenizer_file, precisions=[Precision.FP16], judged_on=bad
        )


def test_inspect_says_what_it_would_choose(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from claprt.cli import main

    assert main(["inspect", str(many)]) == 0
    said = capsys.readouterr().out
    assert "lowered precisions, as measured when exported" in said
    assert "audio int8 on onnxruntime" in said
    for row in read_bundle(many).manifest.single:
        assert f"audio {row.precision} on {row.engine} in its form for one row: " in said
    assert 'provider="auto", precision="auto" is' in said
