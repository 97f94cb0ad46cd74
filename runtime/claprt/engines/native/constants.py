"""Constants of a graph, with those that `claprt_export.graphs.compress_constants` stores in fewer bytes."""

from __future__ import annotations

import numpy as np

from claprt.arrays import Array
from claprt.bundle.onnx_graph import Attribute, Node, OnnxGraph


class PackingError(ValueError):
    """A graph that is not one of the audio tower in int8 that the native engine runs."""


def require(holds: bool, otherwise: str) -> None:
    """Refuse a graph of which something does not hold.

    Raises:
        PackingError: With what is said otherwise.
    """
    if not holds:
        raise PackingError(otherwise)


class Constants:
    """The constants of a graph by name."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._values = graph.constants
        self._restorable: dict[str, bool] = {}
        self.makers = {name: node for node in graph.nodes for name in node.outputs}
        """The node that gives each tensor."""

    def __contains__(self, name: str) -> bool:
        """Whether a tensor is constant."""
        if name in self._values:
            return True
        if name not in self._restorable:
            node = self.makers.get(name)
            self._restorable[name] = False  # of what is made of itself
            self._restorable[name] = (
                node is not None and node.kind in _RESTORING and all(one in self for one in node.inputs)
            )
        return self._restorable[name]

    def __getitem__(self, name: str) -> Array:
        """A constant, or what the nodes that restore it make of it."""
        if name not in self._values:
            node = self.makers[name]
            require(node.kind in _RESTORING, f"{name!r} is not a constant")
            self._values[name] = _restored(node, [self[one] for one in node.inputs])
        return self._values[name]


def _number(attributes: dict[str, Attribute], name: str, default: int) -> int:
    value = attributes.get(name, default)
    require(isinstance(value, int), f"the attribute {name} is not an integer")
    return value if isinstance(value, int) else default


def _scattered(node: Node, inputs: list[Array]) -> Array:
    result = inputs[0].copy()
    np.put_along_axis(result, inputs[1].astype(np.int64), inputs[2], axis=_number(node.attributes, "axis", 0))
    return result


def _restored(node: Node, inputs: list[Array]) -> Array:
    """What a node makes of constants; the nodes that `claprt_export.graphs.compress_constants` writes."""
    if node.kind == "Cast":
        kinds = {1: np.float32, 6: np.int32, 7: np.int64, 10: np.float16}
        return inputs[0].astype(kinds[_number(node.attributes, "to", 0)])
    if node.kind == "ConstantOfShape":
        require("value" not in node.attributes, "a constant is made of another number than zero")
        return np.zeros(tuple(int(length) for length in inputs[0]), np.float32)
    if node.kind == "ScatterElements":
        return _scattered(node, inputs)
    if node.kind == "Transpose":
        order = node.attributes["perm"]
        return inputs[0].transpose(order) if isinstance(order, tuple) else inputs[0].T
    return inputs[0] * inputs[1] if node.kind == "Mul" else inputs[0] + inputs[1]


_RESTORING = frozenset({"Cast", "ConstantOfShape", "ScatterElements", "Transpose", "Mul", "Add"})
