"""In which versions of ONNX a file is written, read without the onnx package, which servers and clients do not have.

Only the outermost fields of the protobuf message are walked; the graph itself is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

_NUMBER, _BYTES = 0, 2  # protobuf's wire types, of which ONNX's messages use no others here
_IR_VERSION, _OPSET_IMPORT = 1, 8  # fields of ModelProto
_DOMAIN, _VERSION = 1, 2  # fields of OperatorSetIdProto


def onnx_versions(path: Path) -> tuple[int, dict[str, int]]:
    """Version of the file format, and of each set of operators by its domain; "" is ONNX's own.

    Raises:
        ValueError: it is not an ONNX file.
    """
    fields: list[tuple[int, int, int]] = []
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            fields = list(_fields(data, 0, len(data)))
            opsets = [_opset(data, start, end) for number, start, end in fields if number == _OPSET_IMPORT]
    except IndexError as error:
        raise ValueError(f"{path.name} ends too early for an ONNX file") from error
    ir_version = next((value for number, value, _ in fields if number == _IR_VERSION), 0)
    if not ir_version or not opsets:
        raise ValueError(f"{path.name} is not an ONNX file")
    return ir_version, dict(opsets)


def _opset(data: mmap, start: int, end: int) -> tuple[str, int]:
    found = {number: (first, last) for number, first, last in _fields(data, start, end)}
    first, last = found.get(_DOMAIN, (0, 0))
    return data[first:last].decode(), found.get(_VERSION, (0, 0))[0]


def _fields(data: mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number of each field, and its value and 0, or where its bytes begin and end.

    Raises:
        ValueError: If a field is of a kind that ONNX files do not have.
    """
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        value, at = _varint(data, at)
        if kind == _NUMBER:
            yield number, value, 0
        elif kind == _BYTES and at + value <= end:
            yield number, at, at + value
            at += value
        else:
            raise ValueError(f"field {number} is none that an ONNX file has")


def _varint(data: mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
