"""OpenVINO's form for one row beside the graph as it is: time, loading and memory.

python benchmarks/openvino_form.py GRAPH… [--threads N]

GRAPH is an audio graph of a bundle: build/bench/bundle-tiny/audio.int8.onnx, or audio.fp32.onnx, which is run in bf16. Both
forms are loaded in one process and take turns. Prints medians: processor and wall time of one sound, and of each sound in a
batch of eight; then, from processes of their own, the time until a first vector when the graph is prepared and when it is
loaded a second time, and the peak memory of the second (Linux).
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from claprt.bundle.graphs import Precision
from claprt.engines.graph_cache import GraphCache
from claprt.engines.onnxruntime_session import Load, Runner
from claprt.engines.openvino_session import OpenVinoSession
from claprt_export.graphs.onnx_metadata import graph_facts

TURNS, RUNS, BATCH = 12, 2, 8
FORMS = {"as it is": False, "for one row": True}
FIRST_VECTOR = """
import json, pickle, sys, time
from claprt.engines.openvino_session import OpenVinoSession
import openvino
load, precision, feeds = pickle.load(sys.stdin.buffer)
processor, clock = time.process_time(), time.perf_counter()
OpenVinoSession(load, precision)(feeds)
print(json.dumps({
    "processor": time.process_time() - processor,
    "clock": time.perf_counter() - clock,
    "peak_mb": next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")),
}))
"""
"""What a process of its own runs: one load and one vector, once OpenVINO is imported."""


def _load(path: Path, threads: int, cache: GraphCache | None = None) -> Load:
    return Load(path=path, facts=graph_facts(path), threads=threads, cache=cache)


def _precision(path: Path) -> Precision:
    return Precision.INT8 if ".int8." in path.name else Precision.BF16


def _feeds(load: Load, rows: int) -> dict[str, Any]:
    fused = len(load.facts.inputs) > 1
    log_mels = np.random.default_rng(0).normal(-30, 15, (rows, 4 if fused else 1, 1001, 64)).astype(np.float32)
    return {"log_mels": log_mels, **({"is_longer": np.ones((rows, 1), bool)} if fused else {})}


def _turns(runs: Mapping[str, Runner], feeds: Mapping[str, Any], sounds: int) -> dict[str, tuple[float, float]]:
    """Medians of milliseconds a sound, of the processor and of the clock, by form."""
    took: dict[str, list[tuple[float, float]]] = {form: [] for form in runs}
    for _ in range(TURNS):
        for form, run in runs.items():
            run(feeds)
            for _ in range(RUNS):
                processor, clock = time.process_time(), time.perf_counter()
                run(feeds)
                took[form].append((time.process_time() - processor, time.perf_counter() - clock))
    medians = {form: 1000 * np.median(of, axis=0) / sounds for form, of in took.items()}
    return {form: (float(processor), float(clock)) for form, (processor, clock) in medians.items()}


def compare(path: Path, threads: int) -> None:
    """Print one graph's rows."""
    load = _load(path, threads)
    sessions = {form: OpenVinoSession(replace(load, single=single), _precision(path)) for form, single in FORMS.items()}
    for rows in (1, BATCH):
        medians = _turns(sessions, _feeds(load, rows), rows)
        base = medians["as it is"]
        for form, (processor, clock) in medians.items():
            ratios = f"{processor / base[0]:.3f} and {clock / base[1]:.3f} of it"
            print(
                f"  {rows} at a time, {form:12} processor {processor:6.1f} ms, clock {clock:6.1f} ms, {ratios}", flush=True
            )
    for form, single in FORMS.items():
        with tempfile.TemporaryDirectory() as cache:
            given = pickle.dumps(
                (replace(load, single=single, cache=GraphCache(Path(cache))), _precision(path), _feeds(load, 1))
            )
            child = [sys.executable, "-c", FIRST_VECTOR]
            first, second = (json.loads(subprocess.check_output(child, input=given)) for _ in range(2))
        print(f"  {form:12} first vector: prepared {first['clock']:.2f} s (processor {first['processor']:.2f} s), then "
              f"{second['clock']:.2f} s ({second['processor']:.2f} s), peak {second['peak_mb']:.0f} MB")  # fmt: skip


def main() -> None:
    """Measure every graph that is named."""
    parser = argparse.ArgumentParser(description="Compare OpenVINO's form for one row with the graph as it is.")
    parser.add_argument("graphs", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    for path in options.graphs:
        print(f"{path.parent.name} {_precision(path)}, {options.threads} thread(s)", flush=True)
        compare(path, options.threads)


if __name__ == "__main__":
    main()
