"""The picture of the benchmark: how many times as fast as laion-clap, whole call, drawn from the results file.

python benchmarks/picture.py        writes docs/bench.svg
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

ROOT = Path(__file__).parents[1]
CASES = {"10 s": "one 10 s sound", "files": "a folder of files", "64 labels": "64 labels"}
OTHERS, EXACT, APPROXIMATE = "#b8b8b8", "#1f6f8b", "#7fbfd0"
LEGEND = {
    OTHERS: "other packages",
    EXACT: "claprt, fp32: vectors of laion-clap",
    APPROXIMATE: "claprt, int8 and bf16: approximate vectors",
}


def figure(results: dict[str, Any]) -> Figure:
    """One row for each size, one column for each case."""
    sizes = results["sizes"]
    drawn = Figure(figsize=(12, 3.6 * len(sizes)), layout="constrained")
    axes = drawn.subplots(len(sizes), len(CASES), squeeze=False)
    for row, (size, found) in zip(axes, sizes.items(), strict=True):
        for place, (case, title) in zip(row, CASES.items(), strict=True):
            rows = [
                (name, engine["cases"][case]["ratio"])
                for name, engine in found["engines"].items()
                if engine["cases"].get(case, {}).get("ratio") is not None
            ]
            names, ratios = [name for name, _ in rows][::-1], [ratio for _, ratio in rows][::-1]
            bars = place.barh(names, ratios, color=[_colour(name) for name in names])
            place.bar_label(bars, [f"{ratio:.1f}×" for ratio in ratios], padding=3, fontsize=8)
            place.set_title(f"HTSAT-{size}, {title}", fontsize=10)
            place.set_xlim(0, 1.15 * max(ratios, default=1))
            place.tick_params(labelsize=8)
            place.spines[["top", "right"]].set_visible(False)
    drawn.suptitle("Speed relative to laion-clap, from waveform, file or text to vector", fontsize=11)
    patches = [Patch(color=colour, label=label) for colour, label in LEGEND.items()]
    drawn.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=9, frameon=False)
    return drawn


def _colour(engine: str) -> str:
    if not engine.startswith("claprt"):
        return OTHERS
    return EXACT if engine.endswith("fp32") else APPROXIMATE


def main() -> None:
    """Draw it."""
    results = json.loads((ROOT / "benchmarks" / "results" / "bench.json").read_text(encoding="utf-8"))
    figure(results).savefig(ROOT / "docs" / "bench.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
