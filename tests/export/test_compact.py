"""Constants in fewer bytes, the same graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from claprt_export.graphs.compress_constants import compact
from claprt_export.graphs.onnx_metadata import OPSET


def graph(**constants: NDArray[Any]) -> onnx.ModelProto:
    """Gives its constants back, each as an output."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in constants]
    outputs = [
        helper.make_tensor_value_info(f"{name}_out", helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        for name, values in constants.items()
    ]
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    made = helper.make_graph(nodes, "constants", [], outputs, initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def restored(model: onnx.ModelProto) -> list[NDArray[Any]]:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {})  # pyright: ignore[reportReturnType]


def size(model: onnx.ModelProto) -> int:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


random = np.random.default_rng(0)
HALVES = random.standard_normal((40, 50)).astype(np.float16).astype(np.float32)
BAND = np.zeros((128, 100), np.float32)
for row in range(128):
    start = min(row * 96 // 128, 96)
    BAND[row, start : start + 4] = random.standard_normal(4)
BIAS = random.standard_normal((1, 3, 16, 16)).astype(np.float16).astype(np.float32)
CROSS = np.zeros((200, 200), np.float32)
CROSS[7], CROSS[:, 9] = random.standard_normal(200), random.standard_normal(200)
WIDE = np.zeros((30, 70_000), np.float32)
WIDE[0, 69_999] = 1
NEGATIVE_ZEROS = np.full((20, 20), -0.0, np.float32)
MASKED = BIAS + np.float32(-1e4) * (np.arange(5)[:, None, None, None] * random.random((5, 1, 16, 16)) > 1)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        (HALVES, 0.51),
        (BAND, 0.10),
        (BAND.T.copy(), 0.10),
        (MASKED.astype(np.float32), 0.30),
        (np.arange(5000), 0.51),
        (WIDE, 0.01),
        (np.arange(3000) + 65_000, 0.51),
    ],
    ids=["half", "band", "band on its side", "masked", "indices", "wide", "large indices"],
)
def test_smaller_and_the_same(values: NDArray[Any], share: float) -> None:
    model = graph(values=values)
    small = compact(model)
    assert np.array_equal(restored(small)[0], values)
    assert size(small) < share * size(model)


@pytest.mark.parametrize(
    "values",
    [
        random.standard_normal((40, 50)).astype(np.float32),
        np.full((20, 20), 1e6, np.float32),
        np.arange(3000) << 40,
        CROSS,
        (BIAS + np.float32(-1e4) * (np.arange(5)[:, None, None, None] > 1) + HALVES[:5, :1, None, None] * 3e-4).astype(
            np.float32
        ),
        np.arange(5, dtype=np.int64),
    ],
    ids=["float32", "beyond float16", "beyond int32", "cross", "not one bias", "few"],
)
def test_what_cannot_be_restored_stays(values: NDArray[Any]) -> None:
    small = compact(graph(values=values))
    assert np.array_equal(restored(small)[0], values)
    assert size(small) >= values.nbytes


def test_negative_zeros_stay_negative() -> None:
    (values,) = restored(compact(graph(values=NEGATIVE_ZEROS)))
    assert np.signbit(values).all()


def test_the_given_graph_is_left_alone() -> None:
    model = graph(values=HALVES)
    before = model.SerializeToString()
    compact(model)
    assert model.SerializeToString() == before
