"""Everything that a user could pick, side by side, from sound or text to vector.

python benchmarks/bench.py [--quick] [--sizes tiny base] [--tokenizer FOLDER] [--out FILE]

Each engine runs in a process of its own and is verified before it is timed: this project against laion-clap's vectors of
the same checkpoint, the others against transformers'. Then they take turns, trial by trial, so that a slow moment of the
machine meets all of them; ratios are medians of the ratios within a turn. Between turns nothing runs for a moment, because
threads of one engine that still wait for work would slow the next. Loading is outside the timing and given by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.cases import CASES  # noqa: E402
from benchmarks.turns import PAUSE_S  # noqa: E402
from claprt.engines.hardware import cpu_features, default_threads  # noqa: E402

BASELINE = "laion-clap"
REFERENCES = ("laion-clap", "transformers", "torch.compile bf16", "naive export", "clapback-embed")
OURS = ("cpu fp32", "cpu int8", "openvino fp32", "openvino bf16", "openvino int8", "native int8")
OWN_WEIGHTS = {"torch.compile bf16": 0.99, "naive export": 0.99999, "clapback-embed": 0.999}
"""Engines whose vectors are held against transformers', and the smallest cosine."""
TRIALS = {"1 s": 9, "10 s": 11, "batch 10": 3, "batch 64": 1, "files": 1, "1 label": 9, "64 labels": 3}
QUICK = {"1 s": 5, "10 s": 7, "1 label": 5, "64 labels": 1}


@dataclass
class Engine:
    """A worker process."""

    name: str
    process: subprocess.Popen[str]
    facts: dict[str, str] = field(default_factory=dict[str, str])
    ready_s: float = 0.0
    peak_mb: float = 0.0
    failure: str | None = None
    ms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def ask(self, case: str) -> dict[str, Any]:
        """Run a case once; an engine that fails is asked nothing more."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"case": case}), file=self.process.stdin, flush=True)
        return self.listen()

    def listen(self) -> dict[str, Any]:
        """The worker's next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": f"ended with {self.process.wait()}"}
        if "error" in reply:
            self.failure = str(reply["error"])
        return reply


def python_of(name: str) -> str:
    """The environment that an engine runs in."""
    return str(ROOT / (".venv-reference" if name in REFERENCES else ".venv") / "bin" / "python")


def prepare(work: Path, size: str, tokenizer: Path | None) -> None:
    """Checkpoints of the references, and the bundle exported from the same file, where they are not there yet."""
    command = [python_of(BASELINE), "benchmarks/checkpoints.py", "--work", str(work), "--size", size]
    subprocess.run([*command, *(["--tokenizer", str(tokenizer)] if tokenizer else [])], check=True, cwd=ROOT)
    bundle = work / f"bundle-{size}"
    if not bundle.exists():
        export = [str(ROOT / ".venv/bin/claprt-export"), "--checkpoint", str(work / f"{size}.pt"), "--out", str(bundle)]
        export += ["--tokenizer", str(work / "tokenizer"), "--precision", "fp32,int8,bf16"]
        subprocess.run(export, check=True, cwd=ROOT)


@contextlib.contextmanager
def engines(names: list[str], work: Path, size: str, files: int) -> Generator[dict[str, Engine]]:
    """Workers, started one after the other; those that cannot be are said to have failed."""
    started: dict[str, Engine] = {}
    environment = {**os.environ, "CLAPRT_GRAPH_CACHE": str(work / "cache"), "OMP_NUM_THREADS": str(default_threads())}
    try:
        for name in names:
            command = [python_of(name), "benchmarks/worker.py", name, "--work", str(work), "--size", size]
            command += ["--threads", str(default_threads()), "--files", str(files)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
                env=environment,
            )  # fmt: skip
            engine = started[name] = Engine(name, process)
            reply = engine.listen()
            engine.facts, engine.ready_s = reply.get("facts", {}), reply.get("ready_s", 0.0)
            engine.peak_mb = reply.get("peak_mb", 0.0)
            say(f"{size} {name}: {engine.failure or f'ready in {engine.ready_s:.1f} s, peak {engine.peak_mb:.0f} MB'}")
        yield started
    finally:
        for engine in started.values():
            engine.process.kill()
            engine.process.wait()


