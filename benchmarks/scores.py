"""Protocols on the same sounds, and what ten thousand pairs cost beyond embedding.

python benchmarks/scores.py                 measures into benchmarks/results/scores.json, draws docs/scores-protocols.svg
python benchmarks/scores.py --part pairs    measures this part anew and keeps the others: protocols, pairs, coverage
python benchmarks/scores.py --draw          only draws what was measured
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))

import claprt
from benchmarks.library_search import processor
from claprt.audio.synthetic import SOUNDS
from claprt.evaluation.intervals import mean_interval
from claprt.evaluation.scores.pair_scores import PairSums
from claprt.evaluation.scores.protocols.table import PROTOCOLS, Protocol
from claprt.evaluation.scores.provenance import provenance_of

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "scores.json"
PICTURE = ROOT / "docs" / "scores-protocols.svg"
SEEDS = range(5)
RATES = (48_000, 44_100, 32_000)
PARTS = ("protocols", "pairs", "coverage")


def write_sounds(folder: Path, count: int, first: int) -> list[tuple[Path, str]]:
    """Sounds of 4 to 24 s at three rates whose second half is of another kind, with a text for the first."""
    folder.mkdir()
    names = [name for name in SOUNDS if name != "silence"]
    made: list[tuple[Path, str]] = []
    for number in range(first, first + count):
        name, other, rate = names[number % 9], names[(number * 5 + 2) % 9], RATES[number % 3]
        half = int((4 + number * 7 % 21) * rate / 2)
        samples = 0.2 * np.concatenate([SOUNDS[name](half, rate), SOUNDS[other](half, rate)])
        path = folder / f"{number:03}.wav"
        soundfile.write(path, samples, rate)
        made.append((path, f"the sound of {name}"))
    return made


def protocols(clap: claprt.Clap, folder: Path) -> dict[str, Any]:
    """Score of the same pairs and distance of the same sets under every protocol, for several seeds where it draws."""
    pairs = write_sounds(folder / "candidate", 16, 0)
    write_sounds(folder / "reference", 16, 40)
    sets = {"reference": folder / "reference", "candidate": folder / "candidate"}

    def score(protocol: str, seed: int, **what: Any) -> Any:
        return claprt.score(model=clap, protocol=protocol, seed=seed, **what)

    found: dict[str, Any] = {}
    for name, row in PROTOCOLS.items():
        seeds = SEEDS if row.draws else SEEDS[:1]
        found[name] = {
            "original": row.original,
            "resampling": str(row.resampling),
            "peak_db": row.peak_db,
            "int16": row.int16 or row.is_default,
            "wav16": row.wav16,
            "long": _long(row),
            "storage": row.storage,
            "scores": [score(name, s, pairs=pairs).mean for s in seeds] if row.pairs else [],
            "distances": [score(name, s, **sets)["fad"] for s in seeds] if row.sets else [],
        }  # fmt: skip
    return found


def _long(row: Protocol) -> str:
    if row.is_default:
        return "all windows, their mean"
    return "one window drawn" if row.hop_s is None else f"a vector every {row.hop_s:g} s, zeros behind the end"


def many_pairs(clap: claprt.Clap, count: int = 10_000) -> dict[str, float]:
    """Seconds and memory of the scores of pairs whose vectors are there, and the bytes that each pair adds.

    Memory is traced in a run of its own, which tracing makes slower.
    """
    seconds, processor_seconds, _ = _pairs_once(clap, count)
    tracemalloc.start()
    *_, grown = _pairs_once(clap, count)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "pairs": count,
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "bytes_per_pair": grown / (count - 500),
        "peak_mb": peak / 1e6,
    }


def _pairs_once(clap: claprt.Clap, count: int) -> tuple[float, float, int]:
    """Seconds, seconds of the processor, and the bytes that are traced between the 500th pair and the last."""
    draw = np.random.default_rng(0)
    sums = PairSums(clap.dim)
    spent, spent_cpu, before = 0.0, 0.0, 0
    for start in range(0, count, 250):
        both = draw.normal(size=(2, 250, clap.dim)).astype(np.float32)
        both /= np.linalg.norm(both, axis=2, keepdims=True)
        names = [(f"sounds/{start + number}.wav", f"text {start + number}") for number in range(250)]
        began, began_cpu = time.perf_counter(), time.process_time()
        sums.add(both[0], both[1], names)
        spent, spent_cpu = spent + time.perf_counter() - began, spent_cpu + time.process_time() - began_cpu
        if start == 250:
            before = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - before
    began, began_cpu = time.perf_counter(), time.process_time()
    sums.result(provenance_of(clap))
    return spent + time.perf_counter() - began, spent_cpu + time.process_time() - began_cpu, grown


def coverage(samples: int = 2000) -> dict[str, float]:
    """Share of intervals that hold the true mean, of samples of several sizes from three distributions."""
    draw = np.random.default_rng(1)
    kinds = {
        "normal": (lambda n: draw.normal(0.3, 0.1, n), 0.3),
        "skewed": (lambda n: draw.beta(2, 8, n), 0.2),
        "two peaks": (lambda n: draw.normal(np.where(draw.random(n) < 0.3, 0.1, 0.5), 0.05), 0.38),
    }
    found: dict[str, float] = {}
    for kind, (make, truth) in kinds.items():
        for size in (20, 100):
            intervals = [mean_interval(make(size), seed=number, resamples=1000) for number in range(samples)]
            found[f"{kind}, n = {size}"] = float(np.mean([i is not None and i.low <= truth <= i.high for i in intervals]))
    return found


def draw(results: dict[str, Any]) -> None:
    """Draw scores and distances of the same sounds, with the span of the seeds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 3.4), layout="constrained")
    axes = drawn.subplots(1, 2)
    for place, (key, title) in zip(axes, (("scores", "CLAP score"), ("distances", "Fréchet distance")), strict=True):
        rows = [(name, row[key]) for name, row in results["protocols"].items() if row[key]][::-1]
        for height, (name, values) in enumerate(rows):
            colour = "#1f6f8b" if name == "claprt" else "#8a8a8a"
            place.plot(
                [min(values), max(values)], [height, height], color=colour, linewidth=5, solid_capstyle="round", alpha=0.4
            )
            place.plot(values, [height] * len(values), "o", color=colour, markersize=5)
        place.set_yticks(range(len(rows)), [name for name, _ in rows])
        place.set_title(f"{title} of the same sounds", fontsize=10)
        place.tick_params(labelsize=8)
        place.spines[["top", "right"]].set_visible(False)
        place.grid(axis="x", alpha=0.3)
    drawn.suptitle("Dots are seeds, for the protocols that draw windows", fontsize=9)
    with mpl.rc_context({"svg.hashsalt": "claprt"}):
        drawn.savefig(PICTURE, metadata={"Date": None})


def main() -> int:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", default="mini", help="the model (%(default)s)")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--draw", action="store_true", help="only draw")
    options = parser.parse_args()
    if not options.draw:
        clap, parts = claprt.load(options.bundle), options.part or PARTS
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if options.part else {}
        results |= {
            "model": clap.manifest.name,
            "fingerprint": clap.fingerprint,
            "versions": {"claprt": claprt.__version__, "numpy": np.__version__, "python": platform.python_version()},
        }
        if "protocols" in parts:
            with tempfile.TemporaryDirectory() as folder:
                results["protocols"] = protocols(clap, Path(folder))
        if "pairs" in parts:
            results["many_pairs"] = {**many_pairs(clap), "processor": processor()}
        if "coverage" in parts:
            results["coverage"] = coverage()
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    print(json.dumps({key: results[key] for key in ("many_pairs", "coverage")}, indent=1))
    draw(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
