"""The layout of packed weights: a header, then arrays in a fixed order, each aligned to 64 bytes.

It is that of `native/src/packed_file.cpp`, which reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from claprt.arrays import Array
from claprt.engines.native.constants import require

FORMAT = 2
"""Version of the layout."""
_MAGIC = b"CLAPRTNT"
_HEADER = struct.Struct("<8sIIQ32s5i4i4i5i")
HEADER_BYTES = _HEADER.size
_ALIGNMENT = 64
_TOKENS = 64
_BLOCK_OUTPUTS, _BLOCK_INPUTS = 16, 64
"""Of the blocks that weights in bytes are divided into."""
_LOWEST_SCORE = -1e4
"""Scores below that are 0 after a softmax as well, and stay within float32 when scores are added to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a packed file states before its weights."""

    format: int = FORMAT
    graph_sha256: str
    """Of the graph that was packed, in hexadecimal."""
    dim: int
    """Channels of the first stage."""
    frames: int
    views: int
    joint: int
    """Length of an embedding."""
    head_width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]


def read_header(content: bytes) -> Header | None:
    """The header of a packed file, from its first bytes at least; None where it is not one."""
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        return None
    _, version, _, _, digest, *sizes = _HEADER.unpack_from(content)
    dim, frames, views, joint, width = sizes[:5]
    return Header(
        format=version, graph_sha256=digest.hex(), dim=dim, frames=frames, views=views, joint=joint, head_width=width,
        depths=tuple(sizes[5:9]), heads=tuple(sizes[9:13]),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer: weight [outputs, inputs], bias [outputs], and in bytes the scale and zero point of its input."""

    source: str
    weight: Array
    bias: Array
    scales: Array | None = None
    """Of the sums of products [outputs], in bytes."""
    input_scale: float = 1.0
    input_zero: int = 0

    @property
    def inputs(self) -> int:
        """Channels that it takes."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Channels that it gives."""
        return int(self.weight.shape[0])

    @property
    def in_bytes(self) -> bool:
        """Whether its weights are bytes."""
        return self.scales is not None


def weight_blocks(weight: Array) -> Array:
    """Weights [outputs, inputs] as they are multiplied: [outputs / 16, inputs / 64, 16, 64], zeros after the last input."""
    outputs, inputs = weight.shape
    blocks = -(-inputs // _BLOCK_INPUTS)
    padded = np.zeros((outputs, blocks * _BLOCK_INPUTS), weight.dtype)
    padded[:, :inputs] = weight
    return padded.reshape(outputs // _BLOCK_OUTPUTS, _BLOCK_OUTPUTS, blocks, _BLOCK_INPUTS).transpose(0, 2, 1, 3)


class Writer:
    """The file as it is written."""

    def __init__(self) -> None:
        self._out = bytearray(_HEADER.size)

    def finished(self, header: Header) -> bytes:
        """The whole file."""
        self._out[: _HEADER.size] = _HEADER.pack(
            _MAGIC, header.format, _HEADER.size, len(self._out), bytes.fromhex(header.graph_sha256),
            header.dim, header.frames, header.views, header.joint, header.head_width,
            *header.depths, *header.heads, *[0] * 5,
        )  # fmt: skip
        return bytes(self._out)

    def put(self, values: Array | Iterable[float], dtype: str) -> None:
        """Append an array [...] in C order, as this dtype."""
        self._out += np.ascontiguousarray(values, dtype).tobytes()
        self._out += bytes(-len(self._out) % _ALIGNMENT)

    def put_norm(self, norm: tuple[Array, Array], layer: Layer | None = None) -> None:
        """Append weight and bias [channels] of a normalisation, in the scale and zero point of the layer that takes it."""
        scale, zero = (layer.input_scale, layer.input_zero) if layer is not None and layer.in_bytes else (1.0, 0)
        self.put(norm[0] / scale, "<f4")
        self.put(norm[1] / scale + zero, "<f4")

    def put_layer(self, layer: Layer, factor: float = 1.0) -> None:
        """Append a layer whose outputs are multiplied by a factor."""
        outputs, inputs = layer.weight.shape
        rows = _BLOCK_OUTPUTS if layer.in_bytes else 4
        divides = outputs % rows == 0 and inputs % 4 == 0
        require(divides, f"a layer has {inputs} inputs and {outputs} outputs, which are not multiples of 4 and {rows}")
        self.put((int(layer.in_bytes), inputs, outputs), "<i4")
        if layer.scales is not None:
            start = layer.bias - layer.input_zero * layer.weight.astype(np.int64).sum(1)
            require(bool(np.abs(start).max() < 1 << 31), "a bias and a zero point exceed 32 bits")
            self.put(start, "<i4")
            self.put(layer.scales * factor, "<f4")
            self.put(weight_blocks(layer.weight), "i1")
        else:
            self.put(layer.bias * factor, "<f4")
            self.put((layer.weight * factor).reshape(outputs // 4, 4, inputs).transpose(0, 2, 1), "<f4")

    def put_lowering(self, layer: Layer) -> None:
        """Append the scale and zero point of a layer's input."""
        self.put((1 / layer.input_scale, layer.input_zero), "<f4")

    def put_scores(self, scores: Array) -> int:
        """Bias and mask [windows, heads, query, key], each pattern of windows once and transposed; gives the heads."""
        windows, heads, queries, keys = scores.shape
        require(queries == keys == _TOKENS, f"a window has {queries} tokens instead of {_TOKENS}")
        known: dict[bytes, int] = {}
        which = [known.setdefault(window.tobytes(), len(known)) for window in scores]
        patterns = np.stack([scores[which.index(pattern)] for pattern in range(len(known))])
        self.put((len(patterns), windows), "<i4")
        self.put(which, "<i4")
        self.put(np.maximum(patterns.transpose(0, 1, 3, 2) * np.log2(np.e), _LOWEST_SCORE), "<f4")
        return int(heads)
