"""Exact nearest sounds of a query: a scan of int8 codes whose error is bounded, then the stored vectors of what is left.

The codes of a row give its cosine to within `error` of the row (what rounding lost of it) and what rounding lost of the
query. A row is left out only where its largest possible cosine is below the k-th best that is certain, so the result is
that of all vectors in float32, at a quarter of the memory that these would be read from.
"""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding
from claprt.errors import MissingDependencyError
from claprt.library.search.derived_part import VANISHED, encode
from claprt.library.search.snapshot import Snapshot
from claprt.system.extras import install_hint

_BLOCK = 16_384
"""Rows that one thread takes at a time."""
_RESCORED = 65_536
"""Rows whose vectors are in memory at a time."""
_GROUP = 256
"""Scores of which only the largest is compared, where that is enough."""
_LONGEST = np.float32(1.001)
"""Length of a stored unit vector, with room for float16."""

Mask = NDArray[np.bool_]
"""[rows] whether a row may be found."""
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Sounds, best first."""

    sounds: NDArray[np.int64]
    """[k] numbers of sounds in the snapshot."""
    scores: Scores
    """[k] the cosine of the best row of each, and its bonus."""
    rows: NDArray[np.int64]
    """[k] that row."""


def kernels() -> Any:
    """The module `numkong`.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    try:
        return importlib.import_module("numkong")
    except ImportError as error:
        raise MissingDependencyError(f"A library is searched with numkong: {install_hint('library')}") from error


def nearest_sounds(
    snapshot: Snapshot,
    query: Embedding,
    k: int,
    *,
    allowed: Mask | None = None,
    bonus: Scores | None = None,
    first_row: int = 0,
    threads: int = 1,
    memory_mb: float = np.inf,
) -> Found:
    """The k sounds whose best rows are nearest to a query.

    Args:
        snapshot: What is searched.
        query: [dim] float32 of length 1.
        k: How many sounds at most.
        allowed: [rows]; by default all rows that are not hidden.
        bonus: [sounds] added to the score of each sound.
        first_row: Where the scan begins.
        threads: Blocks that are scanned side by side.
        memory_mb: Of mapped codes above which pages are given back as soon as they were read.
    """
    mask = (snapshot.there if allowed is None else allowed)[first_row:]
    if not mask.any():
        return _none()
    cosines, bound = _approximate(snapshot, query, mask, first_row, threads, memory_mb)
    least = _of_sounds(np.where(mask, cosines - bound, np.float32(-np.inf)), snapshot, first_row)
    largest = np.add(cosines, bound, out=cosines)
    if bonus is not None:
        least += bonus[len(bonus) - len(least) :]
        largest += bonus[snapshot.sounds[first_row:]]
    rows = np.flatnonzero(mask & (largest >= _certain(least, k))) + first_row
    return rank(snapshot, query, rows, k, bonus)


def _of_sounds(scores: Scores, snapshot: Snapshot, first_row: int) -> Scores:
    """The largest score [sounds] of each sound's rows from `first_row` on."""
    if len(snapshot.starts) == len(snapshot):
        return scores
    starts = snapshot.starts[snapshot.sounds[first_row] :] - first_row
    return np.maximum.reduceat(scores, np.maximum(starts, 0))


def _certain(least: Scores, k: int) -> np.float32:
    """A score that at least k of these reach; -inf if there are fewer.

    The k-th largest of the largest of each group is not above the k-th largest of all, and is had in a tenth of the time.
    """
    if len(least) > k * _GROUP:
        whole = len(least) // _GROUP * _GROUP
        least = least[:whole].reshape(-1, _GROUP).max(axis=1)
    k = min(k, len(least))
    return np.partition(least, len(least) - k)[len(least) - k]


def nearest_rows(
    snapshot: Snapshot, query: Embedding, k: int, *, threads: int = 1, memory_mb: float = np.inf
) -> NDArray[np.int64]:
    """The rows [k] nearest to a query, best first, those of vanished sounds included.

    Args:
        snapshot: What is searched.
        query: [dim] float32 of length 1.
        k: How many rows at most.
        threads: Blocks that are scanned side by side.
        memory_mb: See `nearest_sounds`.
    """
    mask = snapshot.hidden <= VANISHED
    cosines, bound = _approximate(snapshot, query, mask, 0, threads, memory_mb)
    certain = _certain(np.where(mask, cosines - bound, np.float32(-np.inf)), k)
    rows = np.flatnonzero(mask & (cosines + bound >= certain))
    return rows[np.argsort(-exact_cosines(snapshot, query, rows), kind="stable")[:k]]


def rank(snapshot: Snapshot, query: Embedding, rows: NDArray[np.int64], k: int, bonus: Scores | None = None) -> Found:
    """The k best sounds of some rows, by the stored vectors; sounds of equal score in the order of the library.

    Args:
        snapshot: What is searched.
        query: [dim] float32.
        rows: In ascending order.
        k: How many sounds at most.
        bonus: [sounds] added to the score of each sound.
    """
    if not len(rows):
        return _none()
    scores = exact_cosines(snapshot, query, rows)
    sounds = snapshot.sounds[rows].astype(np.int64)
    order = np.lexsort((rows, -scores, sounds))  # the best row of each sound comes first
    best = order[np.flatnonzero(np.diff(sounds[order], prepend=-1))]
    total = scores[best] if bonus is None else scores[best] + bonus[sounds[best]]
    chosen = np.argsort(-total, kind="stable")[:k]
    return Found(sounds[best][chosen], total[chosen], rows[best][chosen])


def exact_cosines(snapshot: Snapshot, query: Embedding, rows: NDArray[np.int64]) -> Scores:
    """Cosines of rows with a query [dim], in float32."""
    blocks = [
        np.einsum("rd,d->r", snapshot.read_vectors(rows[start : start + _RESCORED]), query)
        for start in range(0, len(rows), _RESCORED)
    ]
    return np.concatenate([np.empty(0, np.float32), *blocks])


def _approximate(
    snapshot: Snapshot, query: Embedding, mask: Mask, first_row: int, threads: int, memory_mb: float
) -> tuple[Scores, Scores]:
    """Cosines [rows] by the codes from `first_row` on, and how far from the true ones they are at most."""
    codes, rows = encode(query[None])
    scale, lost = np.float32(rows["scale"][0]), rows["error"][0]
    cdist: Any = kernels().cdist
    cosines = np.full((1, len(mask)), -np.inf, np.float32)
    release = snapshot.codes.nbytes > memory_mb * 1e6

    def scan(start: int) -> None:
        end = min(start + _BLOCK, len(mask))
        if mask[start:end].any():
            block, target = slice(first_row + start, first_row + end), cosines[:, start:end]
            # whole numbers below 2^24, which float32 holds exactly
            cdist(codes, snapshot.codes[block], metric="dot", out=target, out_dtype="float32")
            target *= snapshot.scales[block] * scale
            if release:
                snapshot.release("codes")

    starts = range(0, len(mask), _BLOCK)
    if threads > 1 and len(starts) > 1:
        with ThreadPoolExecutor(threads, thread_name_prefix="claprt-search") as pool:
            list(pool.map(scan, starts))
    else:
        list(map(scan, starts))
    errors = snapshot.errors[first_row:]
    return cosines[0], errors * (1 + lost) + lost * _LONGEST


def _none() -> Found:
    return Found(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64))
