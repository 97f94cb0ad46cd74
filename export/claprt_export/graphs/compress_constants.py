"""Smaller graph files of the very same arithmetic: constants stored in fewer bytes and restored when a session starts.

onnxruntime folds what restores them into plain float32 constants while it loads a graph, so the graph that runs is the
one that was traced, to the last bit. A constant is only stored in fewer bytes where restoring gives exactly its values:

| constant                                              | stored as                                        |
|-------------------------------------------------------|--------------------------------------------------|
| the time axis' resize, four numbers in each row       | those numbers and their places                   |
| attention scores of shifted windows, bias and mask    | the bias of one window, and the mask in one byte |
| weights of a checkpoint in float16                    | float16                                          |
| token orders                                          | int32                                            |

Needs onnx only, not torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from claprt.arrays import Array

_SMALLEST = 256
"""Elements below which a constant stays as it is."""


class _Restoring:
    """The nodes that restore constants, and the small constants they restore them from."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, values: Array) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"restore/{output}", **attributes))
        return output

    def cast(self, values: Array, name: str, to: int) -> str:
        """A constant `name`, stored as it is given."""
        return self.node("Cast", [self.constant(f"{name}/stored", values)], name, to=to)


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its constants in fewer bytes."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    kept: list[onnx.TensorProto] = []
    large: list[tuple[str, Array]] = []
    for tensor in result.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size >= _SMALLEST and values.dtype.name in ("float32", "int64"):
            large.append((tensor.name, values))
        else:
            kept.append(tensor)
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    restoring = _Restoring(result)
    for name, values in large:
        if not any(store(restoring, name, values) for store in (_sparse, _masked, _half, _narrow)):
            restoring.constant(name, values)
    nodes = [*restoring.nodes, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def _half(restoring: _Restoring, name: str, values: Array) -> bool:
    if values.dtype != np.float32:
        return False
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), values):
        return False
    restoring.cast(half, name, TensorProto.FLOAT)
    return True


def _narrow(restoring: _Restoring, name: str, values: Array) -> bool:
    if values.dtype != np.int64 or np.abs(values).max() >= 1 << 31:
        return False
    restoring.cast(values.astype(np.int32), name, TensorProto.INT64)
    return True


def _sparse(restoring: _Restoring, name: str, values: Array) -> bool:
    """A matrix most of whose elements are zero: those that are not, scattered into zeros."""
    if values.dtype != np.float32 or values.ndim != 2 or np.count_nonzero(values) * 8 > values.size:
        return False
    # one row of places and values for each row of the matrix, as long as the fullest, zeros repeated where one has fewer
    axis = int(np.argmin([np.count_nonzero(values, axis=a).max() for a in (1, 0)]))
    rows = values if axis == 0 else values.T
    width = int(np.count_nonzero(rows, axis=1).max())
    if width * 8 > rows.shape[1] or np.signbit(values[values == 0]).any():
        return False
    places = np.argsort(rows == 0, axis=1, kind="stable")[:, :width]
    found = np.take_along_axis(rows, places, axis=1)
    shape = restoring.constant(f"{name}/shape", np.array(rows.shape, np.int64))
    zeros = restoring.node("ConstantOfShape", [shape], f"{name}/zeros")
    where = restoring.cast(places.astype(np.int32), f"{name}/places", TensorProto.INT64)
    filled = name if axis == 0 else f"{name}/transposed"
    restoring.node("ScatterElements", [zeros, where, restoring.constant(f"{name}/values", found)], filled, axis=1)
    if axis == 1:
        restoring.node("Transpose", [filled], name, perm=[1, 0])
    return True


def _masked(restoring: _Restoring, name: str, values: Array) -> bool:
    """Scores [windows, heads, tokens, tokens] that are one bias plus one number wherever a window's mask says so."""
    if values.dtype != np.float32 or values.ndim != 4 or values.shape[0] == 1:
        return False
    hidden = values[:, :1] < -1e3
    open_window = int(np.argmin(hidden.sum((1, 2, 3))))
    bias, level = values[open_window : open_window + 1], _level(values, hidden)
    mask = hidden.astype(np.float32) * level
    if hidden[open_window].any() or not np.array_equal(bias + mask, values):
        return False
    inner = f"{name}/bias"
    if not _half(restoring, inner, bias):
        restoring.constant(inner, bias)
    shown = restoring.cast(hidden, f"{name}/hidden", TensorProto.FLOAT)
    weight = restoring.constant(f"{name}/level", np.array(level, np.float32))
    restoring.node("Mul", [shown, weight], f"{name}/mask")
    restoring.node("Add", [inner, f"{name}/mask"], name)
    return True


def _level(values: Array, hidden: Array) -> np.float32:
    """What masks add: the round number that all masked scores are near to."""
    masked = values[np.broadcast_to(hidden, values.shape)]
    return np.float32(round(float(np.median(masked)), -2)) if masked.size else np.float32(0)
