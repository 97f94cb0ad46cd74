"""Approximate search of large libraries: faiss's inverted file over int8 codes, memory-mapped, its recall measured.

The rows are divided among the nearest of some thousand centres (k-means), and a query reads only the rows of the `probes`
nearest centres. What that finds is scored again with the stored vectors. How many centres a query needs is measured when
the index is built: the fewest at which `recall` of the ten nearest rows, by the exact scan, are found.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.engines.hardware import default_threads
from claprt.errors import MissingDependencyError, OptionError
from claprt.library.search.derived_part import NOT_FINITE
from claprt.library.search.scan import exact_cosines, nearest_rows
from claprt.library.search.snapshot import Snapshot
from claprt.system.atomic import atomic_file
from claprt.system.extras import install_hint

EXACT_BELOW = 100_000
"""Rows below which a search is exact whether or not there is an index."""
RECALL = 0.99
RECALL_AT = 10
"""Neighbours whose share is measured."""
_RECORD = "approximate.json"
_CANDIDATES = 10
"""Rows that are scored again for each one that is wanted."""
_LEAST_CANDIDATES = 200
_TRAINING = 40
"""Rows for each centre that k-means sees; faiss asks for 39 or more."""
_QUERIES = 100
_BLOCK = 16_384
"""Rows that are added at a time."""
_ROW_BYTES = 40
"""Of each row, what is kept in memory beside the index."""
_STALE = 0.5
"""Share of the rows of the index that must still be in the library for it to be used."""


class IndexInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What was built, and how good it was."""

    file: str
    parts: tuple[tuple[str, int], ...]
    """Names of the library's parts that are in it, with their rows."""
    rows: int
    centres: int
    probes: int
    """Centres whose rows a query reads."""
    recall: dict[str, float]
    """Share of the ten nearest rows that it finds, for `sounds` of the library and for `texts`."""
    queries: dict[str, int]
    """Of each kind, how many it was measured with."""
    seconds: float
    """That building and measuring took."""
    exact_below: int = EXACT_BELOW


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How an index is built."""

    recall: float = RECALL
    """Share of the ten nearest rows that must be found."""
    centres: int | None = None
    """By default two times the root of the number of rows."""
    exact_below: int = EXACT_BELOW
    threads: int | None = None
    """By default the physical cores that this process may use."""
    seed: int = 0
    memory_mb: float | None = None
    """Memory of its own that building may take; more is refused. By default there is no bound."""


class ApproximateIndex:
    """An index on disk, opened."""

    def __init__(self, folder: Path, info: IndexInfo) -> None:
        """Open it; its lists stay on disk.

        Raises:
            RuntimeError: If faiss cannot read it.
            MissingDependencyError: If faiss is not installed.
        """
        self.info = info
        self._faiss = _faiss()
        self._index: Any = self._faiss.read_index(str(folder / info.file), self._faiss.IO_FLAG_MMAP_IFC)

    def rows(self, snapshot: Snapshot, query: Embedding, k: int) -> tuple[NDArray[np.int64], int]:
        """Rows that are probably near to a query.

        Args:
            snapshot: The library as it is now.
            query: [dim] float32.
            k: Rows at most.

        Returns:
            Numbers of rows [at most k], ascending, and the first row that the index does not cover.
        """
        parameters = self._faiss.SearchParametersIVF(nprobe=self.info.probes)
        _, found = self._index.search(query[None], min(k, self.info.rows), params=parameters)
        built = np.concatenate([[0], np.cumsum([rows for _, rows in self.info.parts])]).astype(np.int64)
        now, covered = _places(snapshot, self.info)
        numbers = found[0][found[0] >= 0]
        part = np.searchsorted(built, numbers, side="right") - 1
        there = now[part] >= 0
        return np.unique(now[part][there] + numbers[there] - built[part][there]), covered


def read_info(folder: Path) -> IndexInfo | None:
    """What was built; None where nothing was, or it cannot be read."""
    try:
        return msgspec.json.decode((folder / _RECORD).read_bytes(), type=IndexInfo)
    except (OSError, msgspec.MsgspecError):
        return None


def is_of_use(info: IndexInfo, snapshot: Snapshot) -> bool:
    """Whether an index is worth asking: the library is large, and most rows of the index are still in it."""
    names = {part.file for part in snapshot.state.parts}
    kept = sum(rows for name, rows in info.parts if name in names)
    return len(snapshot) >= info.exact_below and kept >= _STALE * max(1, info.rows)


def build(
    snapshot: Snapshot,
    options: BuildOptions,
    texts: Embeddings | None = None,
    progress: Callable[[str, float], None] = lambda _stage, _share: None,
) -> IndexInfo:
    """Build an index of all rows, measure it, and put it in the place of the one before.

    Args:
        snapshot: The library.
        options: How it is built.
        texts: Vectors [n, dim] of texts, to measure the recall of searches for words; None to leave that out.
        progress: Called with `train`, `add` or `measure`, and the share of it that is done.

    Raises:
        OptionError: If the library is empty, an option has no such value, or it would take more memory than it may.
        MissingDependencyError: If faiss is not installed.
        OSError: If it cannot be written.
    """
    if not 0 < options.recall <= 1:
        raise OptionError(f"recall={options.recall} is not possible; give a share above 0, such as 0.99.")
    usable = np.flatnonzero(snapshot.hidden != NOT_FINITE)
    if not len(usable):
        raise OptionError(f"The library at {snapshot.files.store.folder} is empty: there is nothing to build an index of.")
    began = time.perf_counter()
    faiss, dim = _faiss(), snapshot.state.dim
    threads = options.threads or default_threads()
    faiss.omp_set_num_threads(threads)
    centres = options.centres or round(2 * len(usable) ** 0.5)
    centres = max(1, min(centres, len(usable) // _TRAINING or 1))
    _check_memory(len(snapshot), dim, centres, options.memory_mb)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, centres, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = options.seed + 1
    generator = np.random.default_rng(options.seed)
    progress("train", 0)
    sample = np.sort(generator.choice(usable, min(len(usable), centres * _TRAINING), replace=False))
    index.train(snapshot.read_vectors(sample))
    for start in range(0, len(snapshot), _BLOCK):
        progress("add", start / len(snapshot))
        rows = np.arange(start, min(start + _BLOCK, len(snapshot)))
        index.add(np.nan_to_num(snapshot.read_vectors(rows), copy=False))
    name = f"approximate-{secrets.token_hex(4)}.faiss"
    folder = snapshot.files.folder
    with atomic_file(folder / name) as new:
        faiss.write_index(index, str(new))
    del index
    chosen = np.sort(generator.choice(usable, min(len(usable), _QUERIES), replace=False))
    queries = {"sounds": snapshot.read_vectors(chosen)}
    if texts is not None and len(texts):
        queries["texts"] = texts
    info = IndexInfo(
        file=name,
        parts=tuple((part.file, part.rows) for part in snapshot.state.parts),
        rows=len(snapshot),
        centres=centres,
        probes=1,
        recall={},
        queries={kind: len(vectors) for kind, vectors in queries.items()},
        seconds=0.0,
        exact_below=options.exact_below,
    )
    info = _measured(snapshot, info, queries, options, progress)
    info = msgspec.structs.replace(info, seconds=round(time.perf_counter() - began, 1))
    with atomic_file(folder / _RECORD) as new:
        new.write_text(json.dumps(msgspec.to_builtins(info), indent=1), encoding="utf-8")
    for other in folder.glob("*approximate-*.faiss*"):
        if other.name != name:
            with contextlib.suppress(OSError):
                other.unlink()
    return info


def _check_memory(rows: int, dim: int, centres: int, memory_mb: float | None) -> None:
    """Check what building takes against what it may.

    Raises:
        OptionError: If it is more.
    """
    training = 2 * 4 * dim * min(rows, centres * _TRAINING)  # the sample, and what is left of it beside its centres
    lists = 2 * (dim + 8) * rows  # of codes and numbers; they grow by doubling
    adding = 2 * 4 * dim * _BLOCK
    needed = (max(training, lists + adding) + _ROW_BYTES * rows) / 1e6
    if memory_mb is not None and not needed <= memory_mb:
        raise OptionError(
            f"An index of {rows:,} rows takes up to {needed:,.0f} MB of memory while it is built, and "
            f"memory_mb={memory_mb:g} (--memory) is less. Give it more, or go on without: searches are then exact."
        )


def _measured(
    snapshot: Snapshot,
    info: IndexInfo,
    queries: dict[str, Embeddings],
    options: BuildOptions,
    progress: Callable[[str, float], None],
) -> IndexInfo:
    """The index with the fewest probes that reach the recall for every kind of query, and what that is."""
    progress("measure", 0)
    wanted, threads = min(RECALL_AT, len(snapshot)), options.threads or default_threads()
    memory_mb = np.inf if options.memory_mb is None else options.memory_mb
    nearest = {
        kind: [nearest_rows(snapshot, query, wanted, threads=threads, memory_mb=memory_mb) for query in vectors]
        for kind, vectors in queries.items()
    }
    probes = 1
    while True:
        info = msgspec.structs.replace(info, probes=min(probes, info.centres))
        index = ApproximateIndex(snapshot.files.folder, info)
        recall = {kind: _recall(snapshot, index, vectors, nearest[kind]) for kind, vectors in queries.items()}
        progress("measure", info.probes / info.centres)
        if min(recall.values()) >= options.recall or info.probes == info.centres:
            return msgspec.structs.replace(info, recall=recall)
        probes *= 2


def _recall(
    snapshot: Snapshot, index: ApproximateIndex, queries: Embeddings, nearest: Sequence[NDArray[np.int64]]
) -> float:
    """Share of the truly nearest rows that are found; a row of the same cosine is as good."""
    found = 0.0
    for query, true in zip(queries, nearest, strict=True):
        rows, _ = index.rows(snapshot, query, candidates(len(true)))
        least = exact_cosines(snapshot, query, true).min()
        found += min(len(true), int((exact_cosines(snapshot, query, rows) >= least - 1e-6).sum())) / len(true)
    return round(found / len(queries), 4)


def candidates(k: int) -> int:
    """Rows that an index is asked for where k are wanted."""
    return max(_LEAST_CANDIDATES, _CANDIDATES * k)


def _places(snapshot: Snapshot, info: IndexInfo) -> tuple[NDArray[np.int64], int]:
    """Where each part of the index begins in the library now, -1 where it is gone, and the first row that none covers."""
    starts: dict[str, int] = {}
    covered, row, whole = 0, 0, True
    known = {name for name, _ in info.parts}
    for part in snapshot.state.parts:
        starts[part.file] = row
        row += part.rows
        whole = whole and part.file in known
        covered = row if whole else covered
    return np.array([starts.get(name, -1) for name, _ in info.parts], np.int64), covered


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise MissingDependencyError(
            f"An approximate index is built and read with faiss: {install_hint('library')}"
        ) from error
