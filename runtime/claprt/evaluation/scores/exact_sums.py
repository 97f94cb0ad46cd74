"""Sums over vectors whose result does not depend on their order, nor on how they were cut into batches.

Components of unit vectors are rounded to fixed point, whose sums are exact: 38 bits for sums, 20 for products, which stay
below 2^53 within a block, so that a matrix product in float64 is exact too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings

_SUM_BITS = 38
_PRODUCT_BITS = 20
_BLOCK = 4096


class ExactSums:
    """Sum, and sum of outer products, of unit vectors: up to four million of them."""

    def __init__(self, dim: int) -> None:
        """Start at zero, for vectors of this length."""
        self._sum = np.zeros(dim, np.int64)
        self._products = np.zeros((dim, dim), np.int64)

    def add(self, vectors: Embeddings) -> None:
        """Add unit vectors [n, dim] float32."""
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK].astype(np.float64)
            self._sum += np.rint(block * 2**_SUM_BITS).astype(np.int64).sum(axis=0)
            rounded = np.rint(block * 2**_PRODUCT_BITS)
            self._products += np.rint(rounded.T @ rounded).astype(np.int64)

    @property
    def sum(self) -> NDArray[np.float64]:
        """[dim] float64."""
        return self._sum.astype(np.float64) / 2**_SUM_BITS

    @property
    def products(self) -> NDArray[np.float64]:
        """Sum of the outer product of each vector with itself, [dim, dim] float64, to 2^-20."""
        return self._products.astype(np.float64) / 4**_PRODUCT_BITS
