"""Runs of a graph whose inputs and outputs stay on the device: IO binding, and CUDA graphs where they are asked for.

A plain run allocates on the device and copies in both directions anew each time. Here every shape of inputs has its
buffers once; a run copies into them, computes, and copies one small output back. With CUDA graphs (`CLAPRT_CUDA_GRAPHS=1`)
the kernels of a shape are recorded once and launched together, which needs exactly such fixed buffers.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from claprt.graphs import GraphFacts, TensorFacts

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]
CUDA_GRAPHS_VARIABLE = "CLAPRT_CUDA_GRAPHS"
_KEPT = 16
"""Shapes whose buffers are kept: a handful of batches, and texts of a few lengths."""


def cuda_graphs_wanted() -> bool:
    """Whether `CLAPRT_CUDA_GRAPHS` asks for CUDA graphs."""
    return os.environ.get(CUDA_GRAPHS_VARIABLE, "0") not in ("", "0")


@dataclass(frozen=True, slots=True)
class _Buffers:
    binding: Any
    inputs: dict[str, Any]
    output: Any
    options: Any


class BoundRuns:
    """Runs of one session, one at a time."""

    def __init__(self, runtime: Any, session: Any, facts: GraphFacts, device: str, *, graphs: bool = False) -> None:
        """Takes `onnxruntime` itself, the session, what its graph is, and `cuda` or `cpu`."""
        self._runtime, self._session, self._facts, self._device = runtime, session, facts, device
        self._graphs = graphs
        self._buffers: OrderedDict[Shapes, _Buffers] = OrderedDict()
        self._recorded = 0

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """The graph's one output."""
        shapes = tuple(feeds[tensor.name].shape for tensor in self._facts.inputs)
        buffers = self._buffers.get(shapes)
        if buffers is None:
            buffers = self._buffers[shapes] = self._new(shapes)
            if len(self._buffers) > _KEPT:
                self._buffers.popitem(last=False)
        self._buffers.move_to_end(shapes)
        for name, value in buffers.inputs.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        self._session.run_with_iobinding(buffers.binding, buffers.options)
        return np.array(buffers.output.numpy())

    def _new(self, shapes: Shapes) -> _Buffers:
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
        options = self._runtime.RunOptions()
        if self._graphs:
            self._recorded += 1
            options.add_run_config_entry("gpu_graph_id", str(self._recorded))
        return _Buffers(binding, inputs, output, options)

    def _value(self, shape: tuple[int, ...], tensor: TensorFacts) -> Any:
        return self._runtime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(tensor.dtype), self._device, 0)
