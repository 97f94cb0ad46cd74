"""How long onnxruntime's idle threads wait for work in a loop: the time of a run of `mini`'s audio tower, and its cost.

python benchmarks/spinning.py [GRAPH]

Runs are a tenth of a second apart, as a service's are, each setting in a process of its own, in turn. Prints the median and
the 95th percentile of a run, and the processor time of a run with what follows it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

GRAPH = Path(__file__).parents[1] / "runtime" / "claprt" / "mini" / "audio.fp32.onnx"
SETTINGS = {
    "onnxruntime's default": {},
    "5 ms": {"session.intra_op.spin_duration_us": "5000"},
    "1 ms": {"session.intra_op.spin_duration_us": "1000"},
    "0.05 ms": {"session.intra_op.spin_duration_us": "50"},
    "none": {"session.intra_op.allow_spinning": "0"},
}
TURNS, RUNS, PAUSE_S = 5, 30, 0.1


def measure(graph: str, setting: str) -> list[float]:
    """Milliseconds: median, 95th percentile, processor time per run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    for name, value in SETTINGS[setting].items():
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    sound = np.random.default_rng(0).normal(-30, 15, (1, 1, 1001, 64)).astype(np.float32)
    session.run(None, {"log_mels": sound})
    time.sleep(PAUSE_S)
    took, before = list[float](), time.process_time()
    for _ in range(RUNS):
        began = time.perf_counter()
        session.run(None, {"log_mels": sound})
        took.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    cost = (time.process_time() - before) / RUNS
    return [1000 * float(value) for value in (*np.percentile(took, (50, 95)), cost)]


def main(arguments: list[str]) -> int:
    """Measure all settings, or one in a process of its own."""
    if len(arguments) == 2:
        print(json.dumps(measure(*arguments)))
        return 0
    graph = arguments[0] if arguments else str(GRAPH)
    found: dict[str, list[list[float]]] = {setting: [] for setting in SETTINGS}
    for _ in range(TURNS):
        for setting, results in found.items():
            results.append(json.loads(subprocess.check_output([sys.executable, __file__, graph, setting], text=True)))
    for setting, results in found.items():
        p50, p95, cost = np.median(results, axis=0)
        print(f"{setting:22} p50 {p50:5.1f} ms  p95 {p95:5.1f} ms  processor time {cost:5.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
