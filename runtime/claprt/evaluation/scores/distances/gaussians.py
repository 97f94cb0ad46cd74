"""Mean and covariance of a set of vectors: all that a Fréchet distance takes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.errors import DatasetError
from claprt.evaluation.scores.distances.vector_sets import Rows, VectorSet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factor:
    """A covariance as F Fᵀ: F is its eigenvectors [dim, rank] times the square roots of its eigenvalues [rank]."""

    vectors: NDArray[np.float64]
    scales: NDArray[np.float64]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """F, [dim, rank]."""
        return self.vectors * self.scales

    def whitened(self, apart: Rows) -> Rows:
        """F⁺ x of deviations from the mean [rows, dim]: [rows, rank]."""
        return apart @ self.vectors / self.scales


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaussian:
    """A mean [dim] and a covariance [dim, dim], both float64."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    rows: int | None = None
    """Vectors that it was computed from; None where that is not known."""
    known: Factor | None = None
    """The factor, where it was simpler to compute than the covariance."""

    @property
    def dim(self) -> int:
        """Length of the mean."""
        return len(self.mean)

    def factor(self) -> Factor:
        """Eigenvectors and scales of the covariance; what is rounding is left out."""
        return self.known or factor_of_covariance(self.covariance)


def factor_of_covariance(covariance: NDArray[np.float64]) -> Factor:
    """Factor of a covariance [dim, dim]."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    kept = values > max(values.max(initial=0.0), 0.0) * len(values) * np.finfo(np.float64).eps
    return Factor(vectors=vectors[:, kept], scales=np.sqrt(values[kept]))


def factor_of_deviations(apart: Rows) -> Factor:
    """Factor of the covariance of vectors [rows, dim] whose mean was taken off: cheap where they are few."""
    if len(apart) > apart.shape[1]:
        return factor_of_covariance(apart.T @ apart / (len(apart) - 1))
    _, values, vectors = np.linalg.svd(apart / np.sqrt(len(apart) - 1), full_matrices=False)
    kept = values > values.max(initial=0.0) * apart.shape[1] * np.finfo(np.float64).eps
    return Factor(vectors=vectors[kept].T, scales=values[kept])


def gaussian_of(vectors: VectorSet) -> Gaussian:
    """Mean and covariance, with n − 1 in the denominator.

    Raises:
        DatasetError: If there are fewer than two vectors.
    """
    return gaussian_of_rows(vectors.rows)


def gaussian_of_rows(rows: Rows) -> Gaussian:
    """The same of an array [rows, dim].

    Raises:
        DatasetError: If there are fewer than two vectors.
    """
    if len(rows) < 2:
        raise DatasetError(f"A set of {len(rows)} vectors has no covariance; a Fréchet distance needs two sounds at least.")
    mean = rows.mean(axis=0)
    apart = rows - mean
    known = factor_of_deviations(apart) if len(rows) <= rows.shape[1] else None
    return Gaussian(mean=mean, covariance=apart.T @ apart / (len(rows) - 1), rows=len(rows), known=known)


def gaussian_of_sounds(vectors: VectorSet) -> Gaussian:
    """The same, put together from each sound's own mean, which is rounded to float16: what fadtk computes.

    Raises:
        DatasetError: If a sound has one vector only, for which fadtk gives NaN.
    """
    counts = np.bincount(vectors.owner, minlength=len(vectors.sounds))
    if (counts < 2).any():
        short = vectors.sounds[int(np.flatnonzero(counts < 2)[0])]
        raise DatasetError(
            f"{short} has one window, for which fadtk's statistics are NaN; leave out sounds of a second or less."
        )
    mean, scatter, rows = np.zeros(vectors.dim), np.zeros((vectors.dim, vectors.dim)), 0
    for begin, count in zip((np.cumsum(counts) - counts).tolist(), counts.tolist(), strict=True):
        own = vectors.rows[begin : begin + count]
        apart = own - own.mean(axis=0)
        step = own.astype(np.float16).mean(axis=0).astype(np.float64) - mean
        mean += count / (rows + count) * step
        scatter += apart.T @ apart + np.outer(step, step) * (rows * count / (rows + count))
        rows += count
    return Gaussian(mean=mean, covariance=scatter / (rows - 1), rows=rows)
