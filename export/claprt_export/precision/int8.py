"""int8: linear layers as products of bytes, in standard operators that onnxruntime, OpenVINO and TensorRT fuse.

Every large Gemm becomes QuantizeLinear and DequantizeLinear around its input, weight and bias, which runtimes replace by
one kernel. Weights are signed bytes with a scale for each output; inputs are unsigned bytes with one scale and zero point,
fixed when the bundle is exported. Fixed, not found anew for each call: a scale taken from a whole batch would make a
sound's vector depend on its neighbours, and finding it costs a pass over the data.

TensorRT takes no zero point but 0. For it the same graph is made with signed bytes: the middle of a range, a whole number
of steps, is subtracted from the layer's input, and what the weight makes of it is added to the bias, so the steps are those
of the unsigned bytes. It takes no bias of 32-bit integers either, so biases are added in float32 behind the product; inside
a Gemm they would keep onnxruntime from fusing it.

Where a normalisation feeds one linear layer alone, its channels are first brought to similar ranges, by moving a factor
from the normalisation's scale and shift into the layer's weight: the same function, with fewer steps lost to a few loud
channels (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438). What stays in float32, since it costs next to nothing and
carries everything: the patch embedding, the heads, normalisations, softmax, GELU and the products of attention.

Needs onnx and numpy only, not torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from claprt.arrays import Array

Feeds = Mapping[str, Array]
Run = Callable[[Feeds], Mapping[str, Array]]

SMALLEST = 8_192
"""Elements below which a weight stays as it is: the patch embedding of every published size."""
SMOOTHING = 0.5
"""How much of a channel's range moves into the weight; the value of the paper."""
_KEPT = ("projection", "pooler")
_SAME_CHANNELS = frozenset({"Reshape", "Gather", "Cast", "Identity"})


@dataclass(frozen=True, slots=True)
class Linear:
    """A Gemm with a constant weight [inputs, outputs]."""

    node: onnx.NodeProto
    weight: Array

    @property
    def input(self) -> str:
        """The name of what it takes."""
        return self.node.input[0]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Smallest and largest value of each channel of a tensor; zero is always between them."""

    low: Array
    high: Array


class Quantiser:
    """Lowers one traced graph; `watched` is to be run on sounds or texts first."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._constants = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self.linears = [
            Linear(node, weight)
            for node in self._model.graph.node
            if node.op_type == "Gemm" and (weight := self._weight(node)) is not None
        ]
        """The layers that are lowered."""
        self._ranges: dict[str, Ranges] = {}

    def _weight(self, node: onnx.NodeProto) -> Array | None:
        """The weight [inputs, outputs] of a layer that is to be lowered."""
        name = node.input[1]
        if name not in self._constants or any(part in name for part in _KEPT):
            return None
        weight = numpy_helper.to_array(self._constants[name])
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return None if weight.size < SMALLEST else weight.T if transposed else weight

    def watched(self) -> onnx.ModelProto:
        """The graph with the inputs of those layers as further outputs."""
        watched = onnx.ModelProto()
        watched.CopyFrom(self._model)
        for name in dict.fromkeys(linear.input for linear in self.linears):
            watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        return watched

    def observe(self, run: Run, inputs: Iterable[Feeds]) -> None:
        """Take the ranges of channels over all inputs; `run` gives every output of `watched` by name."""
        for feeds in inputs:
            outputs = run(feeds)
            for linear in self.linears:
                rows = outputs[linear.input].reshape(-1, linear.weight.shape[0])
                low, high = np.minimum(rows.min(0), 0), np.maximum(rows.max(0), 0)
                if (known := self._ranges.get(linear.input)) is not None:
                    low, high = np.minimum(low, known.low), np.maximum(high, known.high)
                self._ranges[linear.input] = Ranges(low, high)

    def lowered(self, *, symmetric: bool = False) -> onnx.ModelProto:
        """The graph in int8. `observe` must have seen something.

        Args:
            symmetric: Inputs of layers are signed bytes with the zero point 0, of which the middle of their range has been
                subtracted, and biases are added in float32.
        """
        model, ranges = onnx.ModelProto(), dict(self._ranges)
        model.CopyFrom(self._model)
        weights = self._smoothed(model, ranges)
        lowering = _Lowering(model, symmetric=symmetric)
        by_name = {linear.node.name: linear for linear in self.linears}
        for node in model.graph.node:
            linear = by_name.get(node.name)
            if linear is None:
                lowering.nodes.append(node)
                continue
            seen = ranges[linear.input]
            bias = numpy_helper.to_array(self._constants[node.input[2]]) if len(node.input) > 2 else None
            lowering.linear(node, weights[node.name], bias, float(seen.low.min()), float(seen.high.max()))
        return lowering.finished()

    def _smoothed(self, model: onnx.ModelProto, ranges: dict[str, Ranges]) -> dict[str, Array]:
        """Weights by node, after `ranges` have been moved into them where that is exact; changes both arguments."""
        weights = {linear.node.name: linear.weight for linear in self.linears}
        makers = {output: node for node in model.graph.node for output in node.output}
        takers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                takers.setdefault(name, []).append(node)
        for linear in self.linears:
            norm = _only_norm(linear.input, makers, takers)
            if norm is None or len(norm.input) < 3 or not all(name in self._constants for name in norm.input[1:3]):
                continue
            seen = ranges[linear.input]
            factor = self._factor(linear)
            for position in (1, 2):
                self._divide(model, norm, position, factor)
            weights[linear.node.name] = linear.weight * factor[:, None]
            ranges[linear.input] = Ranges(seen.low / factor, seen.high / factor)
        return weights

    def _factor(self, linear: Linear) -> Array:
        ranges = self._ranges[linear.input]
        loud = np.maximum(np.maximum(-ranges.low, ranges.high), 1e-5)
        heavy = np.maximum(np.abs(linear.weight).max(1), 1e-5)
        factor = loud**SMOOTHING / heavy ** (1 - SMOOTHING)
        return (factor / np.exp(np.log(factor).mean())).astype(np.float32)

    def _divide(self, model: onnx.ModelProto, norm: onnx.NodeProto, position: int, factor: Array) -> None:
        """Give a normalisation a scale or shift of its own: equal ones of several are one constant in a traced graph."""
        values = numpy_helper.to_array(self._constants[norm.input[position]]) / factor
        norm.input[position] = f"{norm.name}/smoothed.{position}"
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), norm.input[position]))


