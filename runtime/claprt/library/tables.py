"""All rows, or all failures, of a library as Arrow's tables and batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from claprt.errors import OptionError
from claprt.library.schema import RecordBatch, Schema, Table, arrow
from claprt.library.store import ROWS, PartGoneError, Store
from claprt.validation import whole_number

_TRIES = 5


def read_table(store: Store, table: str = ROWS, columns: Sequence[str] | None = None) -> Table:
    """A whole table, in memory.

    Args:
        store: The library.
        table: `ROWS` or `FAILURES`.
        columns: Their names; by default all.

    Raises:
        OptionError: If a column is not known.
        LibraryError: If the library cannot be read.
    """
    pa = arrow()
    schema = store.schema(table)
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in _checked(columns, schema.names)])
    for _ in range(_TRIES - 1):
        with suppress(PartGoneError):  # a writer was at work
            return _read_once(store, table, wanted)
    return _read_once(store, table, wanted)


def _read_once(store: Store, table: str, schema: Schema) -> Table:
    found = [content.select(schema.names) for _, content in store.tables(table, schema.names)]
    return arrow().concat_tables([schema.empty_table(), *found])


def read_batches(store: Store, n: int, columns: Sequence[str] | None = None) -> Iterator[RecordBatch]:
    """All rows in batches of at most `n`, with one part in memory at a time.

    Args:
        store: The library.
        n: Rows of a batch.
        columns: Their names; by default all.

    Raises:
        OptionError: If `n` is below 1, or a column is not known.
        LibraryError: If the library cannot be read.
    """
    if whole_number("n", n) < 1:
        raise OptionError(f"n={n} is not possible; give the number of rows of a batch, 1 or more.")
    names = None if columns is None else _checked(columns, store.schema().names)
    for _, table in store.tables(ROWS, names):
        yield from table.to_batches(max_chunksize=n)


def _checked(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names of columns.

    Raises:
        OptionError: If one is not known, or named twice.
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        wrong = f"names {', '.join(map(repr, unknown))}" if unknown else "names one twice"
        raise OptionError(f"columns={names!r} {wrong}; the table has {', '.join(known)}.")
    return names
