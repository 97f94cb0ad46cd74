"""Exact nearest sounds of a query: a scan of int8 codes whose error is bounded, then the stored vectors of what is left.

The codes of a row give its cosine to within `error` of the row (what rounding lost of it) and what rounding lost of the
query. A row is left out only where its largest possible cosine is below the k-th best that is certain, so the result is
that of all vectors in float32, at a quarter of the memory that these would be read from.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
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
    mask = (snapshot.hidden == 0 if allowed is None else allowed)[first_row:]
    if not mask.any():
        return _none()
    cosines, bound = _approximate(snapshot, query, mask, first_row, threads, memory_mb)
    runs = snapshot.sounds[first_row:]
    first_sound = int(runs[0])
    starts = np.maximum(snapshot.starts[first_sound:] - first_row, 0)
    bonuses = np.zeros(len(snapshot.starts), np.float32) if bonus is None else bonus
    least = np.maximum.reduceat(np.where(mask, cosines - bound, np.float32(-np.inf)), starts) + bonuses[first_sound:]
    k = min(k, int(np.isfinite(least).sum()))
    certain = np.partition(least, len(least) - k)[len(least) - k]
    largest = cosines + bound
    if bonus is not None:
        largest += bonus[runs]
    rows = np.flatnonzero(mask & (largest >= certain)) + first_row
    return rank(snapshot, query, rows, k, bonuses)


def nearest_rows(
    snapshot: Snapshot, query: Embedding, k: int, *, threads: int = 1, memory_mb: float = np.inf
) -> NDArray[np.int64]:
    """The k rows nearest to a query [dim], best first, vanished sounds included."""
    mask = snapshot.hidden <= VANISHED
    cosines, bound = _approximate(snapshot, query, mask, 0, threads, memory_mb)
    k = min(k, int(mask.sum()))
    certain = np.partition(cosines - bound, len(cosines) - k)[len(cosines) - k]
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
        np.einsum("rd,d->r", snapshot.vectors[rows[start : start + _RESCORED]].astype(np.float32), query)
        for start in range(0, len(rows), _RESCORED)
    ]
    return np.concatenate([np.empty(0, np.float32), *blocks])


def _approximate(
    snapshot: Snapshot, query: Embedding, mask: Mask, first_row: int, threads: int, memory_mb: float
) -> tuple[Scores, Scores]:
    """Cosines [rows] by the codes from `first_row` on, and how far from the true ones they are at most."""
    codes, rows = encode(query[None])
    scale, lost = np.float32(rows["scale"][0]), rows["error"][0]
    dot = _dots(codes)
    cosines = np.full(len(mask), -np.inf, np.float32)
    release = snapshot.codes.nbytes > memory_mb * 1e6

    def scan(start: int) -> None:
        if mask[start : start + _BLOCK].any():
            block = slice(first_row + start, first_row + start + _BLOCK)
            np.multiply(dot(snapshot.codes[block]), snapshot.scales[block] * scale, out=cosines[start : start + _BLOCK])
            if release:
                snapshot.release("codes")

    starts = range(0, len(mask), _BLOCK)
    if threads > 1 and len(starts) > 1:
        with ThreadPoolExecutor(threads, thread_name_prefix="claprt-search") as pool:
            list(pool.map(scan, starts))
    else:
        list(map(scan, starts))
    errors = snapshot.errors[first_row:]
    return cosines, errors * (1 + lost) + lost * _LONGEST


def _dots(query: NDArray[np.int8]) -> Callable[[NDArray[np.int8]], NDArray[np.int32]]:
    """The products of codes [rows, dim] with those of a query [1, dim], as whole numbers."""
    numkong = kernels()

    def dots(codes: NDArray[np.int8]) -> NDArray[np.int32]:
        products = np.empty((1, len(codes)), np.int32)
        numkong.cdist(query, codes, metric="dot", out=products, out_dtype="int32")
        return products[0]

    return dots


def _none() -> Found:
    return Found(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64))
