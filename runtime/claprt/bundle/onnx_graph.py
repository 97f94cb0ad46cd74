"""Nodes and constants of an ONNX file, read without the onnx package: as much as it takes to pack a graph's weights.

Source: `onnx.proto` of ONNX 1.19, fields by number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from claprt.arrays import Array
from claprt.bundle.onnx_file import read_field, read_varint

_DTYPES: Mapping[int, str] = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8",
}  # fmt: skip
Attribute = int | float | bytes | tuple[int, ...]


@dataclass(slots=True)
class Node:
    """One operation."""

    kind: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(slots=True)
class OnnxGraph:
    """The main graph of a model: its nodes in order, and its constants by name."""

    nodes: list[Node]
    constants: dict[str, Array]


def read_onnx_graph(content: bytes) -> OnnxGraph:
    """Read the content of a file whose weights are all in it.

    Raises:
        ValueError: If it is not laid out as an ONNX file, or a constant is of another type or size than it states.
    """
    graph = OnnxGraph([], {})
    for number, place, end, _ in _fields(content, 0, len(content)):
        if number != 7:  # of ModelProto: the graph
            continue
        for inner, start, stop, _ in _fields(content, place, end):
            if inner == 1:
                graph.nodes.append(_node(content, start, stop))
            elif inner == 5:
                name, values = _tensor(content, start, stop)
                graph.constants[name] = values
    return graph


def _fields(content: bytes, place: int, end: int) -> Iterator[tuple[int, int, int, int | None]]:
    """Number, begin and end of every field, and its value if it is a single integer."""
    while place < end:
        tag, place = read_varint(content, place, end)
        start, value, place = read_field(content, place, end, tag & 7)
        yield tag >> 3, start, place, None if tag & 7 else value


def _node(content: bytes, place: int, end: int) -> Node:
    node = Node()
    for number, start, stop, _ in _fields(content, place, end):
        if number == 1:
            node.inputs.append(_text(content, start, stop))
        elif number == 2:
            node.outputs.append(_text(content, start, stop))
        elif number == 4:
            node.kind = _text(content, start, stop)
        elif number == 5:
            name, value = _attribute(content, start, stop)
            node.attributes[name] = value
    return node


def _attribute(content: bytes, place: int, end: int) -> tuple[str, Attribute]:
    name, value, several = "", b"", list[int]()
    found: Attribute = value
    for number, start, stop, whole in _fields(content, place, end):
        if number == 1:
            name = _text(content, start, stop)
        elif number == 2:
            found = float(struct.unpack("<f", content[start:stop])[0])
        elif number == 3:
            found = _signed(whole or 0)
        elif number == 4:
            found = content[start:stop]
        elif number == 8:
            several.extend(_integers(content, start, stop, whole))
    return name, tuple(several) if several else found


def _tensor(content: bytes, place: int, end: int) -> tuple[str, Array]:
    name, kind, shape, listed = "", 0, list[int](), list[int]()
    raw, floats = b"", b""
    for number, start, stop, whole in _fields(content, place, end):
        if number == 1:
            shape.extend(_integers(content, start, stop, whole))
        elif number == 2:
            kind = whole or 0
        elif number == 4:
            floats += content[start:stop]
        elif number in (5, 7):
            listed.extend(_integers(content, start, stop, whole))
        elif number == 8:
            name = _text(content, start, stop)
        elif number == 9:
            raw = content[start:stop]
    return name, _shaped(name, _values(name, kind, raw or floats, listed), shape)


def _values(name: str, kind: int, raw: bytes, listed: list[int]) -> Array:
    """The numbers of a tensor, whose integers may be listed one by one.

    Raises:
        ValueError: If it is of a type that is not read.
    """
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise ValueError(f"its constant {name!r} has the type {kind}, which is not read")
    if not listed:
        return np.frombuffer(raw, dtype)
    return np.array(listed, np.uint16).view("<f2") if dtype == "<f2" else np.array(listed).astype(dtype)


def _shaped(name: str, values: Array, shape: list[int]) -> Array:
    """The numbers in their shape.

    Raises:
        ValueError: If they are of another number.
    """
    if any(length < 0 for length in shape) or values.size != int(np.prod(shape, dtype=object)):
        raise ValueError(f"its constant {name!r} has {values.size} numbers and states the shape {shape}")
    return values.reshape(shape)


def _integers(content: bytes, start: int, stop: int, whole: int | None) -> list[int]:
    """A repeated integer field: a single number, or several packed into the field."""
    if whole is not None:
        return [_signed(whole)]
    found: list[int] = []
    while start < stop:
        value, start = read_varint(content, start, stop)
        found.append(_signed(value))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(content: bytes, start: int, stop: int) -> str:
    return content[start:stop].decode("utf-8", errors="replace")
