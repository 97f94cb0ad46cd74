"""The kernel audio distance (KAD; Chung et al. 2025, arXiv:2502.15602): the squared maximum mean discrepancy.

    KAD = 100 · (mean of k(x, x') + mean of k(y, y') − 2 · mean of k(x, y)),  k = exp(−|a − b|² / (2σ² + 1e−8))

over different x, x' of the reference and y, y' of the candidates. It is unbiased, so it may be negative where the sets are
alike. σ is the median distance within one of the sets: the reference's, so that candidates of one reference are comparable;
kadtk takes the candidates'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.errors import DatasetError
from claprt.evaluation.scores.distances.vector_sets import Rows, VectorSet, squared_distances

_SCALE = 100.0
_EPSILON = 1e-8
_BINS = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelDistance:
    """A kernel audio distance, and what it is without each sound."""

    distance: float
    bandwidth: float
    standard_error: float
    """Over repeated draws of the sounds: jackknife, with the bandwidth kept."""
    shares: NDArray[np.float64]
    """By how much the distance would fall without each candidate sound, [sounds] float64."""


def kernel_distance(reference: VectorSet, candidate: VectorSet, *, bandwidth_of_candidate: bool = False) -> KernelDistance:
    """The kernel audio distance of two sets.

    Args:
        reference: Vectors of the reference.
        candidate: Vectors of the candidates.
        bandwidth_of_candidate: Whether the bandwidth is the median distance of the candidates, as kadtk has it.

    Raises:
        DatasetError: If a set has fewer than two sounds, or the bandwidth is 0.
    """
    for name, vectors in (("reference", reference), ("candidates", candidate)):
        if len(vectors.rows) < 2:
            raise DatasetError(f"The {name} are {len(vectors.rows)} vectors; a kernel distance needs two at least.")
    bandwidth = median_distance((candidate if bandwidth_of_candidate else reference).rows)
    if not bandwidth > 0:
        raise DatasetError(
            "At least half of the sounds that give the bandwidth have the same vector; nothing can be compared."
        )
    within = _within(reference, bandwidth), _within(candidate, bandwidth)
    across = _across(reference, candidate, bandwidth)
    total = float(across[0].sum())
    value = _value(within[0].total, within[1].total, total, len(reference.rows), len(candidate.rows))
    without_reference = _without(within[0], across[0], within[1].total, len(candidate.rows), reference)
    without_candidate = _without(within[1], across[1], within[0].total, len(reference.rows), candidate)
    variance = sum(_jackknife(values) for values in (without_reference, without_candidate))
    return KernelDistance(
        distance=value, bandwidth=bandwidth, standard_error=math.sqrt(variance), shares=value - without_candidate
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Within:
    """Sums of the kernel over pairs of different rows of one set."""

    of_sounds: NDArray[np.float64]
    """Of the pairs that begin at a row of each sound."""
    inside: NDArray[np.float64]
    """Of the pairs within each sound."""

    @property
    def total(self) -> float:
        return float(self.of_sounds.sum())


def _within(vectors: VectorSet, bandwidth: float) -> _Within:
    sums = np.zeros(len(vectors.rows))
    for start, kernel in _of_others(vectors.rows, bandwidth):
        sums[start : start + len(kernel)] = kernel.sum(axis=1)
    inside = np.zeros(len(vectors.sounds))
    counts = np.bincount(vectors.owner, minlength=len(inside))
    for sound in np.flatnonzero(counts > 1).tolist():
        rows = vectors.rows[vectors.owner == sound]
        inside[sound] = sum(kernel.sum() for _, kernel in _of_others(rows, bandwidth))
    return _Within(vectors.per_sound(sums), inside)


def _of_others(rows: Rows, bandwidth: float) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The kernel of each row with the others, a block at a time: first row, [block, rows], 0 for the row itself."""
    for start, squares in squared_distances(rows, rows):
        kernel = _kernel(squares, bandwidth)
        places = np.arange(len(kernel))
        kernel[places, start + places] = 0.0
        yield start, kernel


def _across(first: VectorSet, second: VectorSet, bandwidth: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of the kernel between the sets, for the sounds of each."""
    of_first, of_second = np.zeros(len(first.rows)), np.zeros(len(second.rows))
    for start, squares in squared_distances(first.rows, second.rows):
        kernel = _kernel(squares, bandwidth)
        of_first[start : start + len(kernel)] = kernel.sum(axis=1)
        of_second += kernel.sum(axis=0)
    return first.per_sound(of_first), second.per_sound(of_second)


def _value(first: float, second: float, across: float, n: int, m: int) -> float:
    return _SCALE * (first / (n * (n - 1)) + second / (m * (m - 1)) - 2 * across / (n * m))


def _without(
    own: _Within, across: NDArray[np.float64], other: float, others: int, vectors: VectorSet
) -> NDArray[np.float64]:
    """The distance without each sound of a set [sounds]; NaN where fewer than two rows are left."""
    left = len(vectors.rows) - np.bincount(vectors.owner, minlength=len(vectors.sounds))
    total = own.total - 2 * own.of_sounds + own.inside
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(left > 1, total / (left * (left - 1.0)), np.nan)
        return _SCALE * (inner + other / (others * (others - 1)) - 2 * (across.sum() - across) / (left * others))


def _jackknife(values: NDArray[np.float64]) -> float:
    n = len(values)
    return float((n - 1) / n * ((values - values.mean()) ** 2).sum()) if n > 1 and np.isfinite(values).all() else math.nan


def _kernel(squares: NDArray[np.float64], bandwidth: float) -> NDArray[np.float64]:
    return np.exp(squares * (-1 / (2 * bandwidth**2 + _EPSILON)))


def median_distance(rows: Rows) -> float:
    """Median distance of different rows; the lower one of two in the middle, as torch has it.

    It is found among squared distances by counting in bins, so that memory does not grow with the pairs.
    """
    pairs = len(rows) * (len(rows) - 1) // 2
    rank = (pairs - 1) // 2
    low, high = 0.0, float(max(squares.max() for _, squares in squared_distances(rows, rows)))
    if not high > 0:
        return 0.0
    below = 0
    while True:
        edges = np.linspace(low, high, _BINS + 1)
        counts, inside = np.zeros(_BINS, np.int64), 0
        for values in _pairs(rows):
            counts += np.histogram(values, edges)[0]
        place = int(np.searchsorted(np.cumsum(counts), rank - below, side="right"))
        below += int(counts[:place].sum())
        low, high, inside = float(edges[place]), float(edges[place + 1]), int(counts[place])
        if inside <= 1 << 20 or high - low <= 1e-12 * high:
            break
    last = place == _BINS - 1
    kept = [values[(values >= low) & ((values <= high) if last else (values < high))] for values in _pairs(rows)]
    return math.sqrt(float(np.sort(np.concatenate(kept))[rank - below]))


def _pairs(rows: Rows) -> Iterator[NDArray[np.float64]]:
    """Squared distances of all pairs of different rows, each pair once."""
    for start, squares in squared_distances(rows, rows):
        yield squares[np.arange(start, start + len(squares))[:, None] < np.arange(len(rows))]
