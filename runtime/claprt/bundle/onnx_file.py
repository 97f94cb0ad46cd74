"""What is read of an ONNX file without the onnx package: whether its weights are all in it.

A graph may name other files that hold its weights. `claprt-export` never writes such graphs, the manifest would not list
those files, and so nothing would compare them with what was exported: such graphs are refused. The file is walked field by
field, as protobuf lays it out, over whatever can hold a tensor; the weights themselves are stepped over.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

_MOST_FIELDS = 1_000_000
"""Fields that are looked at; the text tower of RoBERTa-base has some thousand."""
_DEEPEST = 64
"""Graphs within graphs."""

# Field numbers of onnx.proto that lead to a tensor, by message; 0 for the fields that say that a tensor is elsewhere.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING = range(1, 9)
_LEADS: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _TENSOR: {13: 0, 14: 0},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}


def check_self_contained(path: Path) -> None:
    """Check that all weights of a graph are in its file.

    Raises:
        ValueError: If it names weights in another file, or is not laid out as an ONNX file.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _walk(content)


def _walk(content: mmap.mmap) -> None:
    todo, fields = [(0, len(content), _MODEL, 0)], 0
    while todo:
        place, end, message, depth = todo.pop()
        leads = _LEADS[message]
        if depth > _DEEPEST:
            raise ValueError(f"it has graphs within graphs more than {_DEEPEST} deep")
        while place < end:
            fields += 1
            if fields > _MOST_FIELDS:
                raise ValueError(f"it has more than {_MOST_FIELDS} fields")
            tag, place = read_varint(content, place, end)
            number, kind = tag >> 3, tag & 7
            start, value, place = read_field(content, place, end, kind)
            lead = leads.get(number)
            if lead == 0 and (kind == 2 or value):
                raise ValueError("it keeps weights in another file, which nothing would compare with what was exported")
            if lead and kind == 2:
                todo.append((start, place, lead, depth + 1))


def read_field(content: mmap.mmap | bytes, place: int, end: int, kind: int) -> tuple[int, int, int]:
    """Where the content of a field begins, its value if it is a number, and where it ends.

    Args:
        content: Of the file.
        place: Where the field's content or its length begins, behind its tag.
        end: Of the message.
        kind: Of the field, the low three bits of its tag.

    Raises:
        ValueError: If the kind of the field is unknown, or the field ends beyond the end.
    """
    value = 0
    if kind == 0:
        start = place
        value, place = read_varint(content, place, end)
    elif kind == 2:
        size, start = read_varint(content, place, end)
        place = start + size
    elif kind in (1, 5):
        start, place = place, place + (8 if kind == 1 else 4)
    else:
        raise ValueError(f"it is not an ONNX file: it has a field of the unknown kind {kind}")
    if place > end:
        raise ValueError("it is not an ONNX file: it breaks off, or a field of it ends beyond its end")
    return start, value, place


def read_varint(content: mmap.mmap | bytes, place: int, end: int) -> tuple[int, int]:
    """A number of up to ten bytes of seven bits, and where it ends.

    Raises:
        ValueError: If it has no end.
    """
    first = content[place] if place < end else 128
    if first < 128:
        return first, place + 1
    value = 0
    for position, byte in enumerate(content[place : min(place + 10, end)]):
        value |= (byte & 127) << 7 * position
        if byte < 128:
            return value, place + position + 1
    raise ValueError("it is not an ONNX file: it breaks off, or a number in it has no end")