def verify(found: dict[str, Engine]) -> dict[str, float]:
    """The smallest cosine of each engine with its reference; whoever is too far away is not timed."""
    vectors: dict[str, Any] = {}
    for engine in alive(found):
        reply = engine.ask("check")
        if "vectors" in reply:
            vectors[engine.name] = np.array(reply["vectors"])
    cosines: dict[str, float] = {}
    for engine in alive(found):
        reference = "transformers" if engine.name in OWN_WEIGHTS else BASELINE
        if engine.name in (reference, "transformers"):
            continue
        if reference not in vectors:
            engine.failure = f"not verified: {reference} gave no vectors"
            continue
        rows, expected = vectors[engine.name], vectors[reference]
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
        cosines[engine.name] = float(((rows * expected).sum(1) / lengths).min())
        limit = OWN_WEIGHTS.get(engine.name, 0.999999 if engine.facts.get("precision") == "fp32" else 0.99)
        if not cosines[engine.name] >= limit:
            engine.failure = f"not verified: cosine {cosines[engine.name]:.6f} with {reference}, below {limit}"
            say(f"{engine.name}: {engine.failure}")
    return cosines


def alive(found: dict[str, Engine]) -> list[Engine]:
    """Engines that have not failed."""
    return [engine for engine in found.values() if engine.failure is None]


def take_turns(found: dict[str, Engine], case: str, trials: int) -> None:
    """Time a case: one call each to warm up (to compile, for who does), but where a call takes a minute; then turns."""
    for trial in range(-1 if trials > 1 or case == "64 labels" else 0, trials):
        for engine in alive(found):
            time.sleep(PAUSE_S)
            reply = engine.ask(case)
            if trial >= 0 and "ms" in reply:
                engine.ms.setdefault(case, []).append(reply["ms"])


def figures(engine: Engine, baseline: Engine) -> dict[str, Any]:
    """Median, p95 and ratio to the baseline of each case."""
    cases: dict[str, Any] = {}
    for case, taken in engine.ms.items():
        base = baseline.ms.get(case, [])
        ratios = [float(theirs / ours) for theirs, ours in zip(base, taken, strict=False)]
        cases[case] = {
            "median_ms": float(np.median(taken)),
            "p95_ms": float(np.percentile(taken, 95)),
            "ratio": float(np.median(ratios)) if ratios else None,
            "trials": len(taken),
        }
    return cases


def busy_core(engine: Engine, trials: int) -> dict[str, float]:
    """The 1 s sound while another process keeps one core busy."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        taken = [reply["ms"] for reply in (engine.ask("1 s") for _ in range(trials)) if "ms" in reply]
    finally:
        busy.kill()
        busy.wait()
    return {"median_ms": float(np.median(taken)), "p95_ms": float(np.percentile(taken, 95)), "trials": len(taken)}


_FRESH = """
import sys, numpy as np, claprt
clap = claprt.load(sys.argv[1], provider=sys.argv[2], precision=sys.argv[3])
clap.embed_audio(np.ones(480000, np.float32) * np.linspace(-1, 1, 480000, dtype=np.float32))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def loads(work: Path, size: str, pairs: list[str], trials: int) -> dict[str, Any]:
    """Seconds from a process's start to its first vector, and its peak in 10^6 bytes: with nothing kept, then again."""
    first: dict[str, tuple[float, float]] = {}
    again: dict[str, list[tuple[float, float]]] = {pair: [] for pair in pairs}
    for trial in range(-1, trials):
        for pair in pairs:
            cache = work / f"fresh-{size}-{pair.replace(' ', '-')}"
            if trial < 0:
                shutil.rmtree(cache, ignore_errors=True)
            command = [python_of("claprt"), "-c", _FRESH, str(work / f"bundle-{size}"), *pair.split()]
            environment = {**os.environ, "CLAPRT_GRAPH_CACHE": str(cache)}
            started = time.perf_counter()
            ended = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE)
            took = (time.perf_counter() - started, int(ended.stdout) * 1024 / 1e6)
            if trial < 0:
                first[pair] = took
            else:
                again[pair].append(took)
    found: dict[str, Any] = {}
    for pair in pairs:
        seconds, mb = (float(np.median(taken)) for taken in zip(*again[pair], strict=True))
        found[pair] = {"first_s": first[pair][0], "first_mb": first[pair][1], "again_s": seconds, "again_mb": mb}
    return found


