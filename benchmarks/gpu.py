"""An NVIDIA GPU: parity and latency of our pairs, against torch eager and torch.compile on the same card.

python benchmarks/gpu.py [--sizes tiny base] [--batches 1 8 64] [--out FILE]

For a machine with a GPU, torch with CUDA and onnxruntime-gpu (TensorRT where it is installed). `--device cpu` goes through
the same steps on the CPU, to see that they work. Seeded weights of the true sizes; torch runs our own towers, whose vectors
are LAION's. What is timed is the audio tower from log-mels in the machine's memory to vectors in the machine's memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

import claprt  # noqa: E402
from claprt.errors import ClaprtError  # noqa: E402
from claprt_export.architecture import TextArchitecture  # noqa: E402
from claprt_export.seeded import ARCHITECTURES, seeded_checkpoint  # noqa: E402

PAIRS = {
    "cuda": (("cuda", "fp32"), ("cuda", "fp16"), ("tensorrt", "fp32"), ("tensorrt", "fp16")),
    "cpu": (("cpu", "fp32"), ("openvino", "fp32")),
}
Call = Callable[[Any], Any]


def torch_calls(size: str, device: str) -> dict[str, Call]:
    """The tower in torch: eager and compiled, in float32 and (on a GPU) under autocast."""
    name = f"untrained-{size}"
    tower = seeded_checkpoint(name, ARCHITECTURES[name], TextArchitecture()).audio_tower().eval().to(device)
    compiled = torch.compile(tower)

    def call(module: Any, *, half: bool) -> Call:
        def run(log_mels: Any) -> Any:
            with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=half):
                return module(torch.from_numpy(log_mels).to(device)).float().cpu().numpy()

        return run

    found = {"torch eager fp32": call(tower, half=False), "torch.compile fp32": call(compiled, half=False)}
    if device == "cuda":
        found |= {"torch eager fp16": call(tower, half=True), "torch.compile fp16": call(compiled, half=True)}
    return found


def measure(size: str, options: argparse.Namespace) -> dict[str, Any]:
    """Parity, p50 and p95 and sounds in a second, of every engine, at every batch."""
    bundle = options.work / f"gpu-{size}"
    if not bundle.exists():
        precisions = "fp32,fp16" if options.device == "cuda" else "fp32"
        export = [str(Path(sys.executable).with_name("claprt-export")), f"untrained-{size}", "--precision", precisions]
        subprocess.run([*export, "--out", str(bundle)], check=True)
    calls = torch_calls(size, options.device)
    for provider, precision in PAIRS[options.device]:
        try:
            engine = claprt.load(bundle, provider=provider, precision=precision, batch_size=max(options.batches)).engine
            calls[f"claprt {provider} {precision}"] = lambda log_mels, engine=engine: engine.audio(log_mels, None)
        except ClaprtError as error:
            print(f"{provider} {precision}: {error}", file=sys.stderr)
    seed = np.random.default_rng(0)
    reference = claprt.load(bundle, provider="cpu", precision="fp32").engine
    rows: dict[str, Any] = {name: {"batches": {}} for name in calls}
    for batch in options.batches:
        log_mels = seed.normal(-30, 12, (batch, 1, 1001, 64)).astype(np.float32)
        expected = reference.audio(log_mels[:4], None)
        for name, call in calls.items():
            vectors = call(log_mels)[:4]
            cosine = float((vectors * expected).sum(1).min())
            rows[name]["cosine"] = min(cosine, rows[name].get("cosine", 1.0))
            for _ in range(2):
                call(log_mels)
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(options.turns):
            for name, call in calls.items():
                started = time.perf_counter()
                call(log_mels)
                taken[name].append(1000 * (time.perf_counter() - started))
        for name, ms in taken.items():
            p50, p95 = np.percentile(ms, [50, 95])
            rows[name]["batches"][str(batch)] = {"p50_ms": p50, "p95_ms": p95, "sounds_per_s": 1000 * batch / p50}
            print(f"{size} batch {batch}: {name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms, cosine {rows[name]['cosine']:.7f}")
    return rows


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description="Measure on an NVIDIA GPU.")
    parser.add_argument("--device", choices=list(PAIRS), default="cuda")
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu.json")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    results = {"device": device, "torch": torch.__version__, "sizes": {s: measure(s, options) for s in options.sizes}}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
