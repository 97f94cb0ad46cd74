"""Puts measured results into the documents, between their markers, so that no figure in them is typed by hand.

python benchmarks/table.py            rewrites README.md and those documents in docs/ that have tables
python benchmarks/table.py --check    says whether they are up to date
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def parity_table(results: dict[str, Any]) -> str:
    """A markdown table of all parity rows, with the versions that were compared."""
    rows = [f"| {row['what']} | {row['bar']} | {row['measured']} |" for row in results["rows"]]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return "\n".join(["| against | bar | measured |", "|---|---|---|", *rows, "", f"Measured with {versions}."])


def mini_table(figures: dict[str, Any]) -> str:
    """A markdown table of what mini's study reached."""
    templates = figures["esc10_top1_held_out_templates"]
    worst = min(templates, key=lambda template: templates[template])
    seen, unseen, unlike = figures["named_seen"], figures["named_unseen"], figures["named_unseen_unlike"]
    rows = [
        (f"zero-shot top-1 on ESC-10's fold {figures['esc10_fold']}, trained on folds 1–3", "≥ 0.82",
         figures["esc10_top1"]),
        (f"the same with templates that training never used, the worst of {len(templates)} (`{worst}`)", "≥ 0.78",
         templates[worst]),
        ("synthesised sounds with unseen parameters, among all 67 kinds: seen wordings", "≥ 0.85",
         figures["synthesised_seen_wordings"]),
        ("the same: wordings that training never used", "≥ 0.65", figures["synthesised_held_out_wordings"]),
        (f"held-out recordings of names that training used ({seen['sounds']}): the right name in the first five of 20",
         "≥ 0.85", seen["R@5 of 20"]),
        (f"the same, names that training never used ({unseen['sounds']})", "≥ 0.65", unseen["R@5 of 20"]),
        (f"of these, names unlike every name that training used ({unlike['sounds']})", "chance 0.25", unlike["R@5 of 20"]),
    ]  # fmt: skip
    lines = ["| what | bar | measured |", "|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {bar} | {value:.3f} |" for what, bar, value in rows])


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
    return "\n".join([*lines, "", _machine(bench)])


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


def _machine(results: dict[str, Any]) -> str:
    found = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    features = ", ".join(found["features"])
    commit = f", commit {found['commit']}" if found.get("commit") else ""
    return f"Measured on {found['threads']} cores of {found['processor']} with {features}; {versions}{commit}."


def quality_table(results: dict[str, Any]) -> str:
    """A markdown table of what lowered precisions cost on real sounds."""
    lines = ["| bundle | | centred cosine | worst | top-1 (fp32) | R@5 (fp32) |", "|---|---|---|---|---|---|"]
    for bundle, found in results.items():
        full = found["pairs"]["fp32"]
        for pair, row in found["pairs"].items():
            if pair == "fp32":
                continue
            cells = [f"{row['centred_cosine']:.4f}", f"{row['centred_cosine_min']:.4f}"]
            cells += [f"{row[key]:.3f} ({full[key]:.3f})" if key in row else "–" for key in ("top1", "recall5")]
            lines.append(f"| {bundle} | {pair} | {' | '.join(cells)} |")
    sounds = "; ".join(sorted({f"{found['sounds']} sounds of {found['dataset']}" for found in results.values()}))
    return "\n".join([*lines, "", f"{sounds}."])


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
    return "\n".join([*parts, _machine(results)]).strip()


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
    return (
        f"HTSAT-{size}, a 1 s sound with one core kept busy by another process ({busy['engine']}): median "
        f"{busy['median_ms']:.0f} ms, p95 {busy['p95_ms']:.0f} ms. From a process's start to its first vector, and its "
        f"peak memory: {'; '.join(loads)}."
    )


