"""Writing units beside the embedding: one at a time, in a thread of its own, small parts merged as they come."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from claprt.library.known import Known
from claprt.library.schema import Table, arrow
from claprt.library.store import FAILURES, ROWS, Part, Store, Writer
from claprt.library.units import Unit, failure_table, row_table

ROWS_PER_PART = 8_192
"""A part of this size is full: 16 MB of 512 float32 a row."""
_SMALL_PARTS = 16
"""So many parts that are not full are merged."""


class UnitWriter:
    """Commits units in a thread. What it is given is written when `settle` returns."""

    def __init__(self, store: Store, writer: Writer, known: Known) -> None:
        """Take the library, and what it holds."""
        self.write_s = 0.0
        self._store, self._writer, self._known = store, writer, known
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="claprt-write")
        self._pending: tuple[Unit, Future[int]] | None = None

    @property
    def unit(self) -> Unit | None:
        """The unit that is being written."""
        return None if self._pending is None else self._pending[0]

    def write(self, unit: Unit) -> tuple[Unit, int] | None:
        """Begin to write a unit; gives what `settle` does of the one before."""
        done = self.settle()
        if unit:
            self._pending = (unit, self._pool.submit(self._commit, unit))
        return done

    def settle(self) -> tuple[Unit, int] | None:
        """Wait for the unit that is being written; gives it and the place of its part.

        Raises:
            LibraryWriteError: If it could not be written.
        """
        if self._pending is None:
            return None
        unit, future = self._pending
        self._pending = None
        return unit, future.result()

    def _commit(self, unit: Unit) -> int:
        began = time.perf_counter()
        ids: defaultdict[Part, set[str]] = defaultdict(set)
        for place, some in unit.replaced.items():
            if (part := self._known.parts[place]) is not None:
                ids[part] |= some
        place = self.replace(
            {part: self.without(part, some) for part, some in ids.items()},
            row_table(unit.sounds, self._store) if unit.sounds else None,
            failure_table(unit.failures, self._store) if unit.failures else None,
        )
        for table in (ROWS, FAILURES):
            self._merge_small(table)
        self.write_s += time.perf_counter() - began
        return place

    def without(self, part: Part, ids: set[str]) -> Table:
        """What a part holds but for some ids."""
        table = self._store.read(part)
        pa = arrow("compute")
        return table.filter(pa.compute.invert(pa.compute.is_in(table["id"], pa.array(sorted(ids), pa.string()))))

    def replace(self, replaced: Mapping[Part, Table], rows: Table | None = None, failures: Table | None = None) -> int:
        """Commit new rows and failures, and parts whose content is now another, in one change.

        Args:
            replaced: What parts are to hold.
            rows: New rows, or None.
            failures: New failures, or None.

        Returns:
            The place of the new rows; -1 if there are none.
        """
        tables: dict[str, list[Table]] = {ROWS: [], FAILURES: []}
        origins: dict[str, list[Part | None]] = {ROWS: [], FAILURES: []}
        new = ((None, ROWS, rows), (None, FAILURES, failures))
        for part, kind, table in (*new, *((part, part.table, table) for part, table in replaced.items())):
            if table is not None and table.num_rows:
                tables[kind].append(table)
                origins[kind].append(part)
        added = self._writer.commit(rows=tables[ROWS], failures=tables[FAILURES], remove=list(replaced))
        become: dict[Part, Part | None] = dict.fromkeys(replaced)
        place = -1
        for part, origin in zip(added, [*origins[ROWS], *origins[FAILURES]], strict=True):
            if origin is not None:
                become[origin] = part
            elif part.table == ROWS:
                place = self._known.place_of(part)
            else:
                self._known.place_of(part)
        self._known.exchange(become)
        return place

    def _merge_small(self, table: str) -> None:
        """Make one part of many that are not full, so that a run of days does not leave thousands."""
        parts = {part for part in self._known.parts if part is not None and part.table == table}
        small = sorted(part for part in parts if part.rows < ROWS_PER_PART // 2)
        if len(small) < _SMALL_PARTS:
            return
        chosen: list[Part] = []
        for part in small:
            if sum(one.rows for one in chosen) + part.rows > ROWS_PER_PART:
                break
            chosen.append(part)
        self.merge(chosen)

    def merge(self, parts: list[Part]) -> None:
        """Make one part of several of a table."""
        merged = arrow().concat_tables([self._store.read(part) for part in parts])
        is_rows = parts[0].table == ROWS
        (new,) = self._writer.commit(rows=[merged] if is_rows else [], failures=[] if is_rows else [merged], remove=parts)
        self._known.exchange(dict.fromkeys(parts, new))

    def __enter__(self) -> UnitWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True)
