"""The audio tower in int8 on the native engine, OpenVINO and onnxruntime: one sound at a time, in turns.

python benchmarks/native.py --bundle FOLDER… [--turns 10]

OpenVINO runs the tower in int8 twice: the graph as it is, and as it is run, in its form for one row where the bundle lists
it; and in bf16 where the processor computes in it.
With one thread processor time is compared, with all threads the time that a caller waits. The share of the peak is that of
the tower's 8-bit products at the rate that the engine's product of 768 by 3072 reaches alone on one core, over the whole
tower's time. Engines take turns in one process, with a pause before each, so that none's waiting threads slow the next.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.cases import sounds  # noqa: E402
from claprt.audio.log_mel import log_mel  # noqa: E402
from claprt.bundle.folder import Bundle, read_bundle  # noqa: E402
from claprt.bundle.graphs import NATIVE_FILE, Precision, Stage  # noqa: E402
from claprt.engines.choice import EngineOptions, choose  # noqa: E402
from claprt.engines.hardware import cpu_features, default_threads  # noqa: E402
from claprt.engines.in_process import InProcessEngine, detect_hardware  # noqa: E402
from claprt.engines.native.layout import read_header  # noqa: E402
from claprt.engines.native.library import native_library, native_version  # noqa: E402

AS_IT_IS, BF16 = "openvino, the graph as it is", "openvino, bf16"
ENGINES = ("native", AS_IT_IS, "openvino", BF16, "cpu")
CALLS = 4
"""In one turn."""


def engines(bundle: Bundle, threads: int) -> dict[str, Callable[[], object]]:
    """A call of each engine, for the same log-mel of ten seconds."""
    mel = log_mel(sounds(1, 10)[0], bundle.manifest.audio.mel)
    views = bundle.manifest.audio.views
    mels = np.broadcast_to(mel, (1, views, *mel.shape)).copy()
    longer = np.ones((1, 1), np.bool_) if views > 1 else None
    calls: dict[str, Callable[[], object]] = {}
    for name in ENGINES:
        if name == BF16 and "bf16" not in cpu_features():
            continue
        precision = Precision.BF16 if name == BF16 else Precision.INT8
        options = EngineOptions(provider=name.partition(",")[0], precision=precision, threads=threads)
        manifest = dataclasses.replace(bundle.manifest, single=()) if name == AS_IT_IS else bundle.manifest
        # bf16 is the fp32 graph, whether or not the bundle lists it
        graphs = {stage: {Precision.BF16: known[Precision.FP32], **known} for stage, known in manifest.graphs.items()}
        manifest = dataclasses.replace(manifest, graphs=graphs)
        run = dataclasses.replace(bundle, manifest=manifest)
        engine = InProcessEngine(run, choose(options, detect_hardware(), manifest))
        calls[name] = lambda engine=engine: engine.audio(mels, longer)
    return calls


def medians(calls: dict[str, Callable[[], object]], turns: int, clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds of each call."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            time.sleep(0.05)
            for _ in range(CALLS):
                started = clock()
                call()
                if turn:  # the first turn warms up
                    taken[name].append(1000 * (clock() - started))
    return {name: statistics.median(times) for name, times in taken.items()}


def products(bundle: Bundle) -> float:
    """8-bit operations of the tower, in 10^9: two for each product of a weight and a token."""
    header = read_header((bundle.path / NATIVE_FILE).read_bytes())
    if header is None:
        raise SystemExit(f"{bundle.path / NATIVE_FILE} is not a packed tower")
    dim, depths = header.dim, header.depths
    layers = sum((4096 >> 2 * stage) * depth * 12 * (dim << stage) ** 2 for stage, depth in enumerate(depths))
    merges = sum((4096 >> 2 * stage + 2) * 8 * (dim << stage) ** 2 for stage in range(3))
    return 2 * (layers + merges) / 1e9


def peak() -> float:
    """8-bit operations of one core in a second, in 10^9."""
    library = native_library()
    inputs, outputs = 768, 3072
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (outputs // 16, inputs // 64, 16, 64), np.int8)
    tokens = rng.integers(0, 256, (inputs // 4, 64, 4), np.uint8)
    start = np.zeros(outputs, np.int32)
    times: list[float] = []
    for _ in range(60):
        began = time.process_time()
        for _ in range(10):
            library.sum_products(library.sets[0], weight, start, tokens)
        times.append((time.process_time() - began) / 10)
    return 2 * 64 * inputs * outputs / statistics.median(times) / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, nargs="+", required=True)
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    rate = peak()
    print(f"claprt-native {native_version()}; products alone: {rate:.0f} · 10^9 operations a second on one core\n")
    print(
        "| bundle | threads | native ms | OpenVINO, the graph as it is ÷ native | OpenVINO ÷ native | "
        "OpenVINO bf16 ÷ native | onnxruntime ÷ native | share of the peak |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for folder in options.bundle:
        bundle = read_bundle(folder)
        bundle.manifest.graph(Stage.AUDIO, Precision.INT8)  # an error where there is none
        for threads in sorted({1, default_threads()}):
            clock = time.process_time if threads == 1 else time.perf_counter
            found = medians(engines(bundle, threads), options.turns, clock)
            native = found["native"]
            share = products(bundle) / rate / (native / 1000) / threads
            print(
                f"| {folder.name} | {threads} | {native:.1f} | {found[AS_IT_IS] / native:.2f} | "
                f"{found['openvino'] / native:.2f} | {found.get(BF16, np.nan) / native:.2f} | "
                f"{found['cpu'] / native:.2f} | {share:.2f} |"
            )


if __name__ == "__main__":
    main()
