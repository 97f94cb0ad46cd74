"""Runs of a graph whose inputs and outputs stay on the device.

A plain run allocates on the device and copies in both directions anew each time. Here each shape of inputs has its buffers
once; a run copies into them, computes, and copies one small output back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from claprt.arrays import Array
from claprt.bundle.graphs import GraphInfo, TensorSpec

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Buffers:
    binding: Any
    inputs: dict[str, Any]
    output: Any


class IoBindingRunner:
    """Runs one session with bound buffers, one run at a time."""

    def __init__(self, runtime: Any, session: Any, facts: GraphInfo, device: str, *, max_shapes: int = 16) -> None:
        """Bind nothing yet; buffers are made for the shapes that come.

        Args:
            runtime: The module `onnxruntime`.
            session: Its session of the graph.
            facts: Description of the graph.
            device: `cuda` or `cpu`.
            max_shapes: Shapes whose buffers are kept: a handful of batches, and texts of a few lengths.
        """
        self._runtime, self._session, self._facts, self._device = runtime, session, facts, device
        self._buffers: OrderedDict[Shapes, _Buffers] = OrderedDict()
        self._max_shapes = max_shapes

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """Run the graph and return its one output."""
        buffers = self._buffers_for(tuple(feeds[tensor.name].shape for tensor in self._facts.inputs))
        for name, value in buffers.inputs.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        self._session.run_with_iobinding(buffers.binding)
        return np.array(buffers.output.numpy())

    def _buffers_for(self, shapes: Shapes) -> _Buffers:
        if shapes not in self._buffers:
            self._buffers[shapes] = self._new_buffers(shapes)
            if len(self._buffers) > self._max_shapes:
                self._buffers.popitem(last=False)
        self._buffers.move_to_end(shapes)
        return self._buffers[shapes]

    def _new_buffers(self, shapes: Shapes) -> _Buffers:
        binding = self._session.io_binding()
        lengths: dict[str, int] = {}
        inputs: dict[str, Any] = {}
        for tensor, shape in zip(self._facts.inputs, shapes, strict=True):
            lengths |= {axis: length for axis, length in zip(tensor.shape, shape, strict=True) if isinstance(axis, str)}
            inputs[tensor.name] = self._value(shape, tensor)
            binding.bind_ortvalue_input(tensor.name, inputs[tensor.name])
        (stated,) = self._facts.outputs
        output = self._value(tuple(axis if isinstance(axis, int) else lengths[axis] for axis in stated.shape), stated)
        binding.bind_ortvalue_output(stated.name, output)
        return _Buffers(binding, inputs, output)

    def _value(self, shape: tuple[int, ...], tensor: TensorSpec) -> Any:
        return self._runtime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(tensor.dtype), self._device, 0)
