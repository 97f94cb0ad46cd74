"""What can be said about TensorRT where it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import claprt
from claprt.bundle.graphs import Precision, Stage
from claprt.errors import MissingDependencyError
from claprt_export.errors import ExportError
from claprt_export.graphs import tensorrt
from claprt_export.graphs.tensorrt import build_engine, main, objections


@pytest.mark.parametrize("stage", list(Stage))
def test_the_parser_would_take_every_graph(exported: Path, stage: Stage) -> None:
    assert objections(onnx.load(claprt.read_bundle(exported).graph_path(stage, Precision.FP32))) == []


def graph(operator: str, *, elem: int = TensorProto.FLOAT, opset: int = 20, extra: str = "") -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", elem, [2, 3])]
    if extra:
        inputs.append(helper.make_tensor_value_info(extra, TensorProto.INT64, [1]))
    node = helper.make_node(operator, ["x", extra] if extra else ["x"], ["y"], name="node")
    output = helper.make_empty_tensor_value_info("y")
    return helper.make_model(
        helper.make_graph([node], "g", inputs, [output]), opset_imports=[helper.make_opsetid("", opset)]
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (graph("DFT", extra="length"), "operator DFT is not supported"),
        (graph("Softmax", opset=22), "opset 22"),
        (graph("CumSum", elem=TensorProto.INT64, extra="axis"), "CumSum of integers"),
        (graph("CumSum", extra="axis"), "input 1 of CumSum must be a constant"),
        (graph("ReduceMean", extra="axes"), "input 1 of ReduceMean must be a constant"),
    ],
)
def test_objections(model: onnx.ModelProto, words: str) -> None:
    assert any(words in found for found in objections(model))


def test_not_installed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorrt"):
        build_engine(claprt.read_bundle(bundle), Stage.AUDIO, tmp_path / "x.plan")
    assert main([str(bundle), "--out", str(tmp_path)]) == 1
    assert "pip install tensorrt" in capsys.readouterr().err


class Recorder:
    """A TensorRT that remembers what it was asked and builds nothing."""

    def __init__(self, *, parses: bool, builds: bool) -> None:
        self.shapes: dict[str, Any] = {}
        self.parses, self.builds = parses, builds
        self.BuilderFlag = SimpleNamespace(TF32="tf32")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.flags: list[int] = []
        self.Logger = type("Logger", (), {"WARNING": 0, "__init__": lambda self, level: None})
        self.cleared: list[str] = []

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        config = SimpleNamespace(clear_flag=self.cleared.append, add_optimization_profile=lambda shapes: None)
        return SimpleNamespace(
            create_network=lambda flags: self.flags.append(flags) or "network",
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self.set_shape),
            build_serialized_network=lambda network, config: b"engine" if self.builds else None,
        )

    def set_shape(self, name: str, *bounds: Any) -> None:
        self.shapes[name] = bounds

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(
            parse_from_file=lambda path: self.parses, num_errors=1, get_error=lambda index: "no such operator"
        )


def test_engines_are_built_from_the_manifest(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(parses=True, builds=True)
    monkeypatch.setattr(tensorrt, "_tensorrt", lambda: recorder)
    assert main([str(bundle), "--out", str(tmp_path), "--max-batch", "4"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"log_mel.fp32.plan", "audio.fp32.plan", "text.fp32.plan"}
    assert recorder.shapes["waveforms"] == ((1, 480_000), (2, 480_000), (4, 480_000))
    assert recorder.shapes["attention_mask"] == ((1, 3), (2, 16), (4, 77))
    assert recorder.cleared == ["tf32"] * 3
    assert recorder.flags == [2, 2, 2]  # strongly typed


def test_what_the_parser_says_is_raised(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = claprt.read_bundle(bundle)
    monkeypatch.setattr(tensorrt, "_tensorrt", lambda: Recorder(parses=False, builds=True))
    with pytest.raises(ExportError, match=r"does not take audio.fp32.onnx: no such operator"):
        build_engine(found, Stage.AUDIO, tmp_path / "x.plan")
    monkeypatch.setattr(tensorrt, "_tensorrt", lambda: Recorder(parses=True, builds=False))
    with pytest.raises(ExportError, match="built no engine"):
        build_engine(found, Stage.AUDIO, tmp_path / "x.plan")
    assert not list(tmp_path.iterdir())


def test_check(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(exported), "--check"]) == 0
    assert capsys.readouterr().out.count("nothing that the parser would not take") == 3
