"""Packed weights: what the native engine maps, made from the audio tower's graph in int8.

The graph is walked in the order of its operations, which is that of `claprt_export.towers.audio`; whatever is different is
refused. Nothing is lost: weights stay the bytes that they are, biases and zero points become what sums of products start
with, and scales are folded into the normalisations.
"""

from __future__ import annotations

import struct

import numpy as np

from claprt.arrays import Array
from claprt.bundle.onnx_graph import Node, OnnxGraph, read_onnx_graph
from claprt.engines.native.constants import Constants, PackingError, require
from claprt.engines.native.layout import Header, Layer, Writer

_IMAGE_ROWS = 1024
_MELS = 64
_STAGES = 4
_HEAD_WIDTHS = (16, 24, 32, 64)
_MOST_CHANNELS, _MOST_BLOCKS, _MOST_HEADS, _MOST_DIMENSIONS, _MOST_FRAMES = 256, 64, 64, 4096, 4096
_WALKED = frozenset({"Gemm", "LayerNormalization", "Softmax", "Gelu", "Relu", "Sigmoid", "Where", "MatMul"})


def pack_tower(graph_file: bytes, sha256: str) -> bytes:
    """Pack the audio tower's graph in int8.

    Args:
        graph_file: Content of the ONNX file.
        sha256: Of that content, in hexadecimal; it is written into the header.

    Returns:
        Content of the packed file.

    Raises:
        PackingError: If the graph is not one that the native engine runs, with what differs.
    """
    try:
        return _Packer(read_onnx_graph(graph_file)).packed(sha256)
    except PackingError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError, MemoryError, struct.error) as error:
        raise PackingError(f"the graph is not an audio tower in int8: {error}") from error


