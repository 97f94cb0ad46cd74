"""The Fréchet distance of two Gaussians, by symmetric eigenvalues.

    d² = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½

Published code takes the square root of the product Σ₁ Σ₂, which is not symmetric: it comes out complex, or not at all,
where there are fewer vectors than dimensions. Here both covariances are written as F Fᵀ by their eigenvectors; then
tr (Σ₁ Σ₂)^½ is the sum of the singular values S of F₁ᵀ F₂ = U S Vᵀ, real and accurate for any rank.

The same decomposition gives the optimal map between the two Gaussians, x ↦ μ₂ + F₂ V Uᵀ F₁⁺ (x − μ₁). The distance is the
mean square of how far it moves the candidates, hence each sound's share; and its derivative gives each sound's influence,
hence the interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.errors import ArrayError
from claprt.evaluation.scores.distances.gaussians import Factor, Gaussian
from claprt.evaluation.scores.distances.vector_sets import VectorSet

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frechet:
    """A Fréchet distance with its decomposition."""

    candidate: Gaussian
    reference: Gaussian
    of_candidate: Factor
    of_reference: Factor
    left: Matrix
    """U, [rank of the candidate, k]."""
    singular: NDArray[np.float64]
    """S, [k]."""
    right: Matrix
    """V, [rank of the reference, k]."""

    @property
    def distance(self) -> float:
        """d², not negative."""
        apart = self.candidate.mean - self.reference.mean
        spread = float((self.of_candidate.scales**2).sum() + (self.of_reference.scales**2).sum())
        return max(0.0, float(apart @ apart) + spread - 2 * float(self.singular.sum()))

    def shares(self, vectors: VectorSet) -> NDArray[np.float64]:
        """Part of each candidate sound in the distance, [sounds] float64.

        They add up to the distance, less the spread of the reference in directions in which the candidates have none.

        Args:
            vectors: Those of which `candidate` is the mean and covariance.
        """
        apart = vectors.rows - self.candidate.mean
        moved = self.of_candidate.whitened(apart) @ self.left @ (self.of_reference.matrix @ self.right).T
        shift = self.candidate.mean - self.reference.mean
        displaced, rows = apart - moved, len(apart)
        each = (shift @ shift) / rows + 2 * displaced @ shift / rows + (displaced**2).sum(axis=1) / (rows - 1)
        return vectors.per_sound(each)

    def standard_error(self, candidate: VectorSet, reference: VectorSet | None) -> float:
        """Of the distance over repeated draws of the sounds, by their influence (infinitesimal jackknife).

        Args:
            candidate: The vectors of `candidate`.
            reference: The vectors of `reference`; None for a reference that is taken as it is.
        """
        shift = self.candidate.mean - self.reference.mean
        variance = _variance(candidate, self.candidate, self.of_candidate, self.left, self.singular, shift)
        if reference is not None:
            variance += _variance(reference, self.reference, self.of_reference, self.right, self.singular, -shift)
        return math.sqrt(variance)


def _variance(
    vectors: VectorSet, about: Gaussian, of: Factor, turn: Matrix, singular: NDArray[np.float64], shift: NDArray[np.float64]
) -> float:
    apart = vectors.rows - about.mean
    turned = of.whitened(apart) @ turn
    influence = 2 * apart @ shift + (apart**2).sum(axis=1) - turned**2 @ singular
    of_sounds = vectors.per_sound(influence - influence.mean()) / len(apart)
    count = len(vectors.sounds)
    return float((of_sounds**2).sum()) * (count / (count - 1) if count > 1 else 1.0)


def frechet(candidate: Gaussian, reference: Gaussian) -> Frechet:
    """The Fréchet distance of two Gaussians; it does not matter which is which.

    Raises:
        ArrayError: If their vectors have different lengths.
    """
    if candidate.dim != reference.dim:
        raise ArrayError(f"The candidates have vectors of {candidate.dim} numbers, the reference of {reference.dim}.")
    first, second = candidate.factor(), reference.factor()
    left, singular, right = np.linalg.svd(first.matrix.T @ second.matrix, full_matrices=False)
    return Frechet(
        candidate=candidate,
        reference=reference,
        of_candidate=first,
        of_reference=second,
        left=left,
        singular=singular,
        right=right.T,
    )
