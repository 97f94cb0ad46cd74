"""TensorRT's shape profiles and engine folders, derived from the manifest.

An engine is built for a range of shapes: the smallest, the usual and the largest of each input. onnxruntime's provider, the
exporter's builder (`claprt_export.graphs.tensorrt`) and the check of Triton repositories use the same range.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from claprt.arrays import Array
from claprt.bundle.graphs import GraphInfo
from claprt.engines.graph_cache import GraphCache

MIN_TOKENS, USUAL_TOKENS = 3, 16
_KINDS = ("min", "opt", "max")

Shape = tuple[int, ...]
Shapes = tuple[Shape, Shape, Shape]
"""Smallest, usual and largest shape of an input."""


def shape_profile(graph: GraphInfo, *, max_batch: int, max_tokens: int) -> dict[str, Shapes]:
    """Range of shapes of each input of a graph, by its name.

    Example:
        For the log-mels of a bundle and a largest batch of 8: `{"log_mels": ((1, 1, 1001, 64), (4, 1, 1001, 64),
        (8, 1, 1001, 64))}`.
    """
    sizes = {"batch": (1, max(1, max_batch // 2), max_batch), "tokens": (MIN_TOKENS, USUAL_TOKENS, max_tokens)}

    def shape(axes: tuple[int | str, ...], kind: int) -> Shape:
        return tuple(axis if isinstance(axis, int) else sizes[axis][kind] for axis in axes)

    return {
        tensor.name: (shape(tensor.shape, 0), shape(tensor.shape, 1), shape(tensor.shape, 2)) for tensor in graph.inputs
    }


def profile_options(profile: Mapping[str, Shapes]) -> dict[str, str]:
    """Options of onnxruntime's TensorRT provider for a profile: `trt_profile_min_shapes`, `…_opt_…` and `…_max_…`."""
    return {
        f"trt_profile_{kind}_shapes": ",".join(f"{name}:{'x'.join(map(str, of[index]))}" for name, of in profile.items())
        for index, kind in enumerate(_KINDS)
    }


def parse_profile(options: Mapping[str, str]) -> dict[str, Shapes]:
    """Profile in options that `profile_options` or a person wrote; an empty shape where one is missing.

    Raises:
        ValueError: If a length is not a number.
    """
    shapes: list[dict[str, Shape]] = []
    for kind in _KINDS:
        entries = [entry.rpartition(":") for entry in options.get(f"trt_profile_{kind}_shapes", "").split(",")]
        shapes.append({name: tuple(map(int, dims.split("x"))) for name, _, dims in entries if name})
    least, usual, most = shapes
    return {name: (least.get(name, ()), usual.get(name, ()), most.get(name, ())) for name in {**least, **usual, **most}}


def engine_cache_options(cache: GraphCache | None, graph: GraphInfo, profile: Mapping[str, str]) -> dict[str, str]:
    """Provider options that keep built engines for the next process; none without a cache that can be written.

    onnxruntime names engines by the nodes of a graph, not by its weights, so each graph has a folder of its own.
    """
    if cache is None:
        return {}
    key = repr((graph.sha256, sorted(profile.items())))
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


_PROBE_ROWS = 2
_FIRST_WORD = 4
"""Token ids below are the marks of RoBERTa: beginning, padding, end, unknown."""


def probe_feeds(graph: GraphInfo, vocabulary: int) -> dict[str, Array]:
    """Fixed inputs of a tower, two rows that differ: an engine's answer to them shows whether it computes the graph.

    Args:
        graph: Of the tower.
        vocabulary: Tokens of the text tower; ids are below.

    Returns:
        By name: `log_mels` [2, views, frames, mels] float32 between -70 and -10 dB, `is_longer` [2, 1] bool; or
        `token_ids` and `attention_mask` [2, 16] int64.
    """
    sizes = {"batch": _PROBE_ROWS, "tokens": USUAL_TOKENS}
    feeds: dict[str, Array] = {}
    for tensor in graph.inputs:
        shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in tensor.shape)
        numbers = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)
        if tensor.dtype == "float32":
            feeds[tensor.name] = (30 * np.sin(0.1 * (numbers % 6007)) - 40).astype(np.float32)
        elif tensor.dtype == "bool":
            feeds[tensor.name] = numbers % 2 == 1
        elif tensor.name == "attention_mask":
            feeds[tensor.name] = np.ones(shape, np.int64)
        else:
            feeds[tensor.name] = np.minimum(_FIRST_WORD + numbers * 7919 % max(1, vocabulary - _FIRST_WORD), vocabulary - 1)
    return feeds


def error_log(tensorrt: Any) -> Any:
    """A logger of the module `tensorrt` or `tensorrt_rtx` that prints nothing and keeps errors as a list, `errors`."""

    class Log(tensorrt.ILogger):
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity <= tensorrt.ILogger.ERROR:
                self.errors.append(" ".join(msg.split()))

    return Log()
