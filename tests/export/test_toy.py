"""The toy bundles in the repository are what their program makes, and hand-written ONNX is what the onnx package reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from claprt.bundle.graphs import PROJECTION_FILE
from tests import onnx_file
from tests.tiny import TOYS, unpack, write_tiny_bundle
from tests.toy import make


def assert_same_graph(found: onnx.ModelProto, made: onnx.ModelProto) -> None:
    """The same but for the last bits of constants, in which sines and logarithms differ between processors."""
    for one, other in zip(found.graph.initializer, made.graph.initializer, strict=True):
        np.testing.assert_allclose(numpy_helper.to_array(one), numpy_helper.to_array(other), rtol=1e-6, atol=1e-12)
        one.ClearField("raw_data")
        other.ClearField("raw_data")
    assert found == made


def without_digests(manifest: Any) -> Any:
    for graphs in manifest["graphs"].values():
        for graph in graphs.values():
            graph.pop("sha256")
    return manifest


@pytest.mark.parametrize("fused", [False, True])
def test_bundles(tmp_path: Path, fused: bool) -> None:
    found, made = write_tiny_bundle(tmp_path / "found", fused=fused), tmp_path / "made"
    make.write_bundle(made, fused=fused)
    names = sorted(file.name for file in made.iterdir())
    assert names == sorted(file.name for file in found.iterdir())
    for name in names:
        if name.endswith(".onnx"):
            assert_same_graph(onnx.load(found / name), onnx.load(made / name))
        elif name == "manifest.json":
            one, other = (without_digests(json.loads((folder / name).read_bytes())) for folder in (found, made))
            assert one == other
        else:
            assert (found / name).read_bytes() == (made / name).read_bytes()


def test_projection(tmp_path: Path) -> None:
    assert_same_graph(onnx.load(unpack(TOYS / f"{PROJECTION_FILE}.xz", tmp_path)), make.projection())


def test_hand_written_model() -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    ends = onnx_file.end("x", ["batch", 2]) + onnx_file.end("y", ["batch", 3], output=True)
    graph = onnx_file.node("MatMul", ["x", "w"], ["y"]) + onnx_file.initializer("w", weight)
    model = onnx.load_from_string(onnx_file.model(onnx_file.field(2, "one matrix") + graph + ends))
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(numpy_helper.to_array(model.graph.initializer[0]), weight)
    assert [axis.dim_param or axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim] == ["batch", 3]


@pytest.mark.parametrize("place", list(onnx_file.IN_ANOTHER_FILE))
def test_weights_in_another_file(bundle: Path, place: str) -> None:
    """The onnx package finds them where they are meant to be, in a model that is otherwise the same."""
    content = (bundle / "audio.fp32.onnx").read_bytes()
    model = onnx.load_from_string(content + onnx_file.IN_ANOTHER_FILE[place])
    tensor = {
        "initializer": model.graph.initializer.pop,
        "without a name": model.graph.initializer.pop,
        "attribute": lambda: model.graph.node.pop().attribute[0].t,
        "branch": lambda: model.graph.node.pop().attribute[0].g.initializer[0],
        "function": lambda: model.functions.pop().node[0].attribute[0].t,
        "sparse": lambda: model.graph.sparse_initializer.pop().values,
    }[place]()
    assert tensor.data_location == onnx.TensorProto.EXTERNAL
    assert len(tensor.external_data) == (place != "without a name")
    assert model == onnx.load_from_string(content)
