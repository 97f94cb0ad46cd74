"""What a loaded graph leaves in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from claprt.bundle.digests import sha256_of
from tests import onnx_file

_LAYERS, _WIDTH = 32, 1024
_WEIGHTS_MB = _LAYERS * _WIDTH * _WIDTH * 4 / 1e6

_LOAD = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from claprt.engines.graph_cache import GraphCache
from claprt.bundle.graphs import GraphInfo, TensorSpec
from claprt.engines.providers import Provider
from claprt.engines.onnxruntime_session import Load, OrtSession

def anonymous_mb():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024 / 1e6

path, sha256, cache, width = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
tensor = lambda name: TensorSpec(name=name, dtype="float32", shape=("batch", width))
facts = GraphInfo(file=path.name, sha256=sha256, bytes=path.stat().st_size, inputs=(tensor("x"),), outputs=(tensor("y"),))
before = anonymous_mb()
load = Load(path=path, facts=facts, threads=2, cache=GraphCache(cache))
session = OrtSession(load, Provider.CPU, ["CPUExecutionProvider"])
after = anonymous_mb()
assert list((cache / "graphs").iterdir())
assert np.isfinite(session({"x": np.ones((1, width), np.float32)})).all()
print(after - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_process_that_prepares_a_graph_gives_the_memory_back(tmp_path: Path) -> None:
    """A prepared graph is mapped from its file; what preparing it took is not kept for ever by the C library."""
    random = np.random.default_rng(0)
    weight = random.normal(0, _WIDTH**-0.5, (_WIDTH, _WIDTH)).astype(np.float32)
    names = ["x", *(f"h{layer}" for layer in range(1, _LAYERS)), "y"]
    graph = [onnx_file.node("MatMul", [names[k], f"w{k}"], [names[k + 1]]) for k in range(_LAYERS)]
    graph += [onnx_file.initializer(f"w{k}", weight) for k in range(_LAYERS)]
    graph += [onnx_file.end(name, ["batch", _WIDTH], output=name == "y") for name in ("x", "y")]
    path = tmp_path / "deep.onnx"
    path.write_bytes(onnx_file.model(onnx_file.field(2, "deep") + b"".join(graph)))

    command = [sys.executable, "-c", _LOAD, str(path), sha256_of(path), str(tmp_path / "cache"), str(_WIDTH)]
    left, again = (
        float(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout) for _ in range(2)
    )
    assert again < 0.3 * _WEIGHTS_MB
    assert left < again + 0.3 * _WEIGHTS_MB
