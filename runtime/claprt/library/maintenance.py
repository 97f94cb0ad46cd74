"""A library as a whole: what it holds, vanished sounds removed, small parts merged, other libraries taken in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from claprt.errors import FingerprintError, LibraryError, OptionError
from claprt.library.known import FAILED, MISSING, Known, short_key, short_keys
from claprt.library.manifest import LIBRARY_FILE
from claprt.library.roots import add_roots, read_roots
from claprt.library.schema import Table, arrow
from claprt.library.store import FAILURES, ROWS, Part, Store, create_store
from claprt.library.unit_writer import ROWS_PER_PART, UnitWriter

Waiting = Callable[[], None]


def describe(store: Store, *, verify: bool = False) -> dict[str, str | int | float | list[str]]:
    """What a library holds.

    Args:
        store: The library.
        verify: Reads every part, which finds damage.

    Raises:
        LibraryError: If it cannot be read.
    """
    pa = arrow("compute")
    sounds = missing = failures = 0
    seconds = 0.0
    for _, table in store.tables(ROWS, None if verify else ["id", "duration_s", "missing"]):
        first = table.group_by("id").aggregate([("duration_s", "max"), ("missing", "max")])
        sounds += first.num_rows
        missing += pa.compute.sum(first["missing_max"]).as_py() or 0
        seconds += pa.compute.sum(first["duration_s_max"]).as_py() or 0.0
    for _, table in store.tables(FAILURES, None if verify else ["id"]):
        failures += table.num_rows
    manifest, parts = store.manifest, store.parts()
    return {
        "library": str(store.folder),
        "sounds": sounds,
        "vanished": missing,
        "failures": failures,
        "rows": sum(part.rows for part in parts),
        "sound_s": round(seconds, 3),
        "kind": str(manifest.rows),
        "dim": manifest.dim,
        "dtype": manifest.dtype,
        "model": manifest.model.bundle,
        "fingerprint": manifest.fingerprint,
        "parts": len(parts),
        "bytes": sum((store.folder / part.file).stat().st_size for part in parts),
        "written_by": manifest.written_by,
        "damaged": sorted(store.damaged),
    }


def prune(store: Store, waiting: Waiting = lambda: None) -> int:
    """Remove the rows of sounds that vanished.

    Args:
        store: The library.
        waiting: Called once if another process writes to it.

    Returns:
        How many sounds were removed.

    Raises:
        LibraryError: If the library cannot be read or written.
    """
    pa = arrow("compute")
    removed = 0
    with store.writing(waiting) as writer, UnitWriter(store, writer, Known(store)) as unit_writer:
        for part in store.parts():
            marks = store.read(part, ["id", "missing"])
            gone = marks.filter(marks["missing"])["id"].unique()
            if len(gone):
                removed += len(gone)
                table = store.read(part)
                unit_writer.replace({part: table.filter(pa.compute.invert(table["missing"]))})
    return removed


def compact(store: Store, waiting: Waiting = lambda: None) -> tuple[int, int]:
    """Merge parts that are not full.

    Args:
        store: The library.
        waiting: Called once if another process writes to it.

    Returns:
        The number of parts before and after.

    Raises:
        LibraryError: If the library cannot be read or written.
    """
    with store.writing(waiting) as writer, UnitWriter(store, writer, Known(store)) as unit_writer:
        before = len(store.parts()) + len(store.parts(FAILURES))
        for table in (ROWS, FAILURES):
            group: list[Part] = []
            for part in store.parts(table):
                if group and sum(one.rows for one in group) + part.rows > ROWS_PER_PART:
                    if len(group) > 1:
                        unit_writer.merge(group)
                    group = []
                group.append(part)
            if len(group) > 1:
                unit_writer.merge(group)
        return before, len(store.parts()) + len(store.parts(FAILURES))


def merge(out: Path, libraries: Sequence[Path], waiting: Waiting = lambda: None) -> Store:
    """Take libraries of the same kind into one.

    Of a sound that several hold, the rows of the first where it has not vanished stay.

    Args:
        out: The library, which is made if it is not there.
        libraries: Those that are taken in; they are left as they are.
        waiting: Called once if another process writes to `out`.

    Raises:
        LibraryError: If a library cannot be read or written.
        FingerprintError: If their vectors are of different models.
        OptionError: If their rows differ in kind, or none is named.
    """
    stores = [Store(path) for path in libraries]
    if not stores:
        raise OptionError("Nothing was named to be merged; name at least one library beside the one that takes it in.")
    for one in stores:
        if one.folder.resolve() == out.resolve():
            raise OptionError(f"{out} cannot be merged into itself.")
        _check_alike(stores[0], one)  # before anything is made
    if not (out / LIBRARY_FILE).exists():
        create_store(out, stores[0].manifest)
    store = Store(out)
    for one in stores:
        _check_alike(store, one)
    with store.writing(waiting) as writer:
        known = Known(store)
        with UnitWriter(store, writer, known) as unit_writer:
            for one in stores:
                add_roots(out, read_roots(one.folder))
                _take_in(unit_writer, known, one)
    return store


def _check_alike(store: Store, other: Store) -> None:
    """Check that rows of one library may stand beside those of another.

    Raises:
        FingerprintError: If they are of different models.
        OptionError: If they are of different kinds.
    """
    mine, its = store.manifest, other.manifest
    if mine.fingerprint != its.fingerprint:
        raise FingerprintError(
            f"{store.folder} holds vectors of {mine.fingerprint} and {other.folder} of {its.fingerprint}, which are not "
            "comparable; merge libraries of one model."
        )
    for name, kept, found in (("rows", mine.rows, its.rows), ("dtype", mine.dtype, its.dtype)):
        if kept != found:
            raise OptionError(f"{store.folder} has {name}={kept} and {other.folder} {name}={found}; they cannot be merged.")


def _take_in(unit_writer: UnitWriter, known: Known, other: Store) -> None:
    """Commit what another library holds and this one does not, a part at a time.

    Raises:
        LibraryError: If a part of the other library is damaged: nothing may be lost unnoticed.
    """
    for table in (ROWS, FAILURES):
        for part in other.parts(table):
            content = other.read(part)
            new = _unknown(content, known, failures=table == FAILURES)
            if new.num_rows:
                failed = table == FAILURES
                replaced = {} if failed else _without_stale(new, known, unit_writer)
                place = unit_writer.replace(replaced, None if failed else new, new if failed else None)
                known.add(place, new, failed=failed)
        if other.damaged:
            raise LibraryError(f"{other.folder} was not merged: {'; '.join(other.damaged.values())}")


def _without_stale(new: Table, known: Known, unit_writer: UnitWriter) -> dict[Part, Table]:
    """What parts hold without the failures and the vanished sounds that rows are there of now."""
    records = known.sounds.all()
    stale = new["id"].filter(arrow().array(np.isin(short_keys(new["id"]), records["key"][records["state"] != 0])))
    ids: defaultdict[Part, set[str]] = defaultdict(set)
    for one in stale.to_pylist():
        found = known.sound(short_key(one))
        if found is not None and (part := known.parts[found.part]) is not None:
            ids[part].add(one)
    return {part: unit_writer.without(part, some) for part, some in ids.items()}


def _unknown(table: Table, known: Known, *, failures: bool) -> Table:
    """Rows of sounds that the library does not have, or has as vanished; a failure is one that it has no rows of either."""
    records, keys = known.sounds.all(), short_keys(table["id"])
    if failures:
        return table.filter(arrow().array(~np.isin(keys, records["key"])))
    has = np.isin(keys, records["key"][(records["state"] & FAILED) == 0])
    returned = np.isin(keys, records["key"][records["state"] == MISSING]) & ~table["missing"].to_numpy()
    return table.filter(arrow().array(~has | returned))
