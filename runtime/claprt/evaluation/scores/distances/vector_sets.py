"""Vectors of the sounds of a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.errors import ArrayError

Rows = NDArray[np.float64]
"""[rows, dim] float64."""
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorSet:
    """Vectors of sounds, one or several rows for each."""

    rows: Rows
    """[rows, dim] float64."""
    owner: NDArray[np.int64]
    """Number of the sound of each row, [rows] int64, ascending."""
    sounds: tuple[str, ...]
    """Names of the sounds."""
    given: tuple[int, ...]
    """Place of each sound where they were given."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.rows.shape[1]

    @property
    def one_each(self) -> bool:
        """Whether each sound has one vector; several of one sound are not independent of each other."""
        return len(self.rows) == len(self.sounds)

    def per_sound(self, of_rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of rows [rows], added up for each sound [sounds]."""
        return np.bincount(self.owner, weights=of_rows, minlength=len(self.sounds)).astype(np.float64)


def vector_set(
    vectors: NDArray[np.floating],
    sounds: Sequence[str],
    owner: Sequence[int] | None = None,
    given: Sequence[int] | None = None,
) -> VectorSet:
    """Check vectors and put them together.

    Args:
        vectors: [rows, dim] floats.
        sounds: Names of the sounds.
        owner: Number of the sound of each row, ascending; by default each row is a sound.
        given: Place of each sound where they were given; by default as here.

    Raises:
        ArrayError: If the vectors have another shape, or hold NaN or infinity.
    """
    rows = np.asarray(vectors, np.float64)
    owners = np.arange(len(sounds)) if owner is None else np.asarray(owner, np.int64)
    if rows.ndim != 2 or len(rows) != len(owners):
        raise ArrayError(f"Vectors of a set are [{len(owners)}, dim]; {list(rows.shape)} was given.")
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        first = sounds[int(owners[int(np.flatnonzero(bad)[0])])]
        raise ArrayError(f"{int(bad.sum())} of {len(rows)} vectors hold NaN or infinity, the first of {first}.")
    return VectorSet(
        rows=rows, owner=owners, sounds=tuple(sounds), given=tuple(range(len(sounds)) if given is None else given)
    )


def squared_distances(first: Rows, second: Rows) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Squared distances of all rows from all rows, a block of rows at a time: first row, [block, rows of the second]."""
    lengths = (second**2).sum(axis=1)
    for start in range(0, len(first), _BLOCK):
        block = first[start : start + _BLOCK]
        yield start, np.maximum((block**2).sum(axis=1)[:, None] + lengths - 2 * block @ second.T, 0.0)
