"""A graph of the audio tower in the form that OpenVINO runs fastest: for one row, which is known when it is compiled.

The graph of a bundle takes any number of rows, and OpenVINO fuses little of that. Four changes, none of which changes the
function, let it fuse most of what is not a linear layer:

- the batch is 1, so every shape is known;
- attention has four axes instead of five: windows and batch are one, since the batch is 1;
- a normalisation and the quantisation that follows it have three axes, of which the first is 1;
- the resize of the time axis, a matrix with four numbers in each row, is a sum of four gathers.

OpenVINO has had wrong numbers where a normalisation, a reshape and a linear layer follow each other in int8
(benchmarks/LOG.md), and this form is near to that: it is run only where the export has compared its vectors
(`claprt.bundle.engine_forms.SingleForm`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from claprt._version import __version__
from claprt.arrays import Array

_WIDEST = 8
"""Most neighbours that an element of a resized axis may be a sum of."""
_ELEMENTWISE = frozenset({"Multiply", "Add", "Subtract", "Convert", "FakeQuantize"})
"""What a normalisation's scale and shift, and a quantisation, consist of."""

Model = Any
Node = Any
Output = Any
"""Classes of OpenVINO, whose types are untyped beyond their names."""


def form_digest() -> str:
    """The name of the form in keys of prepared graphs; it changes with this module."""
    try:
        return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    except OSError:  # in an archive
        return __version__


def to_single_form(model: Model) -> None:
    """Change a graph that was read, an `openvino.Model` whose inputs begin with the batch, for one row.

    Its inputs become [1, …] and its output [1, dim]; names and dtypes stay.

    Raises:
        RuntimeError: If the shapes of the changed graph do not fit together.
    """
    model.reshape(
        {port.any_name: [1, *(axis.get_length() for axis in list(port.partial_shape)[1:])] for port in model.inputs}
    )
    changes = {"Transpose": _join_leading_axes, "MVN": _in_three_axes, "MatMul": _as_gathers}
    for node in model.get_ordered_ops():
        if (change := changes.get(node.get_type_name())) is not None:
            change(node)
    model.validate_nodes_and_infer_types()


def _join_leading_axes(node: Node) -> None:
    """Give a transposition [batch, windows, a, b, c] that leaves its first two axes in place one axis for both.

    All that is between two of them follows: scores of attention, [windows or 1, heads, tokens, tokens], are added to what
    has as many windows.
    """
    order = _constant(node.input_value(1))
    if order is None or len(order) != 5 or order[0] != 0 or order[1] != 1:
        return
    source = node.input_value(0).get_node()
    if source.get_type_name() == "Reshape" and source.output(0).get_partial_shape().is_static:
        shape = list(source.output(0).get_partial_shape().to_shape())
        if len(shape) == 5:
            _replace(source.input(1), _integers(shape[0] * shape[1], *shape[2:]))
    _replace(node.input(1), _integers(0, *(axis - 1 for axis in order[2:])))


def _in_three_axes(node: Node) -> None:
    """Give a normalisation of [rows, channels], and what follows it up to a quantisation's end, [1, rows, channels]."""
    shape = node.input_value(0).get_partial_shape()
    if len(shape) != 2 or shape[1].is_dynamic:
        return
    last, quantised = node, False
    while len(takers := list(last.output(0).get_target_inputs())) == 1:
        taker = takers[0].get_node()
        if taker.get_type_name() not in _ELEMENTWISE:
            break
        last, quantised = taker, quantised or taker.get_type_name() == "FakeQuantize"
    if not quantised:
        return
    ops, channels, takers = _ops(), shape[1].get_length(), list(last.output(0).get_target_inputs())
    _replace(node.input(0), ops.reshape(node.input_value(0), _integers(1, -1, channels), special_zero=False).output(0))
    _replace(node.input(1), _integers(-1))
    back = ops.reshape(last.output(0), _integers(-1, channels), special_zero=False)
    for taker in takers:
        _replace(taker, back.output(0))


def _as_gathers(node: Node) -> None:
    """Give a product of a constant matrix with few neighbours in each row and [..., n, channels] as gathers."""
    attributes, matrix = node.get_attributes(), _constant(node.input_value(0))
    if matrix is None or attributes["transpose_a"] or attributes["transpose_b"]:
        return
    if matrix.ndim < 2 or matrix.size != matrix.shape[-2] * matrix.shape[-1]:
        return
    matrix = matrix.reshape(matrix.shape[-2:])
    filled = matrix != 0
    first = filled.argmax(1)
    width = int((matrix.shape[1] - filled[:, ::-1].argmax(1) - first).max())
    if width > min(_WIDEST, matrix.shape[1]):
        return
    ops, x = _ops(), node.input_value(1)
    places = np.minimum(first, matrix.shape[1] - width)[:, None] + np.arange(width)
    weights = np.take_along_axis(matrix, places, axis=1)
    total: Node = None
    for place, weight in zip(places.T, weights.T, strict=True):
        taken = ops.gather(x, _integers(*place), ops.constant(np.int64(-2)))
        part = ops.multiply(taken, ops.constant(np.ascontiguousarray(weight[:, None])))
        total = part if total is None else ops.add(total, part)
    for taker in node.output(0).get_target_inputs():
        _replace(taker, total.output(0))


def _constant(port: Output) -> Array | None:
    """The values of what is connected to an input; None where they are not constant."""
    node = port.get_node()
    return np.asarray(node.get_data()) if node.get_type_name() == "Constant" else None


def _integers(*values: int) -> Output:
    return _ops().constant(np.array(values, np.int64)).output(0)


def _replace(taker: Any, source: Output) -> None:
    taker.replace_source_output(source)


def _ops() -> Any:
    from openvino import opset13

    return opset13