def triton_table(results: dict[str, Any]) -> str:
    """A markdown table of a Triton server against the engine in process, with the bar for each row."""
    served = results["served"]
    worst = max(row["max_abs"] for row in served["vectors"].values())
    cosine = min(row["min_cosine"] for row in served["vectors"].values() if "min_cosine" in row)
    rates, soak, start = (results[name] for name in ("throughput", "soak", "start_s"))
    sizes = {"tiny": served["overhead"], "mini": results["overhead_of_mini"]}
    rows = [
        ("vectors through every protocol against in process", "max abs ≤ 1e-6", f"{worst:.1e}, cosine {cosine:.9f}"),
        *(
            (
                f"one 10 s sound, longer than in process ({' / '.join(sizes)}): {name}", bar,
                " / ".join(f"{over[name]['overhead_ms']:+.1f} ms" for over in sizes.values()),
            )
            for name, bar in (
                ("claprt.load, gRPC", "≤ 6 ms"), ("claprt.load, shared memory", "≤ 3 ms"), ("claprt.load, HTTP", ""),
                ("tritonclient, gRPC, waveforms", ""), ("tritonclient, shared memory, waveforms", ""),
            )
            if all(name in over for over in sizes.values())
        ),
        *(
            (f"{precision}: throughput of 8 clients to that of 1", "≥ 1.2×", f"{rate['eight_to_one']:.2f}×")
            for precision, rate in rates.items()
        ),
        *(
            (f"{precision}: what the cores do in process, side by side, to that of 1", "", f"{rate['cores_to_one']:.2f}×")
            for precision, rate in rates.items()
            if "cores_to_one" in rate
        ),
        *(
            (f"{precision}: throughput of 8 clients to a list in process", "≥ 0.85×", f"{rate['eight_to_in_process']:.2f}×")
            for precision, rate in rates.items()
        ),
        *(
            (
                f"perf_analyzer, shared memory, {clients} at once", "",
                f"{row['sounds_per_s']:.1f} sounds/s, p50 {row['p50_ms']:.0f} ms, p99 {row['p99_ms']:.0f} ms",
            )
            for clients, row in served.get("perf_analyzer", {}).items()
        ),
        ("wait of a lone request in all queues", "≤ 1 ms", f"{served['lone_wait_ms']:.2f} ms"),
        ("start to all models ready, first time / again", "≤ 10 s", f"{start['first']:.1f} s / {start['again']:.1f} s"),
        (
            f"{soak['requests']} mixed requests of 8 clients, the server killed once: wrong / unanswered",
            "0 / 0", f"{soak['wrong']} / {soak['failed']}",
        ),
        (
            "memory of the server and its steps at 65 % of them / at the end", "flat",
            f"{soak['memory_mb_at_two_thirds']:.0f} / {soak['memory_mb_at_the_end']:.0f} MB",
        ),
    ]  # fmt: skip
    lines = ["| what | bar | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    return "\n".join([*lines, "", _machine(results)])


def tagging_table(results: dict[str, Any]) -> str:
    """A markdown table of precision, recall and F1 of tags from a probability of 0.5 on."""
    ways = list(next(iter(results["sets"].values()))["ways"])
    lines = [f"| tags of {results['bundle']} on | " + " | ".join(ways) + " |", "|---|" + "---|" * len(ways)]
    for name, found in results["sets"].items():
        cells = [f"{way['precision']:.2f} / {way['recall']:.2f} / **{way['f1']:.2f}**" for way in found["ways"].values()]
        asked = f"{name} ({found['sounds']} sounds, {found['tags']} tags of which {found['prevalence']:.1%} apply)"
        lines.append(f"| {asked} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "Precision / recall / F1, from 0.5 on."])


def service_table(results: dict[str, Any]) -> str:
    """A markdown table of the service against the same model in process, with the bar for each row."""
    rows: list[tuple[str, str, str]] = []
    bars = {"base auto": "p95 < 100 ms", "tiny auto": "p95 < 60 ms"}
    ones = {name.removeprefix("one "): row for name, row in results.items() if name.startswith("one ")}
    for name, row in ones.items():
        what = f"{name.split()[0]} in {row['precision']} on {row['provider']}, a 1 s sound: p50 / p95"
        rows.append((what, bars.get(name, ""), f"{row['p50_ms']:.1f} ms / {row['p95_ms']:.1f} ms"))
    for name, row in ones.items():
        bar = "" if name.startswith("base") else "≤ 3 ms"
        what = f"{name.split()[0]} in {row['precision']}: longer than in process"
        rows.append((what, bar, f"{row['overhead_ms']:+.1f} ms"))
    for name, row in results.items():
        if name.startswith("many "):
            what = f"{name.split()[1]} in {row['precision']}: sounds in a second, 1 connection / 32 connections"
            rows.append((what, "≥ 1.3×", f"{row['one_per_s']:.0f} / {row['many_per_s']:.0f} ({row['ratio']:.2f}×)"))
            what = "the same in process, one after the other / a list, which the cores share"
            rows.append((what, "", f"{row['ratio_in_process']:.2f}×"))
    if "cache base" in results:
        row = results["cache base"]
        what = "base with `--cache`, a sound that it has heard before: p50 / p95"
        rows.append((what, "", f"{row['p50_ms']:.1f} ms / {row['p95_ms']:.1f} ms"))
    if "soak" in results:
        memory = results["soak"]["memory_mb"]
        what = f"mini, {results['soak']['requests']} requests of 32 connections: memory at a fifth of them / at the end"
        rows.append((what, "flat", f"{memory[0]:.0f} / {memory[-1]:.0f} MB"))
    lines = ["| what | bar | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    return "\n".join([*lines, "", _machine(results)])


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


def tables() -> dict[str, str]:
    """Every table by the name of its marker."""
    parity, mini, bench, quality, triton, tagging, service = (
        _read(name) for name in ("parity", "mini", "bench", "quality", "triton", "tagging", "service")
    )
    return {
        "parity": parity_table(parity),
        "mini": mini_table(mini),
        "bench: brief": brief_bench_table(bench, quality, parity),
        "bench: full": bench_table(bench),
        "bench: another": bench_table(_read("bench-another")),
        "quality": quality_table(quality),
        "triton": triton_table(triton),
        "tagging": tagging_table(tagging),
        "service": service_table(service),
        "soak": soak_table(_read("soak")),
        "service: another": service_table(_read("service-another")),
        "protocols": scores_table(_read("scores")),
        "tensorrt-rtx": tensorrt_rtx_table(_read("tensorrt-rtx")),
        "gpu": gpu_table(_read("gpu")),
        "library-search": library_search_table(_read("library-search")),
        "near-duplicates": near_duplicates_table(_read("near-duplicates")),
    }


def library_search_table(results: dict[str, Any]) -> str:
    """Durations, recall and memory of searches of a large library."""
    rows, start = f"{results['rows']:,}", results["process start"]

    def memory(of: dict[str, int]) -> str:
        return f"{of['peak']} MB, {of['own']} of them its own"

    exact, filtered, near = (results[name] for name in ("exact", "exact, half filtered", "approximate"))
    built, derived = results["index"], results["derived files"]
    recall = f"recall@10 {near['recall@10, sounds']:.3f} of sounds, {near['recall@10, texts']:.3f} of texts"
    lines = [
        f"| {rows} vectors of 512, one query | median | memory |",
        "|---|---|---|",
        f"| exact | {exact['p50_ms']:g} ms | {memory(exact['memory_mb'])} |",
        f"| exact, with a filter | {filtered['p50_ms']:g} ms | {memory(filtered['memory_mb'])} |",
        f"| approximate, {recall} | {near['p50_ms']:g} ms | {memory(near['memory_mb'])} |",
        f"| making the derived files | {derived['seconds']:g} s | {memory(derived['memory_mb'])} |",
        f"| building the index | {built['seconds']:g} s | {memory(built['memory_mb'])} |",
        f"| {results['start rows']:,} sounds, from the start of `claprt search` to its answer | {start['p50_s']:g} s | |",
    ]
    where = f"`python benchmarks/library_search.py` on {results['cores']} cores of an {results['machine']}."
    what = (
        "The files are in the page cache; a query whose rows lie on the disk waits for some 200 reads more. "
        "Memory is the peak; what is not the process's own are pages of mapped files."
    )
    return "\n".join([*lines, "", " ".join([where, what, *([results["note"]] if "note" in results else [])])])


def near_duplicates_table(results: dict[str, Any]) -> str:
    """Cosines of altered copies with their originals, and of other recordings."""
    rows = [
        f"| {name} | {of['least']:.3f} | {of['median']:.3f} |"
        for name, of in results["copies"].items()
        if name != "the same"
    ]
    other = results["nearest other"]
    shares = results["share with another above"].items()
    above = "; ".join(f"{share:.0%} have one at {least} or more" for least, share in shares)
    nearest = f"a cosine of {other['median']:.3f} in the median and of {other['most']:.3f} at most"
    clips = f"`python benchmarks/near_duplicates.py` with {results['clips']} clips of {results['dataset']}."
    lines = ["| a copy with | lowest cosine | median |", "|---|---|---|", *rows, ""]
    return "\n".join([*lines, f"The nearest *other* recording has {nearest}: {above}. {clips}"])


def scores_table(results: dict[str, Any]) -> str:
    """The protocols of scores, with what they give for the same sounds."""
    lines = [
        "| protocol | follows | resampling | levels | sounds over 10 s | CLAP score | FAD |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["protocols"].items():
        levels = [
            *([f"peak to {row['peak_db']:g} dB"] if row["peak_db"] is not None else []),
            *(["16-bit file"] if row["wav16"] else []),
            *(["16 bits"] if row["int16"] else []),
        ]
        stored = "" if row["storage"] == "float32" else f"; stored as {row['storage']}"
        spans = [_span(row["scores"], 3), _span(row["distances"], 3)]
        facts = [row["original"], row["resampling"], ", ".join(levels) or "as they are", row["long"] + stored, *spans]
        lines.append(f"| `{name}` | {' | '.join(facts)} |")
    return "\n".join(lines)


def _span(values: list[float], digits: int) -> str:
    """Smallest and largest value; a dash where there is none."""
    if not values:
        return "–"
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def soak_table(results: dict[str, Any]) -> str:
    """What came of a long run under faults."""
    faults, memory = results["faults"], results["memory_mb"]
    left = sum(count for name, count in results.items() if name.startswith("left: "))
    rows = {
        "minutes": f"{results['minutes']:g}",
        "requests that were answered": f"{results['requests']:,}",
        "vectors compared / wrong / largest difference":
            f"{results['vectors']:,} / {results['wrong vectors']} / {results['worst difference']:.1e}",
        "killed / told to end / stopped / disk filled":
            " / ".join(str(faults.get(name, 0)) for name in ("killed", "told to end", "stopped", "filled")),
        "clients that left, sent junk or only pinged": f"{left:,}",
        "requests that failed outside of a fault, tracebacks":
            f"{results['requests that failed outside of a fault']}, {results['tracebacks']}",
        "statuses after SIGTERM":
            ", ".join(f"{status}: {count}" for status, count in results["statuses after SIGTERM"].items()),
        "memory after half an hour without a restart: at its beginning / end / most":
            f"{memory['first']} / {memory['last']} / {memory['most']} MB",
    }  # fmt: skip
    lines = ["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join([*lines, "", _machine(results)])


def _read(name: str) -> dict[str, Any]:
    """A results file; those of `-another` are an earlier run on another machine."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def rendered(document: str, found: dict[str, str]) -> str:
    """The document with its tables as the results have them."""
    for name, table in found.items():
        end = name.partition(":")[0]
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{end} -->)", re.DOTALL)
        document = pattern.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", document)
    return document


def main() -> int:
    """Rewrites the documents, or with `--check` compares them; the exit status is 1 if they are out of date."""
    found = tables()
    status = 0
    for path in (
        ROOT / "README.md",
        *(
            ROOT / "docs" / f"{name}.md"
            for name in (
                "parity",
                "mini",
                "performance",
                "triton",
                "scores",
                "scores-report",
                "serve",
                "tensorrt",
                "library-search",
            )
        ),
    ):
        document = path.read_text(encoding="utf-8")
        fresh = rendered(document, found)
        if "--check" in sys.argv:
            status |= fresh != document
        else:
            path.write_text(fresh, encoding="utf-8")
    print("out of date: run python benchmarks/table.py" if status else "up to date")
    return status


if __name__ == "__main__":
    sys.exit(main())
