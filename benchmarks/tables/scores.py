"""The table of protocols of scores."""

from __future__ import annotations

from typing import Any


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


def score_checks_table(results: dict[str, Any]) -> str:
    """What ten thousand pairs cost beyond embedding, and how often intervals of a mean hold it."""
    pairs, kinds = results["many_pairs"], results["coverage"]
    took = f"{pairs['seconds']:.1f} s ({pairs['processor_seconds']:.1f} s of the processor, {pairs['processor']})"
    return "\n".join([
        "| what | measured |",
        "|---|---|",
        f"| {pairs['pairs']} pairs, beyond embedding | {took} |",
        f"| memory that a pair adds: its cosine and its names | {pairs['bytes_per_pair']:.0f} bytes |",
        *(f"| intervals of 95 % that hold the mean of scores, {kind} | {share:.1%} |" for kind, share in kinds.items()),
    ])  # fmt: skip


def _span(values: list[float], digits: int) -> str:
    """Smallest and largest value; a dash where there is none."""
    if not values:
        return "–"
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"