class _Packer:
    def __init__(self, graph: OnnxGraph) -> None:
        self._constants = Constants(graph)
        self._makers = self._constants.makers
        self._walk = [
            node
            for node in graph.nodes
            if node.kind in _WALKED and not all(name in self._constants for name in node.inputs)
        ]
        self._place = 0
        self._out = Writer()

    # ----------------------------------------------------------------------------------------------------------- walk

    def _next(self, kind: str) -> Node:
        require(self._place < len(self._walk), f"the graph ends where a {kind} is expected")
        node = self._walk[self._place]
        require(node.kind == kind, f"the graph has a {node.kind} where a {kind} is expected")
        self._place += 1
        return node

    def _skip(self, *kinds: str) -> None:
        for kind in kinds:
            self._next(kind)

    def _peek(self) -> str:
        return self._walk[self._place].kind if self._place < len(self._walk) else ""

    def _source(self, name: str, *kinds: str) -> str:
        """What a tensor is made of, through nodes that only move rows and the given ones."""
        for _ in range(len(self._makers)):
            node = self._makers.get(name)
            if node is None or node.kind not in {"Reshape", "Gather", "Transpose", *kinds}:
                break
            name = node.inputs[0]
        return name

    def _layer(self, node: Node) -> Layer:
        plain = node.attributes.get("alpha", 1.0) == node.attributes.get("beta", 1.0) == 1.0
        require(plain and not node.attributes.get("transA"), "a layer is not a plain product and a bias")
        weight_maker = self._makers.get(node.inputs[1])
        if weight_maker is not None and weight_maker.kind == "DequantizeLinear":
            return self._byte_layer(node, weight_maker)
        weight = self._constants[node.inputs[1]]
        weight = weight if node.attributes.get("transB") else weight.T
        bias = self._constants[node.inputs[2]] if len(node.inputs) > 2 else np.zeros(len(weight), np.float32)
        return Layer(node.inputs[0], weight.astype(np.float32), bias.astype(np.float32))

    def _byte_layer(self, node: Node, weight_maker: Node) -> Layer:
        restored = self._makers[node.inputs[0]]
        lowered = self._makers[restored.inputs[0]] if restored.kind == "DequantizeLinear" else restored
        require(lowered.kind == "QuantizeLinear", "the input of a layer in bytes is not lowered to bytes")
        scale, zero = (self._constants[name] for name in lowered.inputs[1:3])
        stored, scales = self._constants[weight_maker.inputs[0]], self._constants[weight_maker.inputs[1]]
        zeros = self._constants[weight_maker.inputs[2]] if len(weight_maker.inputs) > 2 else np.zeros(1)
        plain = not zeros.any() and not node.attributes.get("transB") and stored.ndim == 2
        laid_out = plain and scale.size == 1 and zero.dtype == np.uint8 and stored.dtype == np.int8
        require(laid_out, "a layer in bytes is not laid out as claprt-export does it")
        outputs = stored.shape[1]
        sums = (float(scale.reshape(())) * scales.astype(np.float64)).reshape(outputs)
        counts = np.zeros(outputs, np.int64)
        if len(node.inputs) > 2:
            bias_maker = self._makers[node.inputs[2]]
            counts = self._constants[bias_maker.inputs[0]].astype(np.int64)
            same = np.allclose(self._constants[bias_maker.inputs[1]], sums, rtol=1e-5, atol=0)
            require(same, "a bias has another scale than the sums that it is added to")
        return Layer(
            lowered.inputs[0],
            stored.T,
            counts.reshape(outputs),
            sums,
            float(scale.reshape(())),
            int(zero.reshape(())),
        )

    def _norm(self, node: Node) -> tuple[Array, Array]:
        epsilon, axis = node.attributes.get("epsilon", 1e-5), node.attributes.get("axis", -1)
        known = isinstance(epsilon, float) and abs(epsilon - 1e-5) < 1e-9 and axis == -1
        require(known, "a normalisation has another epsilon than 1e-5, or another axis than the last")
        weight, bias = (self._constants[name].astype(np.float64) for name in node.inputs[1:3])
        return weight, bias

    # --------------------------------------------------------------------------------------------------------- tower

    def packed(self, sha256: str) -> bytes:
        """The whole file."""
        frames = self._put_front()
        fused = self._peek() != "LayerNormalization"
        patch, patch_norm, fusion = self._front_layers(fused)
        dim = patch.outputs
        self._out.put_layer(patch)
        self._out.put_norm(patch_norm)
        for layer in fusion:
            self._out.put_layer(layer)
        depths, heads = list[int](), list[int]()
        for stage in range(_STAGES):
            depth, of_stage = self._put_stage(dim << stage)
            depths.append(depth)
            heads.append(of_stage)
        joint = self._put_tail(dim << _STAGES - 1)
        require(self._place == len(self._walk), f"the graph goes on with a {self._peek()}")
        width = dim // max(heads[0], 1)
        known = width in _HEAD_WIDTHS and dim % 16 == 0
        known = known and all(count * width == dim << stage for stage, count in enumerate(heads))
        require(known, f"it has {dim} channels and {heads} heads; heads must be one of {_HEAD_WIDTHS} wide, everywhere")
        known = dim <= _MOST_CHANNELS and min(depths) > 0 and max(depths) <= _MOST_BLOCKS and heads[-1] <= _MOST_HEADS
        known = known and joint % 32 == 0 and joint <= _MOST_DIMENSIONS and frames <= _MOST_FRAMES
        sizes = f"{dim} channels, {depths} blocks, {heads} heads, {frames} frames and vectors of {joint}"
        require(known, f"{sizes} are beyond the sizes of published towers")
        return self._out.finished(
            Header(
                graph_sha256=sha256, dim=dim, frames=frames, views=4 if fused else 1, joint=joint, head_width=width,
                depths=tuple(depths), heads=tuple(heads),
            )
        )  # fmt: skip

    def _put_front(self) -> int:
        """Normalisation of log-mels and resize; gives the frames of a log-mel."""
        resize = self._next("MatMul")
        add = self._makers[resize.inputs[1]]
        multiply = self._makers[add.inputs[0]]
        matrix = self._constants[resize.inputs[0]]
        matrix = matrix.reshape(matrix.shape[-2:])
        require(add.kind == "Add" and multiply.kind == "Mul", "the image is normalised in another way")
        require(matrix.shape[0] == _IMAGE_ROWS, f"the image has {matrix.shape[0]} rows instead of {_IMAGE_ROWS}")
        for values in (self._constants[multiply.inputs[1]], self._constants[add.inputs[1]]):
            require(values.size == _MELS, f"a log-mel has {values.size} mel bins instead of {_MELS}")
            self._out.put(values.reshape(_MELS), "<f4")
        frames = matrix.shape[1]
        first = np.minimum(np.argmax(matrix != 0, axis=1), frames - 4)
        taps = np.take_along_axis(matrix, first[:, None] + np.arange(4), axis=1)
        few = np.count_nonzero(matrix) == np.count_nonzero(taps)
        require(few, "a row of the image is made of more than four frames")
        self._out.put(first, "<i4")
        self._out.put(taps, "<f4")
        self._first_gemm = self._next("Gemm")
        return int(frames)

    def _front_layers(self, fused: bool) -> tuple[Layer, tuple[Array, Array], list[Layer]]:
        patch = self._layer(self._first_gemm)
        fusion: list[Layer] = []
        if fused:
            local = self._layer(self._next("Gemm"))
            overall_down = self._layer(self._next("Gemm"))
            self._skip("Relu")
            overall_up = self._layer(self._next("Gemm"))
            local_down = self._layer(self._next("Gemm"))
            self._skip("Relu")
            local_up = self._layer(self._next("Gemm"))
            self._skip("Sigmoid", "Where")
            fusion = [local, local_down, local_up, overall_down, overall_up]
            sizes = (local.inputs, local_down.inputs, local_up.outputs)
            require(sizes == (48, patch.outputs, patch.outputs), "the fusion of views has other sizes")
        require(patch.inputs == 16, "the patches are not of 4 x 4 pixels")
        in_floats = not any(layer.in_bytes for layer in (patch, *fusion))
        require(in_floats, "a layer before the first block is in bytes")
        return patch, self._norm(self._next("LayerNormalization")), fusion

    def _put_stage(self, channels: int) -> tuple[int, int]:
        """The blocks of a stage and the merging after it; gives their number and that of the heads."""
        depth, heads = 0, 0
        while self._peek() == "LayerNormalization":
            node = self._walk[self._place]
            size = self._constants[node.inputs[1]].size
            if size == 4 * channels:
                self._place += 1
                merging = self._layer(self._next("Gemm"))
                self._check_fed(merging, node)
                self._out.put_norm(self._norm(node), merging)
                self._out.put_layer(merging)
                return depth, heads
            if self._place + 1 < len(self._walk) and self._is_end():
                return depth, heads
            found = self._put_block(channels)
            require(heads in (0, found), "the blocks of a stage have different numbers of heads")
            depth, heads = depth + 1, found
        return depth, heads

    def _is_end(self) -> bool:
        """Whether the next normalisation is the last: two products and a ReLU follow it."""
        kinds = [node.kind for node in self._walk[self._place :]]
        return kinds == ["LayerNormalization", "Gemm", "Relu", "Gemm"]

    def _check_fed(self, layer: Layer, norm: Node) -> None:
        fed = self._source(layer.source) == norm.outputs[0]
        require(fed, "a layer takes something else than the normalisation before it")

    def _put_block(self, channels: int) -> int:
        norm = self._next("LayerNormalization")
        query, key, value = (self._layer(self._next("Gemm")) for _ in range(3))
        for layer in (query, key, value):
            self._check_fed(layer, norm)
            same = (layer.in_bytes, layer.input_scale, layer.input_zero) == (
                query.in_bytes, query.input_scale, query.input_zero,
            )  # fmt: skip
            same = same and (layer.inputs, layer.outputs) == (channels, channels)
            require(same, f"the attention of a block of {channels} channels has other layers")
        self._skip("MatMul")
        softmax = self._next("Softmax")
        scores = self._constants[self._makers[softmax.inputs[0]].inputs[1]]
        self._skip("MatMul")
        projection = self._layer(self._next("Gemm"))
        mlp_norm = self._next("LayerNormalization")
        up = self._layer(self._next("Gemm"))
        self._check_fed(up, mlp_norm)
        gelu = self._next("Gelu")
        down = self._layer(self._next("Gemm"))
        exact = gelu.attributes.get("approximate", b"none") == b"none" and self._source(down.source) == gelu.outputs[0]
        require(exact, "an MLP is not two layers with an exact GELU between them")
        sizes = (up.inputs, up.outputs, down.outputs, projection.outputs)
        known = sizes == (channels, 4 * channels, channels, channels)
        require(known, f"the layers of a block of {channels} channels have other sizes")
        self._out.put_norm(self._norm(norm), query)
        self._out.put_layer(query, float(np.log2(np.e)))  # powers of two instead of e in the softmax
        self._out.put_layer(key)
        self._out.put_layer(value)
        heads = self._out.put_scores(scores)
        self._out.put_lowering(projection)
        self._out.put_layer(projection)
        self._out.put_norm(self._norm(mlp_norm), up)
        self._out.put_layer(up)
        self._out.put_lowering(down)
        self._out.put_layer(down)
        return heads

    def _put_tail(self, channels: int) -> int:
        self._out.put_norm(self._norm(self._next("LayerNormalization")))
        first = self._layer(self._next("Gemm"))
        self._skip("Relu")
        second = self._layer(self._next("Gemm"))
        joint = first.outputs
        sizes = (first.inputs, second.inputs, second.outputs)
        known = not (first.in_bytes or second.in_bytes) and sizes == (channels, joint, joint)
        require(known, "the projection head has other layers")
        for layer in (first, second):
            self._out.put(layer.weight, "<f4")
            self._out.put(layer.bias, "<f4")
        return joint
