"""Tables of a Triton server and of the service."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.machine import machine_line


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
    return "\n".join([*lines, "", machine_line(results)])


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
    return "\n".join([*lines, "", machine_line(results)])


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
    return "\n".join([*lines, "", machine_line(results)])
