"""How much of [0, 1] descriptors use: an archive whose cells nothing ever falls into is no archive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import BehaviorDescriptors

BINS = 10
_CELLS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Shares from 0 to 1, of what descriptors spread evenly would come to."""

    axes: tuple[float, ...]
    """Of each axis, as the perplexity of ten bins: 0.1 for one bin, 0.2 for two, 1 for all ten alike."""
    grid: float
    """Cells that are not empty, of those that as many random points would fill, in a grid of about 4096 cells."""
    bins: int
    """Bins along each axis of that grid."""

    def __str__(self) -> str:
        axes = " ".join(f"{100 * share:.0f}" for share in self.axes)
        return f"axes {axes} %, grid of {self.bins}^{len(self.axes)} cells {100 * self.grid:.0f} %"


def use_of(descriptors: BehaviorDescriptors) -> Use:
    """How much of their space descriptors [n, d] in [0, 1] use.

    Example:
        >>> use_of(np.linspace(0, 1, 4096, dtype=np.float32)[:, None]).axes
        (1.0,)
        >>> use_of(np.full((100, 6), 0.5, np.float32)).axes[0]
        0.1
    """
    dimensions = descriptors.shape[1]
    bins = max(2, round(_CELLS ** (1 / dimensions)))
    cells = len(np.unique(_binned(descriptors, bins), axis=0))
    expected = bins**dimensions * -np.expm1(len(descriptors) * np.log1p(-(float(bins) ** -dimensions)))
    axes = tuple(_perplexity(column) / BINS for column in _binned(descriptors, BINS).T)
    return Use(axes=axes, grid=min(1.0, cells / float(expected)), bins=bins)


def _binned(descriptors: BehaviorDescriptors, bins: int) -> NDArray[np.int64]:
    return np.clip((descriptors * bins).astype(np.int64), 0, bins - 1)


def _perplexity(column: NDArray[np.int64]) -> float:
    shares = np.bincount(column, minlength=BINS) / len(column)
    shares = shares[shares > 0]
    return round(float(np.exp(-(shares * np.log(shares)).sum())), 3)