def _only_norm(
    name: str, makers: Mapping[str, onnx.NodeProto], takers: Mapping[str, list[onnx.NodeProto]]
) -> onnx.NodeProto | None:
    """The normalisation whose output reaches this tensor and nothing else, through nodes that move rows alone."""
    while len(takers[name]) == 1 and (node := makers.get(name)) is not None:
        if node.op_type == "LayerNormalization":
            return node
        if node.op_type not in _SAME_CHANNELS:
            return None
        name = node.input[0]
    return None


class _Lowering:
    """A graph whose layers are being replaced."""

    def __init__(self, model: onnx.ModelProto, *, symmetric: bool) -> None:
        self._model = model
        self._symmetric = symmetric
        self.nodes: list[onnx.NodeProto] = []
        self._inputs: dict[str, tuple[str, Array, float]] = {}

    def _constant(self, name: str, values: Array) -> str:
        self._model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _input(self, name: str, low: float, high: float) -> tuple[str, Array, float]:
        """A layer's input in bytes and back, its scale, and what was subtracted from it before."""
        if name not in self._inputs:
            given, middle = name, 0.0
            scale = np.array(max(high - low, 1e-6) / 255, np.float32)
            if self._symmetric:
                zero, steps = np.array(0, np.int8), np.clip(np.rint(-low / scale), 0, 255) - 128
                middle = -float(scale * np.float32(steps))
                shift = self._constant(f"{name}/middle", np.array(middle, np.float32))
                given = self._node("Sub", [name, shift], f"{name}/centred")
            else:
                zero = np.array(np.clip(np.rint(-low / scale), 0, 255), np.uint8)
            facts = [self._constant(f"{name}/scale", scale), self._constant(f"{name}/zero", zero)]
            stored = self._node("QuantizeLinear", [given, *facts], f"{name}/bytes")
            self._inputs[name] = self._node("DequantizeLinear", [stored, *facts], f"{name}/restored"), scale, middle
        return self._inputs[name]

    def linear(self, node: onnx.NodeProto, weight: Array, bias: Array | None, low: float, high: float) -> None:
        """Replace a Gemm, given its weight [inputs, outputs] and the range of its input."""
        taken, scale, middle = self._input(node.input[0], low, high)
        scales = (np.maximum(np.abs(weight).max(0), 1e-8) / 127).astype(np.float32)
        stored = np.clip(np.rint(weight / scales), -127, 127).astype(np.int8)
        inputs = [taken, self._stored(f"{node.name}/weight", stored, scales, axis=1)]
        if self._symmetric:
            product = f"{node.name}/product"
            self.nodes.append(helper.make_node("Gemm", inputs, [product], name=node.name))
            of_middle = middle * (stored.astype(np.float64) * scales).sum(0)
            whole = (of_middle if bias is None else bias + of_middle).astype(np.float32)
            shift = self._constant(f"{node.name}/bias", whole)
            self.nodes.append(helper.make_node("Add", [product, shift], list(node.output), name=f"{node.name}/shifted"))
            return
        if bias is not None:
            both = (scale * scales).astype(np.float32)
            counts = np.clip(np.rint(bias / both), -(2**31) + 1, 2**31 - 1).astype(np.int32)
            inputs.append(self._stored(f"{node.name}/bias", counts, both, axis=0))
        self.nodes.append(helper.make_node("Gemm", inputs, list(node.output), name=node.name))

    def _stored(self, name: str, values: Array, scales: Array, axis: int) -> str:
        facts = [
            self._constant(f"{name}/stored", values),
            self._constant(f"{name}/scales", scales),
            self._constant(f"{name}/zeros", np.zeros(scales.shape, values.dtype)),
        ]
        return self._node("DequantizeLinear", facts, name, axis=axis)

    def finished(self) -> onnx.ModelProto:
        """The graph with the new nodes, without the constants that nothing uses any more."""
        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        return self._model
