"""Runs of a graph whose inputs and outputs stay on the device: IO binding, and CUDA graphs where they are asked for.

A plain run allocates on the device and copies in both directions anew each time. Here every shape of inputs has its
buffers once; a run copies into them, computes, and copies one small output back. With CUDA graphs (`CLAPRT_CUDA_GRAPHS=1`)
the kernels of a shape are recorded once and launched together, which needs exactly such fixed buffers, and one thread for
all runs of a session. Only graphs of a changing batch are recorded: a text tower would be recorded anew for every length.
And only under `cuda`: TensorRT's provider keeps a single recording, and would replay it for every shape.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from claprt.bundle.graphs import GraphFacts, TensorFacts
from claprt.engines.graph_cache import GraphCache

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]
CUDA_GRAPHS_VARIABLE = "CLAPRT_CUDA_GRAPHS"
_KEPT = 16
"""Shapes whose buffers are kept: a handful of batches, and texts of a few lengths."""
_RECORDED = 16
"""Shapes that are recorded, the first that come. onnxruntime never gives a recording up, nor may its buffers go."""
_NOT_RECORDED = -1
"""onnxruntime's number of a run that is neither recorded nor replayed."""


def cuda_graphs_wanted() -> bool:
    """Whether `CLAPRT_CUDA_GRAPHS` asks for CUDA graphs."""
    return os.environ.get(CUDA_GRAPHS_VARIABLE, "0") not in ("", "0")


def recorded(facts: GraphFacts) -> bool:
    """Whether this graph's kernels are to be recorded: that is asked for, and its batch is all that changes."""
    axes = {axis for tensor in facts.inputs for axis in tensor.shape if isinstance(axis, str)}
    return cuda_graphs_wanted() and axes <= {"batch"}


def tensorrt_cache(cache: GraphCache | None, facts: GraphFacts, profiles: Mapping[str, str]) -> dict[str, str]:
    """TensorRT's options that keep built engines for the next process; none where there is no cache to keep them in.

    onnxruntime names engines by the nodes of a graph, not by its weights, so every graph has a folder of its own.
    """
    if cache is None:
        return {}
    key = repr((facts.sha256, sorted(profiles.items())))
    folder = cache.folder / "tensorrt" / hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        cache.make(folder)
    except OSError:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


@dataclass(frozen=True, slots=True)
class _Buffers:
    binding: Any
    inputs: dict[str, Any]
    output: Any
    options: Any


class BoundRuns:
    """Runs of one session, one at a time."""

    def __init__(self, runtime: Any, session: Any, facts: GraphFacts, device: str, *, graphs: bool = False) -> None:
        """Takes `onnxruntime` itself, the session, what its graph is, `cuda` or `cpu`, and whether shapes are recorded."""
        self._runtime, self._session, self._facts, self._device = runtime, session, facts, device
        self._buffers: OrderedDict[Shapes, _Buffers] = OrderedDict()
        self._recorded: dict[Shapes, _Buffers] = {}
        self._graphs = graphs
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="claprt-graphs") if graphs else None

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """The graph's one output. With recordings it is computed in the one thread that has made them."""
        if self._thread is not None:
            return self._thread.submit(self._run, feeds).result()
        return self._run(feeds)

    def _run(self, feeds: Mapping[str, Array]) -> Array:
        buffers = self._held(tuple(feeds[tensor.name].shape for tensor in self._facts.inputs))
        for name, value in buffers.inputs.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        self._session.run_with_iobinding(buffers.binding, buffers.options)
        return np.array(buffers.output.numpy())

    def _held(self, shapes: Shapes) -> _Buffers:
        """The buffers of a shape, made if it has none."""
        if shapes in self._recorded:
            return self._recorded[shapes]
        if self._graphs and len(self._recorded) < _RECORDED:
            buffers = self._recorded[shapes] = self._new(shapes, len(self._recorded) + 1)
            return buffers
        buffers = self._buffers.get(shapes)
        if buffers is None:
            buffers = self._buffers[shapes] = self._new(shapes, _NOT_RECORDED)
            if len(self._buffers) > _KEPT:
                self._buffers.popitem(last=False)
        self._buffers.move_to_end(shapes)
        return buffers

    def _new(self, shapes: Shapes, graph: int) -> _Buffers:
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
            options.add_run_config_entry("gpu_graph_id", str(graph))
        return _Buffers(binding, inputs, output, options)

    def _value(self, shape: tuple[int, ...], tensor: TensorFacts) -> Any:
        return self._runtime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(tensor.dtype), self._device, 0)
