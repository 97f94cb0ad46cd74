"""ONNX files written field by field, as protobuf lays them out, without the onnx package.

A message that follows another of its type is merged with it: repeated fields are added, others replaced. So fields that
are appended to a file change its model. The numbers of fields are those of `onnx.proto`; `tests/export/test_toy.py` reads
what is written here with the onnx package.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a message: a whole number from 0, a text, or bytes, which may be a message."""
    if isinstance(value, int):
        return _whole(number << 3) + _whole(value)
    content = value.encode() if isinstance(value, str) else value
    return _whole(number << 3 | 2) + _whole(len(content)) + content


def _whole(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def model(graph: bytes, *, ir_version: int = 10, opsets: dict[str, int] | None = None) -> bytes:
    """A ModelProto."""
    domains = {"": 18} if opsets is None else opsets
    imports = b"".join(field(8, field(1, domain) + field(2, version)) for domain, version in domains.items())
    return field(1, ir_version) + field(7, graph) + imports


def node(operator: str, inputs: Sequence[str] = (), outputs: Sequence[str] = (), attributes: bytes = b"") -> bytes:
    """A GraphProto with this NodeProto."""
    names = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    return field(1, names + field(4, operator) + attributes)


def attribute(name: str, *, tensor: bytes = b"", graph: bytes = b"") -> bytes:
    """A NodeProto with this AttributeProto, whose value is a TensorProto or a GraphProto."""
    value = field(5, tensor) + field(20, 4) if tensor else field(6, graph) + field(20, 5)
    return field(5, field(1, name) + value)


def initializer(name: str, value: NDArray[np.float32]) -> bytes:
    """A GraphProto with this float32 weight."""
    dims = b"".join(field(1, size) for size in value.shape)
    return field(5, dims + field(2, 1) + field(8, name) + field(9, value.astype("<f4").tobytes()))


def end(name: str, shape: Sequence[int | str], *, output: bool = False) -> bytes:
    """A GraphProto with this float32 input or output."""
    axes = b"".join(field(1, field(2 if isinstance(axis, str) else 1, axis)) for axis in shape)
    return field(12 if output else 11, field(1, name) + field(2, field(1, field(1, 1) + field(2, axes))))


def outside(file: str | None = "weights.bin") -> bytes:
    """A TensorProto that is said to be in another file; None names none."""
    entry = b"" if file is None else field(13, field(1, "location") + field(2, file))
    return field(1, 1) + field(2, 1) + field(8, "elsewhere") + field(14, 1) + entry


IN_ANOTHER_FILE = {
    "initializer": field(7, field(5, outside())),
    "without a name": field(7, field(5, outside(None))),
    "attribute": field(7, node("Constant", outputs=["more"], attributes=attribute("value", tensor=outside()))),
    "branch": field(7, node("If", ["c"], ["more"], attribute("then_branch", graph=field(5, outside())))),
    "function": field(25, field(1, "f") + field(7, field(4, "Constant") + attribute("value", tensor=outside()))),
    "sparse": field(7, field(15, field(1, outside()))),
}
"""Every place of a model where a weight can be in another file, to be appended to one."""
