"""One part of a library in the form that searches need: vectors, int8 codes with a bound on their error, facts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.library.schema import RecordBatch, Table, arrow

Vectors = NDArray[np.floating]
"""[rows, dim] float32 or float16, as they are stored."""
Codes = NDArray[np.int8]
"""[rows, dim]: each row times its scale is nearly the vector."""

ROW = np.dtype([("scale", "<f4"), ("error", "<f4"), ("sound", "<i4"), ("hidden", "<i4")])
"""What is kept of each row beside its vector: the factor of its codes, the length of what they miss of the vector, the
number of its sound, and whether it is left out: 1 if the sound has vanished, 2 if the vector is not finite."""
VANISHED, NOT_FINITE = 1, 2

_REPEATED = ("id", "path", "sha256", "fingerprint")
_BLOCK = 16_384
_ROUNDING = np.float32(1e-5)
"""Largest error of a sum of 512 products of unit vectors in float32, with room."""


@dataclass(frozen=True, slots=True, eq=False)
class DerivedPart:
    """A part of the library, derived."""

    vectors: Vectors
    codes: Codes
    rows: NDArray[np.void]
    """[rows] of `ROW`; sounds are numbered from 0 within the part."""
    facts: RecordBatch
    """All columns but the vector, repeated strings as dictionaries."""
    sounds: int
    """Runs of rows of one id."""


def derive_part(table: Table, dtype: str) -> DerivedPart:
    """Derive what searches need.

    Args:
        table: The part's content, all columns.
        dtype: Of the stored vectors.
    """
    embedding = table["embedding"].combine_chunks()
    dim = embedding.type.list_size
    vectors = embedding.flatten().to_numpy(zero_copy_only=True).reshape(-1, dim).astype(dtype, copy=False)
    codes, rows = encode(vectors)
    ids = table["id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    starts = np.empty(len(ids), bool)
    starts[:1] = True
    np.not_equal(ids[1:], ids[:-1], out=starts[1:])
    rows["sound"] = np.cumsum(starts) - 1
    rows["hidden"] |= np.where(table["missing"].to_numpy(), VANISHED, 0).astype("<i4")
    return DerivedPart(vectors, codes, rows, _facts(table), int(starts.sum()))


def _facts(table: Table) -> RecordBatch:
    pa = arrow()
    kept = table.drop_columns(["embedding"]).combine_chunks()
    for name in _REPEATED:
        kept = kept.set_column(kept.schema.get_field_index(name), name, kept[name].dictionary_encode())
    batches = kept.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], kept.schema)


def encode(vectors: Vectors) -> tuple[Codes, NDArray[np.void]]:
    """Round vectors to int8, each by a scale of its own, and measure what that loses.

    Args:
        vectors: [rows, dim]; a row that is not finite gets codes of zero and is hidden.

    Returns:
        Codes [rows, dim], and rows with `scale`, `error` and `hidden`.

    Example:
        >>> codes, rows = encode(np.float32([[0.6, -0.8]]))
        >>> codes.tolist(), bool(abs(rows["scale"][0] * codes[0, 0] - 0.6) <= rows["error"][0])
        ([[95, -127]], True)
    """
    codes = np.zeros(vectors.shape, np.int8)
    rows = np.zeros(len(vectors), ROW)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32)
        target = rows[start : start + _BLOCK]
        finite = np.isfinite(block).all(axis=1)
        block[~finite] = 0
        target["hidden"][~finite] = NOT_FINITE
        largest = np.abs(block).max(axis=1, initial=0)
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
        rounded = np.rint(block / scale[:, None])
        codes[start : start + _BLOCK] = rounded
        target["scale"] = scale
        target["error"] = np.linalg.norm(block - rounded * scale[:, None], axis=1) + _ROUNDING
    return codes, rows
