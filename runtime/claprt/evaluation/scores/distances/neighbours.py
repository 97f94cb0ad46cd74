"""Precision, recall, density and coverage by nearest neighbours (Naeem et al. 2020, arXiv:2002.09797).

Each vector has a ball that reaches to its k-th nearest neighbour in its own set. Precision is the share of candidates in
some ball of the reference, density how many such balls there are for each, divided by k; recall is the share of the
reference in some ball of the candidates, coverage the share of the reference's balls that hold a candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.errors import DatasetError
from claprt.evaluation.scores.distances.vector_sets import Rows, squared_distances

NEAREST = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbours:
    """Four shares, with what each is the mean of."""

    in_reference: NDArray[np.int64]
    """Balls of the reference that hold each candidate, [candidates]."""
    recalled: NDArray[np.bool_]
    """Whether some ball of the candidates holds each vector of the reference, [references]."""
    covered: NDArray[np.bool_]
    """Whether each ball of the reference holds a candidate, [references]."""
    nearest: int

    @property
    def precision(self) -> float:
        """Share of candidates that are in the reference's balls."""
        return float((self.in_reference > 0).mean())

    @property
    def recall(self) -> float:
        """Share of the reference that is in the candidates' balls."""
        return float(self.recalled.mean())

    @property
    def density(self) -> float:
        """Balls of the reference around a candidate, divided by k; may be above 1."""
        return float(self.in_reference.mean()) / self.nearest

    @property
    def coverage(self) -> float:
        """Share of the reference's balls that hold a candidate."""
        return float(self.covered.mean())


def neighbours(reference: Rows, candidate: Rows, *, nearest: int = NEAREST) -> Neighbours:
    """Compare two sets by their nearest neighbours.

    Args:
        reference: [n, dim] float64.
        candidate: [m, dim] float64.
        nearest: Neighbours that a ball reaches to.

    Raises:
        DatasetError: If a set has no more vectors than that.
    """
    for name, rows in (("reference", reference), ("candidates", candidate)):
        if len(rows) <= nearest:
            raise DatasetError(
                f"The {name} are {len(rows)} vectors; precision and recall with {nearest} neighbours need {nearest + 1}."
            )
    of_reference, of_candidate = _radii(reference, nearest), _radii(candidate, nearest)
    inside = np.zeros(len(candidate), np.int64)
    recalled, covered = np.zeros(len(reference), np.bool_), np.zeros(len(reference), np.bool_)
    for start, squares in squared_distances(reference, candidate):
        apart, part = np.sqrt(squares), slice(start, start + len(squares))
        held = apart < of_reference[part, None]
        inside += held.sum(axis=0)
        covered[part] = held.any(axis=1)
        recalled[part] = (apart < of_candidate).any(axis=1)
    return Neighbours(in_reference=inside, recalled=recalled, covered=covered, nearest=nearest)


def _radii(rows: Rows, nearest: int) -> NDArray[np.float64]:
    """Distance of each row to its k-th neighbour; the row itself is the 0th."""
    radii = np.empty(len(rows))
    for start, squares in squared_distances(rows, rows):
        places = np.arange(len(squares))
        squares[places, start + places] = 0.0
        radii[start : start + len(squares)] = np.partition(np.sqrt(squares), nearest, axis=1)[:, nearest]
    return radii
