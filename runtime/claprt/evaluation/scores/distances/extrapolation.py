"""The Fréchet distance for infinitely many candidates (FAD∞; Gui et al. 2023, arXiv:2311.01616).

A Fréchet distance of few sounds is too large, by about a constant divided by their number. So it is computed for several
numbers of them and read off a straight line over 1/n at 1/n = 0. The subsets are drawn without replacement. fadtk draws
with replacement, from the same few sounds each time; its line ends near the distance of those sounds themselves, and the
protocol `fadtk` does the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.evaluation.scores.distances.gaussians import Factor, Gaussian, factor_of_deviations
from claprt.evaluation.scores.distances.vector_sets import Rows

STEPS = 25
_FADTK_LEAST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """A line through Fréchet distances over 1/n."""

    distance: float
    """At 1/n = 0."""
    slope: float
    r2: float
    """Share of the variance that the line explains."""
    points: tuple[tuple[int, float], ...]
    """Numbers of vectors and their distances."""

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"slope": self.slope, "r2": self.r2, "points": [list(point) for point in self.points]}


def extrapolate(
    rows: Rows, reference: Gaussian, *, seed: int, with_replacement: bool = False, rounded_mean: bool = False
) -> Extrapolation:
    """Fréchet distances of subsets, and the line through them.

    Args:
        rows: Of the candidates, [rows, dim] float64, four at least.
        reference: The other Gaussian.
        seed: Of the subsets.
        with_replacement: As fadtk: sizes from 500 to all, drawn with replacement. Otherwise sizes from a quarter to all.
        rounded_mean: Whether means are rounded to float16, as fadtk's are.
    """
    random = np.random.RandomState(seed)
    least = _FADTK_LEAST if with_replacement else max(2, len(rows) // 4)
    sizes = [int(size) for size in np.linspace(least, len(rows), STEPS)]
    other = reference.factor()
    distances: list[float] = []
    for size in sizes:
        drawn = rows[random.choice(len(rows), size=size, replace=with_replacement)]
        mean = drawn.astype(np.float16).mean(axis=0).astype(np.float64) if rounded_mean else drawn.mean(axis=0)
        distances.append(_distance(drawn, mean - reference.mean, other))
    inverse, values = 1 / np.array(sizes), np.array(distances)
    spread = inverse - inverse.mean()
    total = float((spread**2).sum())
    slope = float((spread * values).sum()) / total if total > 0 else 0.0
    distance = float(values.mean()) - slope * float(inverse.mean())
    left = values - (slope * inverse + distance)
    varied = float(((values - values.mean()) ** 2).sum())
    r2 = 1 - float((left**2).sum()) / varied if varied > 0 else 1.0
    return Extrapolation(distance=distance, slope=slope, r2=r2, points=tuple(zip(sizes, distances, strict=True)))


def _distance(rows: Rows, shift: NDArray[np.float64], other: Factor) -> float:
    """The Fréchet distance of vectors from the Gaussian with the factor `other`, whose mean is `shift` from theirs.

    Centred vectors are a factor of their covariance, so few of them need no eigenvalues.
    """
    apart = rows - rows.mean(axis=0)
    few = len(rows) <= len(shift)
    matrix = apart.T / np.sqrt(len(rows) - 1) if few else factor_of_deviations(apart).matrix
    singular = np.linalg.svd(matrix.T @ other.matrix, compute_uv=False)
    return max(0.0, float(shift @ shift + (matrix**2).sum() + (other.scales**2).sum() - 2 * singular.sum()))
