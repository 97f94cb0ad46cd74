"""The metrics of two sets, with their intervals and what qualifies them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from claprt.errors import DatasetError, OptionError
from claprt.evaluation.intervals import CONFIDENCE, Interval, mean_interval, normal_interval, share_interval
from claprt.evaluation.scores.distances.extrapolation import extrapolate
from claprt.evaluation.scores.distances.frechet import frechet
from claprt.evaluation.scores.distances.kernel import kernel_distance
from claprt.evaluation.scores.distances.neighbours import neighbours
from claprt.evaluation.scores.distances.vector_sets import VectorSet
from claprt.evaluation.scores.protocols.table import Protocol
from claprt.evaluation.scores.provenance import Provenance
from claprt.evaluation.scores.set_scores import METRICS, ScoredSound, SetScores, SoundSet

_JACKKNIFE = "infinitesimal jackknife"
_LEAST_FOR_A_LINE = 8


@dataclass(slots=True)
class _Found:
    values: dict[str, float] = field(default_factory=dict[str, float])
    intervals: dict[str, Interval] = field(default_factory=dict[str, Interval])
    details: dict[str, object] = field(default_factory=dict[str, object])
    fad: NDArray[np.float64] | None = None
    kad: NDArray[np.float64] | None = None
    warnings: list[str] = field(default_factory=list[str])


def compare(
    reference: SoundSet,
    candidate: SoundSet,
    metrics: Sequence[str],
    protocol: Protocol,
    provenance: Provenance,
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> SetScores:
    """Compute metrics of two sets.

    Args:
        reference: What the candidates are held against.
        candidate: With vectors.
        metrics: Of `METRICS`.
        protocol: How details of them are computed.
        provenance: What computed the vectors.
        confidence: Of the intervals.
        seed: Of subsets and intervals.

    Raises:
        OptionError: If a metric needs the vectors of a reference of which only statistics are known.
        DatasetError: If a set has too few sounds.
        ArrayError: If the sets have vectors of different lengths.
    """
    vectors = candidate.vectors
    if vectors is None:
        raise OptionError(f"The candidates {candidate.name} are statistics; name a folder of sounds.")
    found = _Found(warnings=_warnings(reference, candidate, metrics, provenance))
    if "fad" in metrics or "fad-inf" in metrics:
        _add_frechet(found, reference, candidate, vectors, metrics, protocol, confidence, seed)
    if "kad" in metrics:
        _add_kernel(found, _vectors(reference, "kad"), vectors, protocol, confidence)
    if METRICS[3] in metrics:
        _add_neighbours(found, _vectors(reference, METRICS[3]), vectors, confidence, seed)
    items = [
        ScoredSound(
            path=name,
            fad=None if found.fad is None else float(found.fad[place]),
            kad=None if found.kad is None else float(found.kad[place]),
        )
        for place, name in enumerate(vectors.sounds)
    ]
    order = np.argsort(vectors.given).tolist()
    return SetScores(
        values=found.values,
        intervals=found.intervals,
        details=found.details,
        reference=reference,
        candidate=candidate,
        items=tuple(items[place] for place in order),
        seed=seed,
        provenance=provenance,
        warnings=tuple(found.warnings),
    )


def _vectors(reference: SoundSet, metric: str) -> VectorSet:
    """The vectors of the reference.

    Raises:
        OptionError: If only its statistics are known.
    """
    if reference.vectors is None:
        raise OptionError(
            f"{metric} needs the vectors of the reference, and {reference.name} holds their mean and covariance."
        )
    return reference.vectors


def _add_frechet(
    found: _Found,
    reference: SoundSet,
    candidate: SoundSet,
    vectors: VectorSet,
    metrics: Sequence[str],
    protocol: Protocol,
    confidence: float,
    seed: int,
) -> None:
    for side in (candidate, reference):
        if side.gaussian is None:
            count = 0 if side.vectors is None else len(side.vectors.rows)
            raise DatasetError(f"{side.name} has {count} vectors, and a Fréchet distance needs two sounds at least.")
    assert candidate.gaussian is not None
    assert reference.gaussian is not None
    pair = frechet(candidate.gaussian, reference.gaussian)
    error = pair.standard_error(vectors, reference.vectors)
    if "fad" in metrics:
        found.values["fad"] = pair.distance
        found.intervals["fad"] = normal_interval(pair.distance, error, _JACKKNIFE, confidence, low=0.0)
        found.fad = pair.shares(vectors)
        found.details["fad"] = {"lacking_spread": max(0.0, pair.distance - float(found.fad.sum()))}
    if "fad-inf" in metrics:
        if len(vectors.rows) < _LEAST_FOR_A_LINE:
            raise DatasetError(
                f"{candidate.name} has {len(vectors.rows)} vectors; a line through their subsets needs {_LEAST_FOR_A_LINE}."
            )
        line = extrapolate(
            vectors.rows,
            reference.gaussian,
            seed=seed,
            with_replacement=protocol.with_replacement,
            rounded_mean=protocol.storage == "float16",
        )
        found.values["fad_inf"] = line.distance
        found.intervals["fad_inf"] = normal_interval(line.distance, error, _JACKKNIFE, confidence)
        found.details["fad_inf"] = line.to_dict()


def _add_kernel(found: _Found, reference: VectorSet, vectors: VectorSet, protocol: Protocol, confidence: float) -> None:
    kernel = kernel_distance(reference, vectors, bandwidth_of_candidate=protocol.own_bandwidth)
    found.values["kad"] = kernel.distance
    if np.isfinite(kernel.standard_error):
        found.intervals["kad"] = normal_interval(kernel.distance, kernel.standard_error, "jackknife", confidence)
    if np.isfinite(kernel.shares).all():  # three sounds or more
        found.kad = kernel.shares
    found.details["kad"] = {"bandwidth": kernel.bandwidth}


def _add_neighbours(found: _Found, reference: VectorSet, vectors: VectorSet, confidence: float, seed: int) -> None:
    four = neighbours(reference.rows, vectors.rows)
    found.values |= {"precision": four.precision, "recall": four.recall, "density": four.density, "coverage": four.coverage}
    if vectors.one_each:
        found.intervals["precision"] = share_interval(four.in_reference > 0, confidence=confidence)
        density = mean_interval(four.in_reference / four.nearest, confidence=confidence, seed=seed)
        if density is not None:
            found.intervals["density"] = density
    if reference.one_each:
        found.intervals["recall"] = share_interval(four.recalled, confidence=confidence)
        found.intervals["coverage"] = share_interval(four.covered, confidence=confidence)
    found.details["precision-recall-density-coverage"] = {"nearest": four.nearest}


def _warnings(reference: SoundSet, candidate: SoundSet, metrics: Sequence[str], provenance: Provenance) -> list[str]:
    found: list[str] = []
    for side, what in ((candidate, "candidates"), (reference, "sounds of the reference")):
        if side.gaussian is None or side.gaussian.rows is None or not {"fad", "fad-inf"} & set(metrics):
            continue
        rows, dim = side.gaussian.rows, side.gaussian.dim
        if rows <= dim:
            found.append(
                f"{rows} vectors of the {what} are fewer than their {dim} dimensions: the covariance has no full rank, and "
                "the Fréchet distance is too large by an amount that depends on the number. Compare only sets of the same "
                "size, or report fad-inf or kad."
            )
    if candidate.vectors is not None and reference.vectors is not None:
        known, sounds = {row.tobytes() for row in reference.vectors.rows}, candidate.vectors
        shared = {owner for row, owner in zip(sounds.rows, sounds.owner.tolist(), strict=True) if row.tobytes() in known}
        if shared:
            found.append(
                f"{len(shared)} of {len(sounds.sounds)} candidates are in the reference too (the same vectors), so the "
                "distances are smaller than those of new sounds."
            )
    return [*found, *provenance.warnings]
