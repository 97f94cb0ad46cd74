"""fp16: graphs for GPUs whose products and weights are float16, with islands of float32 where float16 would not do.

Inputs and outputs stay float32, so nothing above the graph knows. What stays float32, and why:

| operators                                      | why                                                                     |
|------------------------------------------------|-------------------------------------------------------------------------|
| everything before the first linear layer       | 0.06 dB at -100 dB would be the largest error of all; counts of tokens  |
| LayerNormalization                             | squares of activations above 256 are beyond 65504                       |
| Softmax                                        | sums of exponentials lose what small attentions add                     |
| ReduceMean, ReduceL2, Clip, Expand, Div        | the mean over tokens; the smallest length allowed, 1e-12, would be zero |
| Tanh, Mul, Sub, CumSum and whatever is not named below | a few values each; nothing to gain                              |

Types stand in the graph, which is what TensorRT 10 and 11 go by. onnxruntime's own converter is not used: it rounds
inputs to float16 on their way into a float32 island.

Needs onnx and numpy only, not torch.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LOWERED = frozenset({"Gemm", "MatMul", "Gelu", "Relu", "Add"})
"""Operators that compute in float16."""
_MOVING = frozenset({"Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Gather", "Split", "Concat"})
"""Operators that move values, in whatever type these have."""
_LARGEST = 65504.0


def half_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in float16 with those islands."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    halving = _Halving(result)
    computing = False
    for node in model.graph.node:
        computing = computing or node.op_type == "Gemm"
        halving.add(node, lowered=computing and node.op_type in LOWERED)
    halving.finish([value.name for value in model.graph.output])
    return result


class _Halving:
    """A graph that is being rebuilt node by node, with the type that each tensor has by then."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._constants = {
            tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT
        }
        self._half: set[str] = set()
        inferred = onnx.shape_inference.infer_shapes(model)
        values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
        self._floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT} | set(self._constants)
        self._casts: dict[tuple[str, bool], str] = {}
        self._added: list[onnx.TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []

    def add(self, node: onnx.NodeProto, *, lowered: bool) -> None:
        """Add a node, its inputs cast to what it computes in."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        floats = [name for name in node.input if name in self._floats]
        if node.op_type in _MOVING:  # a table is stored in half, anything else moved as it is
            lowered = any(name in self._half for name in floats) or (bool(floats) and floats[0] in self._constants)
        for position, name in enumerate(node.input):
            if name in self._floats:
                copy.input[position] = self._as(name, half=lowered)
        self._nodes.append(copy)
        if lowered:
            self._half.update(name for name in node.output if name in self._floats)

    def _as(self, name: str, *, half: bool) -> str:
        """The tensor in the type that is asked for."""
        if (name in self._half) == half and (name not in self._constants or not half):
            return name
        if (name, half) not in self._casts:
            self._casts[name, half] = self._constant(name) if name in self._constants else self._cast(name, half=half)
        return self._casts[name, half]

    def _constant(self, name: str) -> str:
        values = np.clip(numpy_helper.to_array(self._constants[name]), -_LARGEST, _LARGEST)
        self._added.append(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        return f"{name}/half"

    def _cast(self, name: str, *, half: bool) -> str:
        output = f"{name}/{'half' if half else 'float'}"
        to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self._nodes.append(helper.make_node("Cast", [name], [output], name=output, to=to))
        return output

    def finish(self, outputs: list[str]) -> None:
        """Give outputs their float32 back, and drop what nothing uses any more."""
        for name in outputs:
            if name not in self._half:
                continue
            inner = f"{name}/half"
            for node in self._nodes:
                for names in (node.input, node.output):
                    for position, used in enumerate(names):
                        if used == name:
                            names[position] = inner
            self._nodes.append(helper.make_node("Cast", [inner], [name], name=name, to=TensorProto.FLOAT))
        used = {name for node in self._nodes for name in node.input}
        kept = [tensor for tensor in (*self._graph.initializer, *self._added) if tensor.name in used]
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        del self._graph.value_info[:]
