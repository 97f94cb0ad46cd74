"""Graphs of small towers, traced once: tracing takes most of an export's time.

python -m tests.export.traced FILE …       claprt-export with the graphs of FILE, for processes of the exporter's own
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx

from claprt_export.cli import main
from claprt_export.graphs import to_onnx

Trace = Callable[..., onnx.ModelProto]
Graphs = dict[tuple[object, ...], bytes]
"""Graphs by what they were traced from: kind, sizes and weights of a tower, shapes of inputs, the output."""
_SMALL = 5_000_000
"""Parameters from which a tower is traced anew each time."""


def traced_once(trace: Trace, graphs: Graphs) -> Trace:
    """The function that traces towers, which takes from `graphs` what is there, and puts there what it had to trace."""

    def once(tower: Any, inputs: Mapping[str, Any], axes: Any, output: str) -> onnx.ModelProto:
        state: dict[str, Any] = {**dict(tower.named_buffers()), **dict(tower.named_parameters())}
        if sum(tensor.numel() for tensor in state.values()) > _SMALL:
            return trace(tower, inputs, axes, output)
        digest = hashlib.sha256()
        for name, tensor in sorted(state.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in inputs.items())
        kind = type(tower).__qualname__
        key = (kind, repr(getattr(tower, "architecture", tower)), digest.hexdigest(), shapes, output)
        if key not in graphs:
            graphs[key] = trace(tower, inputs, axes, output).SerializeToString()
        return onnx.ModelProto.FromString(graphs[key])

    return once


if __name__ == "__main__":
    graphs: Graphs = pickle.loads(Path(sys.argv[1]).read_bytes())  # of the test that starts this
    setattr(to_onnx, "_traced", traced_once(vars(to_onnx)["_traced"], graphs))  # noqa: B010 - a private name
    sys.exit(main(sys.argv[2:]))
