"""An NVIDIA GPU: parity and latency of our pairs, against torch eager and torch.compile on the same card.

python benchmarks/gpu.py [--sizes tiny base] [--batches 1 8 64] [--out FILE]

For a machine with a GPU, torch with CUDA and onnxruntime-gpu; TensorRT and TensorRT-RTX where they are installed, the
latter with engines that are built for the card that is there. `--device cpu` goes through the same steps on the CPU, to see
that they work. Seeded weights of the true sizes; torch runs our own towers, whose vectors are LAION's.

What is timed is the audio tower from log-mels in the machine's memory to vectors in the machine's memory, `batch N`. Of our
pairs the whole call is timed too: `N sounds` of ten seconds from waveforms to vectors, with the front end on the CPU, and
`N texts`.

Every vector is compared with that of `cpu fp32`. A pair of ours below its limit makes the exit status 1, and so does a run
without a single pair of ours. What an engine raises is recorded, and the others go on. The file is written after every
engine, so that a process that dies leaves what it has found.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
# our own folder holds names that packages have as well
sys.path[:] = [str(ROOT), *(entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402

import claprt  # noqa: E402
from benchmarks.cases import RATE, labels, sounds  # noqa: E402
from claprt.audio.log_mel import log_mel  # noqa: E402
from claprt.bundle.folder import read_bundle  # noqa: E402
from claprt.bundle.manifest import Manifest, MelSpec  # noqa: E402
from claprt.engines.hardware import nvidia_cards  # noqa: E402
from claprt.engines.onnxruntime_session import onnxruntime_version  # noqa: E402
from claprt.errors import ClaprtError  # noqa: E402
from claprt_export.architecture import TextArchitecture  # noqa: E402
from claprt_export.checkpoints.random_weights import ARCHITECTURES, seeded_checkpoint  # noqa: E402
from claprt_export.graphs.tensorrt_rtx import put_engines  # noqa: E402


class Pair(NamedTuple):
    """A provider and a precision of ours."""

    provider: str
    precision: str

    @property
    def name(self) -> str:
        """As results name it."""
        return f"claprt {self.provider} {self.precision}"


PAIRS = {
    "cuda": (
        Pair("cuda", "fp32"),
        Pair("cuda", "fp16"),
        Pair("tensorrt", "fp32"),
        Pair("tensorrt", "fp16"),
        Pair("tensorrt-rtx", "fp32"),
        Pair("tensorrt-rtx", "fp16"),
        Pair("tensorrt-rtx", "int8-symmetric"),
    ),
    "cpu": (Pair("cpu", "fp32"), Pair("openvino", "fp32")),
}
LIMITS = {"fp32": 0.999999, "fp16": 0.999, "int8-symmetric": 0.99}
"""Smallest cosine of each precision with `cpu fp32`."""
WARM_UPS = 3
"""Calls before any is timed."""
Call = Callable[[Any], Any]
Rows = dict[str, Any]


class Case(NamedTuple):
    """What engines are given, and the vectors that they should give."""

    name: str
    given: Any
    expected: Any


class Measured:
    """What has been found so far, in the file that it is written to."""

    def __init__(self, path: Path, facts: dict[str, str]) -> None:
        self._path, self._facts = path, facts
        self.sizes: dict[str, Rows] = {}
        path.parent.mkdir(parents=True, exist_ok=True)

    def row(self, size: str, engine: str) -> Rows:
        """The row of an engine."""
        return self.sizes.setdefault(size, {}).setdefault(engine, {"cases": {}})

    def failed(self, size: str, engine: str, what: str, error: Exception) -> None:
        """Record what an engine raised."""
        said = f"{what}: {type(error).__name__}: {error}"
        self.row(size, engine).setdefault("errors", []).append(said)
        print(f"{size}: {engine}: {said}", file=sys.stderr)
        self.write()

    def broken(self) -> list[str]:
        """Pairs of ours that are below their limits, in words."""
        return [
            f"{size}: {engine}: cosine {row['cosine']:.9f} with cpu fp32, below {row['limit']}"
            for size, rows in self.sizes.items()
            for engine, row in rows.items()
            if not row.get("cosine", 1.0) >= row.get("limit", -1.0)
        ]

    def ours(self) -> int:
        """Pairs of ours that have been timed."""
        return sum(
            engine.startswith("claprt ") and bool(row["cases"]) for r in self.sizes.values() for engine, row in r.items()
        )

    def write(self) -> None:
        """Write the file."""
        self._path.write_text(json.dumps({**self._facts, "sizes": self.sizes}, indent=1) + "\n", encoding="utf-8")


@functools.cache
def log_mels(batch: int, spec: MelSpec) -> Any:
    """Log-mels [batch, 1, 1001, 64] of ten-second sounds."""
    return np.stack([log_mel(waveform, spec)[None] for waveform in sounds(batch, 10.0, RATE)]).astype(np.float32)


def bundle_of(size: str, options: argparse.Namespace) -> Path:
    """The bundle of a size, exported if it is not there."""
    bundle: Path = options.work / f"gpu-{size}-{options.device}"
    rtx = importlib.util.find_spec("tensorrt_rtx") is not None
    if not bundle.exists():
        precisions = ["fp32"]
        if options.device == "cuda":
            precisions += ["fp16", "int8-symmetric"] if rtx else ["fp16"]
        export = [sys.executable, "-m", "claprt_export", f"untrained-{size}", "--precision", ",".join(precisions)]
        subprocess.run([*export, "--out", str(bundle)], check=True)
    if options.device == "cuda" and rtx:
        add_engines(bundle)
    return bundle


def add_engines(bundle: Path) -> None:
    """Put TensorRT-RTX engines for the first GPU into the bundle; where that fails, say why, and go on without them."""
    cards = nvidia_cards()[:1]
    engines = read_bundle(bundle).manifest.engines
    if engines and all({*cards} <= {*engine.cards} for engine in engines):
        return
    try:
        put_engines(bundle, cards, force=True)
    except ClaprtError as error:
        print(f"no engines of TensorRT-RTX: {error}", file=sys.stderr)


def tower_of(size: str, manifest: Manifest) -> Any:
    """The audio tower in torch with the weights that the bundle was exported from."""
    name = f"untrained-{size}"
    checkpoint = seeded_checkpoint(name, ARCHITECTURES[name], TextArchitecture(vocabulary=manifest.text.vocabulary))
    if checkpoint.sha256 != manifest.source.sha256:
        raise SystemExit(f"The bundle of {name} was not exported from the weights that torch would run; delete it.")
    return checkpoint.audio_tower().eval()


def loaded(bundle: Path, pair: Pair, largest: int) -> claprt.Clap:
    """A pair of ours, with its audio tower on the device."""
    return claprt.load(bundle, provider=pair.provider, precision=pair.precision, batch_size=largest)


def audio_tower(clap: claprt.Clap) -> Call:
    """The audio tower alone."""
    return lambda mels: clap.engine.audio(mels, None)


def whole_call(clap: claprt.Clap) -> Call:
    """All of a call, for sounds or for texts."""
    return lambda given: clap.embed_text(given) if isinstance(given[0], str) else clap.embed_audio(given, RATE)


def torch_calls(tower: Any, device: str) -> dict[str, Call]:
    """The tower in torch: eager and compiled for the batch that comes, in float32 and (on a GPU) under autocast."""
    torch.compiler.reset()  # what was compiled for another batch would make this one dynamic
    compiled = torch.compile(tower, dynamic=False)

    def call(module: Any, *, half: bool) -> Call:
        def run(mels: Any) -> Any:
            with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=half):
                return module(torch.from_numpy(mels).to(device)).float().cpu().numpy()

        return run

    found = {"torch eager fp32": call(tower, half=False), "torch.compile fp32": call(compiled, half=False)}
    if device == "cuda":
        found |= {"torch eager fp16": call(tower, half=True), "torch.compile fp16": call(compiled, half=True)}
    return found


def measure(size: str, options: argparse.Namespace, found: Measured) -> None:
    """Parity, p50 and p95 and sounds in a second, of every engine, at every batch; then those of our whole calls."""
    bundle = bundle_of(size, options)
    clap = claprt.load(bundle, provider="cpu", precision="fp32", batch_size=max(options.batches))
    tower = tower_of(size, clap.manifest).to(options.device)
    ours: dict[str, claprt.Clap] = {}
    for pair in PAIRS[options.device]:
        found.row(size, pair.name)["limit"] = LIMITS[pair.precision]
        try:
            ours[pair.name] = loaded(bundle, pair, max(options.batches))
        except Exception as error:  # noqa: BLE001 - of whatever kind, the others shall be measured
            found.failed(size, pair.name, "loading", error)
    whole = {engine: whole_call(model) for engine, model in ours.items()}
    for case in whole_cases(clap, options.batches):
        compared_and_timed(size, whole, case, options.turns, found)
    for batch in options.batches:
        mels = log_mels(batch, clap.manifest.audio.mel)
        case = Case(f"batch {batch}", mels, clap.engine.audio(mels, None))
        towers = {engine: audio_tower(model) for engine, model in ours.items()}
        compared_and_timed(size, torch_calls(tower, options.device) | towers, case, options.turns, found)


def whole_cases(clap: claprt.Clap, batches: list[int]) -> Iterator[Case]:
    """Sounds and texts, as many as in the smallest and the largest batch."""
    for count in sorted({min(batches), max(batches)}):
        waveforms = sounds(count, 10.0, RATE)
        yield Case(f"{count} sounds", waveforms, clap.embed_audio(waveforms, RATE))
        texts = labels(count, words=True)
        yield Case(f"{count} texts", texts, clap.embed_text(texts))


def compared_and_timed(size: str, calls: dict[str, Call], case: Case, turns: int, found: Measured) -> None:
    """Record what engines give for a case, and how fast those that give something are."""
    calls = {engine: call for engine, call in calls.items() if compared(size, engine, call, case, found)}
    timed(size, calls, case, turns, found)


def compared(size: str, engine: str, call: Call, case: Case, found: Measured) -> bool:
    """Record the smallest cosine of a case, every row of it; False if the engine raised something."""
    try:
        cosines = [cosine(call(case.given), case.expected) for _ in range(WARM_UPS)]
    except Exception as error:  # noqa: BLE001
        found.failed(size, engine, case.name, error)
        return False
    row = found.row(size, engine)
    row["cosine"] = min(*cosines, row.get("cosine", 1.0))
    found.write()
    return True


def cosine(vectors: Any, expected: Any) -> float:
    """The smallest cosine of rows with rows; -1 where one is not finite."""
    low, full = vectors.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(low, axis=1) * np.linalg.norm(full, axis=1)
    return float(np.nan_to_num((low * full).sum(1) / lengths, nan=-1.0).min())


def timed(size: str, calls: dict[str, Call], case: Case, turns: int, found: Measured) -> None:
    """Times engines in turns, and records each."""
    taken: dict[str, list[float]] = {engine: [] for engine in calls}
    for _ in range(turns):
        for engine in list(taken):
            started = time.perf_counter()
            try:
                calls[engine](case.given)
            except Exception as error:  # noqa: BLE001
                found.failed(size, engine, f"{case.name}, timed", error)
                del taken[engine]
                continue
            taken[engine].append(1000 * (time.perf_counter() - started))
    for engine, ms in taken.items():
        p50, p95 = np.percentile(ms, [50, 95])
        row = found.row(size, engine)
        row["cases"][case.name] = {"p50_ms": p50, "p95_ms": p95, "per_s": 1000 * len(case.given) / p50}
        print(f"{size}, {case.name}: {engine}: p50 {p50:.2f} ms, p95 {p95:.2f} ms, cosine {row['cosine']:.9f}", flush=True)
    found.write()


def main() -> int:
    """Measures and writes the results; 1 if a pair of ours is below its limit, or none could be had."""
    parser = argparse.ArgumentParser(description="Measure on an NVIDIA GPU.")
    parser.add_argument("--device", choices=list(PAIRS), default="cuda")
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="folder for bundles")
    parser.add_argument("--out", type=Path, help="file to write (gpu.json in the folder for bundles)")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    facts = {
        "device": device,
        "cpus": str(len(os.sched_getaffinity(0))),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime_version(),
    }
    found = Measured(options.out or options.work / "gpu.json", facts)
    for size in options.sizes:
        measure(size, options, found)
    broken = found.broken() if found.ours() else ["No pair of ours could be measured."]
    print(*broken, sep="\n", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
