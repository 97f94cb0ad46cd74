"""Sets of sounds, and the distances between two of them: names, results, and the line for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claprt.errors import OptionError
from claprt.evaluation.intervals import Interval
from claprt.evaluation.scores.distances.gaussians import Gaussian
from claprt.evaluation.scores.distances.vector_sets import VectorSet
from claprt.evaluation.scores.provenance import Provenance

METRICS = ("fad", "fad-inf", "kad", "precision-recall-density-coverage")
_ALIASES = {"prdc": METRICS[3]}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SoundSet:
    """A set of sounds under one protocol."""

    name: str
    gaussian: Gaussian | None
    """None where there are fewer than two vectors."""
    vectors: VectorSet | None
    """None where only its statistics are known."""

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        rows = None if self.gaussian is None else self.gaussian.rows
        return {
            "name": self.name,
            "sounds": None if self.vectors is None else len(self.vectors.sounds),
            "vectors": rows if self.vectors is None else len(self.vectors.rows),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSound:
    """A candidate, and its part in the distances."""

    path: str
    fad: float | None = None
    """Its part of the Fréchet distance: the parts add up to it, less the spread that the candidates lack."""
    kad: float | None = None
    """By how much the kernel distance would fall without it; None if one vector would be left."""

    def to_dict(self) -> dict[str, str | float]:
        """Plain values for JSON."""
        shares = {"fad": self.fad, "kad": self.kad}
        return {"path": self.path, **{name: share for name, share in shares.items() if share is not None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetScores:
    """Distances of candidates from a reference; `scores["fad"]` is one of them."""

    values: Mapping[str, float]
    """`fad`, `fad_inf`, `kad`, `precision`, `recall`, `density`, `coverage`: those that were asked for."""
    intervals: Mapping[str, Interval]
    details: Mapping[str, object]
    reference: SoundSet
    candidate: SoundSet
    items: tuple[ScoredSound, ...]
    """Every candidate, in the order given."""
    seed: int
    provenance: Provenance
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    @property
    def citation(self) -> str:
        """One line for a paper."""
        numbers = ", ".join(
            f"{LABELS[name]} {value:.4f}" + (f" {span.cited}" if (span := self.intervals.get(name)) else "")
            for name, value in self.values.items()
        )
        sizes = [side.to_dict() for side in (self.candidate, self.reference)]
        counts = [
            side["sounds"] if side["sounds"] is not None else f"{side['vectors'] or 'unknown'} vectors" for side in sizes
        ]
        return f"{numbers}, n = {counts[0]} against {counts[1]}; {self.provenance.line}, seed {self.seed}."

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            **self.values,
            "intervals": {name: interval.to_dict() for name, interval in self.intervals.items()},
            "details": dict(self.details),
            "reference": self.reference.to_dict(),
            "candidate": self.candidate.to_dict(),
            "seed": self.seed,
            "model": self.provenance.to_dict(),
            "warnings": list(self.warnings),
            "citation": self.citation,
            "items": [item.to_dict() for item in self.items],
        }


LABELS = {
    "fad": "FAD",
    "fad_inf": "FAD∞",
    "kad": "KAD",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}
"""What metrics are called in text."""


def metrics_of(metric: str | Sequence[str]) -> tuple[str, ...]:
    """Names of metrics, in the order of `METRICS`; a string may hold several with commas.

    Raises:
        OptionError: If a name is not known, or there is none.
    """
    named = metric.split(",") if isinstance(metric, str) else list(metric)
    chosen = {
        _ALIASES.get(name.strip().lower().replace("_", "-"), name.strip().lower().replace("_", "-")) for name in named
    }
    unknown = sorted(chosen - set(METRICS))
    if unknown or not chosen:
        raise OptionError(
            f"metric={metric!r} is not known; give one or more of {', '.join(METRICS)} (or prdc), with commas."
        )
    return tuple(name for name in METRICS if name in chosen)