def measure(size: str, options: argparse.Namespace) -> dict[str, Any]:
    """All of one size."""
    trials = QUICK if options.quick else TRIALS
    names = [*REFERENCES, *(f"claprt {pair}" for pair in OURS)]
    if options.quick:
        names = [BASELINE, "transformers", "naive export", *(f"claprt {pair}" for pair in OURS)]
    shutil.rmtree(options.work / "cache", ignore_errors=True)  # peaks are those of processes that prepare their graphs
    with engines(names, options.work, size, 0 if options.quick else options.files) as found:
        cosines = verify(found)
        for case, count in trials.items():
            say(f"{size}: {CASES[case]}, {count} turns")
            take_turns(found, case, count)
        baseline = found[BASELINE]
        ours = [engine for engine in alive(found) if engine.name.startswith("claprt")]
        best = min(ours, key=lambda engine: np.median(engine.ms["1 s"]))
        say(f"{size}: one core kept busy")
        count = 15 if options.quick else 60
        others = [engine for engine in ours if engine is not best and engine.facts.get("precision") == "int8"]
        busy = {
            "engine": best.name,
            **busy_core(best, count),
            "others": {one.name: busy_core(one, count) for one in others},
        }
        rows = {
            name: {
                "facts": engine.facts, "ready_s": engine.ready_s, "peak_mb": engine.peak_mb, "failure": engine.failure,
                "cosine": cosines.get(name), "cases": figures(engine, baseline),
            }
            for name, engine in found.items()
        }  # fmt: skip
        runnable = [engine.name.removeprefix("claprt ") for engine in ours]
    say(f"{size}: fresh processes")
    fresh = loads(options.work, size, runnable, 1 if options.quick else 3)
    return {"engines": rows, "busy_core": busy, "fresh_process": fresh}


def say(line: str) -> None:
    """Progress, on standard error."""
    print(f"[{time.perf_counter() - _STARTED:6.1f} s] {line}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model, commit = "unknown", ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        names = {key.strip(): value.strip() for key, value in facts.items()}
        model = f"{names.get('model name', model)} (family {names.get('cpu family')}, model {names.get('model')})"
    packages = ("onnxruntime", "openvino", "claprt-native", "numpy", "soxr", "soundfile")
    with contextlib.suppress(OSError):
        command = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
        commit = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()
    return {
        "processor": model,
        "commit": commit or None,
        "features": sorted(cpu_features()),
        "threads": default_threads(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


_STARTED = time.perf_counter()


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description="Compare claprt with everything that a user could pick instead.")
    parser.add_argument("--quick", action="store_true", help="tiny alone, short calls alone: three minutes")
    parser.add_argument("--sizes", nargs="+", choices=["tiny", "base"])
    parser.add_argument("--files", type=int, default=200, help="files of the folder (200)")
    parser.add_argument("--tokenizer", type=Path, help="folder of RoBERTa's tokenizer.json (one of bytes)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args()
    options.work = options.work.resolve()
    results: dict[str, Any] = {"machine": machine(), "files": options.files, "quick": options.quick, "sizes": {}}
    for size in options.sizes or (["tiny"] if options.quick else ["tiny", "base"]):
        prepare(options.work, size, options.tokenizer)
        results["sizes"][size] = measure(size, options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    from benchmarks.tables.speed import bench_table

    print(bench_table(results))


if __name__ == "__main__":
    main()
