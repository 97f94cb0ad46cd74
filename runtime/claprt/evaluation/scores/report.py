"""Scores as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from claprt.evaluation.intervals import Interval
from claprt.evaluation.scores.pair_scores import PairScores
from claprt.evaluation.scores.provenance import Provenance
from claprt.evaluation.scores.set_scores import LABELS, SetScores
from claprt.system.terminal import printable


def pair_table(scores: PairScores) -> str:
    """The CLAP score of pairs, with the line to cite it by."""
    rows = [
        ("CLAP score", f"{scores.mean:.4f}"),
        *_interval_row(scores.interval),
        ("std", f"{scores.std:.4f}"),
        ("median", f"{scores.median:.4f}"),
        ("pairs", str(scores.n)),
    ]
    if scores.shuffled is not None:
        rows.append(("shuffled pairs", f"{scores.shuffled.mean:.4f}  (std {scores.shuffled.std:.4f})"))
    return _table([*rows, *_facts(scores.provenance, scores.seed)], scores.citation)


def set_table(scores: SetScores) -> str:
    """Distances of sets, with the line to cite them by."""
    rows: list[tuple[str, str]] = []
    for name, value in scores.values.items():
        span = scores.intervals.get(name)
        shown = "" if span is None else f"  ({span.confidence:.0%} interval {span})"
        rows.append((LABELS[name], f"{value:.4f}{shown}"))
    for what, side in (("candidate", scores.candidate), ("reference", scores.reference)):
        plain = side.to_dict()
        sounds = "statistics" if plain["sounds"] is None else f"{plain['sounds']} sounds"
        vectors = "" if plain["vectors"] in (None, plain["sounds"]) else f", {plain['vectors']} vectors"
        rows.append((what, f"{printable(side.name)}  ({sounds}{vectors})"))
    return _table([*rows, *_facts(scores.provenance, scores.seed)], scores.citation)


def _interval_row(interval: Interval | None) -> list[tuple[str, str]]:
    if interval is None:
        return []
    return [(f"{interval.confidence:.0%} interval", str(interval))]


def _facts(provenance: Provenance, seed: int) -> list[tuple[str, str]]:
    return [
        ("protocol", provenance.protocol),
        ("checkpoint", f"{provenance.checkpoint}  sha256 {provenance.sha256}"),
        ("windows", provenance.windows),
        ("precision", provenance.precision),
        ("fingerprint", provenance.fingerprint),
        ("seed", str(seed)),
    ]


def _table(rows: Sequence[tuple[str, str]], citation: str) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join([*(f"{name:{width}}  {value}" for name, value in rows), "", "To cite:", citation])
