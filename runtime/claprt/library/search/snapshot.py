"""The derived files of a library, opened: what a search reads. A snapshot stays as it is while the library changes."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.errors import LibraryCorruptError
from claprt.library.schema import RecordBatch, Table, arrow
from claprt.library.search.derived import KINDS, DerivedFiles, State
from claprt.library.search.derived_part import ROW, Codes, Vectors
from claprt.library.store import PartGoneError
from claprt.system.foreign_errors import describe_error

_DTYPES = {"codes": np.dtype(np.int8), "rows": ROW}


class Snapshot:
    """One state of the derived files, memory-mapped."""

    def __init__(self, files: DerivedFiles, state: State) -> None:
        """Open the files.

        Raises:
            OSError: If one is gone, because a newer state has replaced it.
        """
        self.files = files
        self.state = state
        self._maps: dict[str, NDArray[Any]] = {kind: self._map(kind) for kind in KINDS}
        self.vectors: Vectors = self._maps["vectors"]
        """[rows, dim] as they are stored."""
        self._descriptor: int | None = None
        if state.rows and hasattr(os, "preadv"):
            self._descriptor = os.open(files.path(state, "vectors"), os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
        self.codes: Codes = self._maps["codes"]
        """[rows, dim] int8."""
        rows = self._maps["rows"]
        self.scales: NDArray[np.float32] = np.ascontiguousarray(rows["scale"])
        self.errors: NDArray[np.float32] = np.ascontiguousarray(rows["error"])
        self.hidden: NDArray[np.int32] = np.ascontiguousarray(rows["hidden"])
        counts = np.array([part.rows for part in state.parts], np.int64)
        self._part_rows = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        before = np.concatenate([[0], np.cumsum([part.sounds for part in state.parts])]).astype(np.int32)
        self.sounds: NDArray[np.int32] = np.ascontiguousarray(rows["sound"]) + np.repeat(before[:-1], counts)
        """[rows] number of the sound of each row; rows of one sound follow each other."""
        changes = np.flatnonzero(np.diff(self.sounds, prepend=-1)) if len(rows) else np.empty(0, np.int64)
        self.starts: NDArray[np.int64] = changes.astype(np.int64)
        """[sounds] first row of each sound."""
        self.there: NDArray[np.bool_] = self.hidden == 0
        """[rows] whether its sound has not vanished, and its vector is finite."""
        self._facts: dict[int, RecordBatch] = {}

    def __len__(self) -> int:
        return len(self.scales)

    def _map(self, kind: str) -> NDArray[Any]:
        state = self.state
        dtype = _DTYPES.get(kind, np.dtype(state.dtype))
        shape = (state.rows,) if kind == "rows" else (state.rows, state.dim)
        if not state.rows:
            return np.empty(shape, dtype)
        return np.memmap(self.files.path(state, kind), dtype, "r", shape=shape)

    def read_vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of some rows [n, dim], read from the file: a mapped row would bring 15 pages around it into memory.

        Args:
            rows: Numbers [n]; those that follow each other are read at once.

        Raises:
            LibraryCorruptError: If the file was cut since it was opened.
        """
        if self._descriptor is None:
            return self.vectors[rows].astype(np.float32)
        found = np.empty((len(rows), self.state.dim), self.vectors.dtype)
        width = found.strides[0]
        begins = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(rows)], strict=True):
            target = found[begin:end].view(np.uint8).reshape(-1).data
            if os.preadv(self._descriptor, [target], int(rows[begin]) * width) != len(target):
                raise LibraryCorruptError(
                    f"{self.files.path(self.state, 'vectors')} was cut while it was read; search again."
                )
        return found.astype(np.float32, copy=False)

    def rows_of(self, sound: int) -> range:
        """The rows of a sound."""
        end = int(self.starts[sound + 1]) if sound + 1 < len(self.starts) else len(self)
        return range(int(self.starts[sound]), end)

    def facts_of(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Values of the columns but the vector, for some rows.

        Raises:
            PartGoneError: If the part, and its facts with it, was replaced since the snapshot was taken.
            LibraryError: If the facts of a part are damaged, and so is the part.
        """
        numbers = np.array(rows, np.int64)
        parts = np.searchsorted(self._part_rows, numbers, side="right") - 1
        found: list[dict[str, Any]] = []
        for row, part in zip((numbers - self._part_rows[parts]).tolist(), parts.tolist(), strict=True):
            batch = self.facts(part)
            found.append({name: batch[name][row].as_py() for name in columns or batch.schema.names})
        return found

    def facts(self, part: int) -> RecordBatch:
        """The columns but the vector of one part, memory-mapped.

        Raises:
            LibraryCorruptError: If they are damaged, and so is the part.
            PartGoneError: If the part, and they with it, was replaced since the snapshot was taken.
            LibraryError: If the part cannot be read.
        """
        if part not in self._facts:
            info = self.state.parts[part]
            if not self.files.facts_are_whole(info):
                self.files.repair_facts(info)
            pa = arrow()
            try:
                self._facts[part] = pa.ipc.open_file(pa.memory_map(str(self.files.facts_path(info)))).get_batch(0)
            except FileNotFoundError as error:  # it was there a moment ago
                raise PartGoneError(f"{info.file} was replaced while the library was searched; search again.") from error
            except (OSError, ValueError) as error:
                raise LibraryCorruptError(
                    f"{self.files.facts_path(info)} cannot be read: {describe_error(error)}. Delete {self.files.folder}; "
                    "it is made again."
                ) from error
        return self._facts[part]

    def all_facts(self, columns: Sequence[str]) -> Table:
        """Some columns of all rows, memory-mapped but for dictionaries."""
        batches = [self.facts(part).select(list(columns)) for part in range(len(self.state.parts))]
        if not batches:
            return self.files.store.schema().empty_table().select(list(columns))
        return arrow().Table.from_batches(batches)

    def release(self, kind: str) -> None:
        """Let the system take back the memory of a file's pages; they are read again where needed."""
        mapped = getattr(self._maps[kind], "_mmap", None)
        if mapped is not None and hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
