"""Tables of speed: engines beside other packages, and on cards."""

from __future__ import annotations

import math
import re
from typing import Any

from benchmarks.tables.machine import machine_line

_COLUMNS = ("1 s", "10 s", "batch 10", "batch 64", "files", "1 label", "64 labels")
_BRIEF_COLUMNS = ("10 s", "files")
_BRIEF_ENGINES = ("laion-clap", "claprt cpu fp32", "claprt cpu int8", "claprt openvino int8", "claprt native int8")


def brief_bench_table(bench: dict[str, Any], quality: dict[str, Any], parity: dict[str, Any]) -> str:
    """A few engines and calls, each beside how close its vectors are to laion-clap's."""
    sizes = bench["sizes"]
    lines = [f"| | vectors | {' | '.join(f'{size}, {case}' for size in sizes for case in _BRIEF_COLUMNS)} |"]
    lines.append("|---" * (2 + len(_BRIEF_COLUMNS) * len(sizes)) + "|")
    for name in _BRIEF_ENGINES:
        if any(name not in found["engines"] for found in sizes.values()):
            continue  # of results from before there was this engine
        ratios = [found["engines"][name]["cases"][case]["ratio"] for found in sizes.values() for case in _BRIEF_COLUMNS]
        cells = " | ".join(f"{ratio:.1f}×" for ratio in ratios)
        lines.append(f"| {name} | {_vectors(name, list(sizes), quality, parity)} | {cells} |")
    return "\n".join([*lines, "", machine_line(bench)])


def _vectors(engine: str, sizes: list[str], quality: dict[str, Any], parity: dict[str, Any]) -> str:
    """How close an engine's vectors are to laion-clap's, the worst of the sizes."""
    pair = engine.removeprefix("claprt ")
    if pair == engine:
        return "the reference"
    if pair.endswith("fp32"):
        rows = {row["what"]: row["measured"] for row in parity["rows"]}
        found = [re.search(r"max abs (\S+)", rows[f"laion-clap HTSAT-{size}, sounds ≤ 10 s"]) for size in sizes]
        return f"laion-clap's, to {max((float(match[1]) for match in found if match), default=math.nan):.0e}"
    worst = min(quality[f"bundle-{size}"]["pairs"][pair]["centred_cosine"] for size in sizes)
    return f"approximate, centred cosine {worst:.3f}"


def bench_table(results: dict[str, Any]) -> str:
    """Markdown tables of the benchmark, one for each size: how many times as fast as laion-clap each engine is."""
    parts: list[str] = []
    for size, found in results["sizes"].items():
        columns = [case for case in _COLUMNS if any(case in row["cases"] for row in found["engines"].values())]
        parts += [f"| HTSAT-{size} | {' | '.join(columns)} | peak MB |", f"|---{'|---' * len(columns)}|---|"]
        for name, row in found["engines"].items():
            cells = [_cell(row["cases"].get(case)) for case in columns]
            shown = f"**{name}**" if name.startswith("claprt") else name
            parts.append(f"| {shown} | {' | '.join(cells)} | {row['peak_mb']:.0f} |")
        failures = [f"{name}: {row['failure']}" for name, row in found["engines"].items() if row["failure"]]
        parts += ["", *(f"Not measured: {failure}." for failure in failures), _beside(size, found), ""]
    return "\n".join([*parts, machine_line(results)]).strip()


def _cell(case: dict[str, Any] | None) -> str:
    """A ratio, and the median time it came with."""
    if case is None or case["ratio"] is None:
        return "–"
    ms = case["median_ms"]
    return f"{case['ratio']:.2f}× ({ms:.0f} ms)" if ms < 10_000 else f"{case['ratio']:.2f}× ({ms / 1000:.0f} s)"


def _beside(size: str, found: dict[str, Any]) -> str:
    busy, fresh = found["busy_core"], found["fresh_process"]
    loads = [
        f"{pair} {f['again_s']:.2f} s and {f['again_mb']:.0f} MB (at first {f['first_s']:.1f} s and {f['first_mb']:.0f} MB)"
        for pair, f in fresh.items()
    ]
    one_core = [
        f"{name} median {row['median_ms']:.0f} ms, p95 {row['p95_ms']:.0f} ms"
        for name, row in {busy["engine"]: busy, **busy.get("others", {})}.items()
    ]
    return (
        f"HTSAT-{size}, a 1 s sound with one core kept busy by another process: {'; '.join(one_core)}. From a process's "
        f"start to its first vector, and its peak memory: {'; '.join(loads)}."
    )


def tensorrt_rtx_table(results: dict[str, Any]) -> str:
    """A markdown table of engines that were built, with the size of their graphs."""
    lines = ["| model | graph | precision | graph, MB | engine, MB | layers | seconds |", "|---|---|---|---|---|---|---|"]
    for row in results["rows"]:
        what = f"| {row['model']} | `{row['graph']}` | `{row['precision']}` "
        if "error" in row:
            lines.append(f"{what}| | not built: {row['error']} | | |")
            continue
        sizes = f"{row['graph_mb']:.1f} | {row['mb']:.1f} | {row['layers']} | {row['seconds']:.1f}"
        lines.append(f"{what}| {sizes} |")
    cards = ", ".join(results["cards"])
    return "\n".join([*lines, "", f"TensorRT-RTX {results['tensorrt_rtx']}, each engine for {cards}."])


def gpu_table(results: dict[str, Any]) -> str:
    """Markdown tables of engines on a card: the audio tower by itself beside torch, and whole calls of ours."""
    towers = [
        "| audio tower | batch 1 | batch 8 | batch 64 | sounds in a second at 64 | smallest cosine |",
        "|---|---|---|---|---|---|",
    ]
    calls = ["| whole call | a 10 s sound | 64 of them | a text | 64 texts |", "|---|---|---|---|---|"]
    left_out: list[str] = []
    for size, engines in results["sizes"].items():
        for engine, row in engines.items():
            cases = row["cases"]
            if not cases:
                left_out.append(engine.split()[1])
                continue
            shown = f"**{engine}**" if engine.startswith("claprt ") else engine
            ms = [f"{cases[name]['p50_ms']:.1f} ms" for name in ("batch 1", "batch 8", "batch 64")]
            cells = [f"HTSAT-{size}, {shown}", *ms, f"{cases['batch 64']['per_s']:.0f}", f"{row['cosine']:.7f}"]
            towers.append(f"| {' | '.join(cells)} |")
            if "64 sounds" in cases:
                ms = [f"{cases[name]['p50_ms']:.1f} ms" for name in ("1 sounds", "64 sounds", "1 texts", "64 texts")]
                calls.append(f"| HTSAT-{size}, {shown} | {' | '.join(ms)} |")
    versions = f"torch {results['torch']}, onnxruntime {results['onnxruntime']}"
    missing = f" Not there, so not measured: {', '.join(dict.fromkeys(left_out))}." if left_out else ""
    return "\n".join(
        [
            *towers,
            "",
            *calls,
            "",
            f"Measured on one {results['device']} with {results['cpus']} CPU cores; {versions}.{missing}",
        ]
    )
