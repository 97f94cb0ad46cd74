"""Changes to rows that stay: sounds that were touched, that vanished, that are there again. Part by part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.library.known import FAILED, MISSING, KeyTable, Known, short_keys
from claprt.library.schema import Table, arrow
from claprt.library.store import ROWS, Part, Store
from claprt.library.unit_writer import UnitWriter

CHANGE = np.dtype([("key", "u8"), ("mtime", "f8"), ("missing", "?")])
"""What becomes of a sound: its new time (NaN for the old one), and whether it is missing."""


def vanished(
    store: Store, known: Known, seen: KeyTable, is_gone: Callable[[str], bool], is_mine: Callable[[int], bool]
) -> tuple[list[int], dict[Part, set[str]]]:
    """Sounds and failures that a run did not meet, though it read where they were.

    Args:
        store: The library.
        known: What it held when the run began.
        seen: Keys that the run met.
        is_gone: Whether a path would have been met if it were there.
        is_mine: Whether the run was to look for a key.

    Returns:
        The keys of sounds that were not marked yet; and ids of failures by their part.
    """
    records = known.sounds.all()
    keys = records["key"]
    unseen = records[~np.isin(keys, seen.all()["key"]) & ((records["state"] & MISSING) == 0)]
    by_part: defaultdict[Part, list[int]] = defaultdict(list)
    for key, place in zip(unseen["key"].tolist(), unseen["part"].tolist(), strict=True):
        if is_mine(key) and (part := known.parts[place]) is not None:
            by_part[part].append(key)
    sounds: list[int] = []
    failures: dict[Part, set[str]] = {}
    for part, wanted in by_part.items():
        table = store.read(part, ["id", "path"])
        table = table.filter(arrow().array(np.isin(short_keys(table["id"]), np.array(wanted, np.uint64))))
        paths = dict(zip(table["id"].to_pylist(), table["path"].to_pylist(), strict=True))
        gone = [one for one, path in paths.items() if is_gone(path)]
        if part.table == ROWS:
            sounds += [int(one[:16], 16) for one in gone]
        elif gone:
            failures[part] = set(gone)
    return sounds, failures


def apply_changes(writer: UnitWriter, store: Store, known: Known, changes: KeyTable) -> None:
    """Write new times and marks, one commit for each part that has some.

    Args:
        writer: Of the library.
        store: The library.
        known: Its sounds, and the parts that hold them.
        changes: Records of sounds whose time or mark changed.
    """
    changed = changes.all()
    if not len(changed):
        return
    records = known.sounds.all()
    records = records[(records["state"] & FAILED) == 0]
    places = np.unique(records["part"][np.isin(records["key"], changed["key"])]).tolist()
    for part in {part for place in places if (part := known.parts[place]) is not None}:
        writer.replace({part: _changed(store.read(part), changed)})


def _changed(table: Table, changes: NDArray[Any]) -> Table:
    pa = arrow()
    keys = short_keys(table["id"])
    at = np.minimum(np.searchsorted(changes["key"], keys), len(changes) - 1)
    found = changes["key"][at] == keys
    times = np.where(found & ~np.isnan(changes["mtime"][at]), changes["mtime"][at], table["mtime"].to_numpy())
    missing = np.where(found, changes["missing"][at], table["missing"].to_numpy())
    for name, values in (("mtime", times), ("missing", missing)):
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), pa.array(values))
    return table
