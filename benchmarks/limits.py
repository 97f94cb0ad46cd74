"""What limits the audio tower on this machine: peaks of products, and where onnxruntime's time goes.

python benchmarks/limits.py --bundle FOLDER…

Peaks are of products of the size that most of the tower's are, [4096, 384] by [384, 1536], on all threads: float32 and
bfloat16 in torch, bytes in onnxruntime. The profile is onnxruntime's own, of one 10 s sound, with the rate that products
reach and the bytes that other operators move. Then 48 sounds of 10 s, in
turns one after the other with all threads and side by side with one thread each.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

import claprt
from benchmarks.cases import sounds
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.hardware import default_threads
from claprt.errors import ClaprtError
from claprt.model import batching

ROWS, INPUTS, OUTPUTS = 4096, 384, 1536


def median_ms(call: Callable[[], object], trials: int = 30) -> float:
    """Of calls one after the other, three to warm up."""
    times: list[float] = []
    for _ in range(trials + 3):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[3:])


def _session(model: bytes | str, *, profile: str | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = default_threads(), 3
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def peaks() -> dict[str, float]:
    """10^9 operations a second, a multiplication and an addition counted as two."""
    torch.set_num_threads(default_threads())
    work = 2 * ROWS * INPUTS * OUTPUTS / 1e6
    found: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(ROWS, INPUTS).to(dtype), torch.randn(INPUTS, OUTPUTS).to(dtype)
        found[f"torch {dtype}".replace("torch.", "")] = work / median_ms(lambda a=a, b=b: a @ b)
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    weight = numpy_helper.from_array(np.random.default_rng(0).integers(-127, 127, (INPUTS, OUTPUTS)).astype(np.int8), "b")
    graph = helper.make_graph(
        [node], "peak", [helper.make_tensor_value_info("a", TensorProto.UINT8, [ROWS, INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [ROWS, OUTPUTS])], [weight],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = _session(model.SerializeToString())
    feeds = {"a": np.random.default_rng(1).integers(0, 255, (ROWS, INPUTS)).astype(np.uint8)}
    found["onnxruntime int8"] = work / median_ms(lambda: session.run(None, feeds))
    return found


@dataclasses.dataclass
class Operator:
    """What all nodes of one kind cost in one call."""

    ms: float = 0.0
    gflop: float = 0.0
    """10^9 operations of products; 0 for other operators."""
    mb: float = 0.0
    """10^6 bytes of activations and parameters read and written."""


def profile(path: Path, calls: int = 10) -> dict[str, Operator]:
    """Each operator in one call, the slowest first."""
    feeds = {"log_mels": np.random.default_rng(0).normal(-30, 15, (1, 1, 1001, 64)).astype(np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        session = _session(str(path), profile=f"{folder}/profile")
        for _ in range(calls):
            session.run(None, feeds)
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    totals: collections.defaultdict[str, Operator] = collections.defaultdict(Operator)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            facts = event["args"]
            total = totals[facts["op_name"]]
            total.ms += event["dur"] / 1000 / calls
            total.mb += (
                sum(float(facts.get(f"{kind}_size", 0)) for kind in ("activation", "parameter", "output")) / 1e6 / calls
            )
            if facts["op_name"] in ("Gemm", "MatMul", "QGemm", "FusedMatMul"):
                (taken,), (given,) = (next(iter(facts[f"{kind}_type_shape"])).values() for kind in ("input", "output"))
                total.gflop += 2 * math.prod(given) * taken[-1] / 1e9 / calls
    return dict(sorted(totals.items(), key=lambda item: -item[1].ms))


def shown(name: str, found: Operator, total_ms: float) -> str:
    """One operator in a few words."""
    rate = f", {1000 * found.gflop / found.ms:.0f} GFLOPS" if found.gflop else f", {found.mb / found.ms:.1f} GB/s"
    return f"{name} {found.ms:.1f} ms ({100 * found.ms / total_ms:.0f} %{rate})"


def throughput(folder: str, provider: str, precision: str) -> tuple[float, float]:
    """Sounds per second, one after the other and side by side: medians of two turns."""
    clap = claprt.load(folder, provider=provider, precision=precision)
    given = sounds(48, 10)
    rates: dict[int, list[float]] = {1 << 30: [], 8: []}
    for _ in range(3):
        for limit, found in rates.items():
            batching.PARALLEL_AFTER = limit
            started = time.perf_counter()
            clap.embed_audio(given)
            found.append(len(given) / (time.perf_counter() - started))
    one, several = (statistics.median(found[1:]) for found in rates.values())  # the first loads the second engine
    return one, several


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description="Measure what limits the audio tower here.")
    parser.add_argument("--bundle", nargs="+", required=True)
    options = parser.parse_args()
    for name, rate in peaks().items():
        print(f"{name:20} {rate:7.0f} GFLOPS")
    for folder in options.bundle:
        bundle = read_bundle(folder)
        for precision in (Precision.FP32, Precision.INT8):
            if precision in bundle.manifest.graphs[Stage.AUDIO]:
                found = profile(bundle.graph_path(Stage.AUDIO, precision))
                total = sum(operator.ms for operator in found.values())
                work = sum(operator.gflop for operator in found.values())
                parts = "; ".join(shown(name, operator, total) for name, operator in list(found.items())[:9])
                print(f"{bundle.manifest.name} {precision}: {total:.1f} ms for {work:.1f} GFLOP of products: {parts}")
        for provider, precision in (("cpu", "fp32"), ("cpu", "int8"), ("openvino", "int8"), ("openvino", "bf16")):
            try:
                one, several = throughput(folder, provider, precision)
            except ClaprtError as error:
                print(f"{bundle.manifest.name} {provider} {precision}: {error}")
                continue
            print(f"{bundle.manifest.name} {provider} {precision}: {one:.1f} sounds/s, side by side {several:.1f} "
                  f"({several / one:.2f}x)")  # fmt: skip


if __name__ == "__main__":
    main()
