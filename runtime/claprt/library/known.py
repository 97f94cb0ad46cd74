"""What a library holds already, in memory: a few tens of bytes a sound, in sorted arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claprt.library.schema import arrow
from claprt.library.store import FAILURES, ROWS, Part, Store

_PENDING = 1 << 16
_DIGITS = np.full(256, 0, np.uint64)
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint64)

MISSING, FAILED = 1, 2
"""States of a sound, added up."""
SOUND = np.dtype([
    ("key", "u8"), ("size", "i8"), ("mtime", "f8"), ("digest", "u8"), ("part", "i4"), ("state", "u1"),
])  # fmt: skip
"""A sound: the first 64 bits of its id and of its sha256, and which part holds its rows."""


class Sound(NamedTuple):
    """A record of `SOUND`."""

    key: int
    size: int
    mtime: float
    digest: int
    part: int
    """Its place in `Known.parts`."""
    state: int


CONTENT = np.dtype([("key", "u8"), ("part", "i4")])
"""A content: the first 64 bits of its sha256, and a part that holds its vectors."""


def short_key(digest: str) -> int:
    """The first 64 bits of an id or a sha256.

    Example:
        >>> short_key("00000000000000ff0123")
        255
    """
    return int(digest[:16], 16)


def short_keys(digests: Any) -> NDArray[np.uint64]:
    """`short_key` of a pyarrow column of ids or sha256 [n]."""
    pa = arrow("compute")
    column = digests.combine_chunks() if isinstance(digests, pa.ChunkedArray) else digests
    if not len(column):
        return np.empty(0, np.uint64)
    first = pa.compute.binary_slice(column.cast(pa.binary()), 0, 16)
    letters = np.frombuffer(first.buffers()[2], np.uint8, 16 * len(first)).reshape(-1, 16)
    shifts = np.arange(60, -1, -4, dtype=np.uint64)
    return (_DIGITS[letters] << shifts).sum(axis=1, dtype=np.uint64)


class KeyTable:
    """Records with a 64-bit key: found in logarithmic time, added in amortised logarithmic time, without Python objects.

    Records that were added last are found first.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        """Make a table of records with a field `key`."""
        self._dtype = dtype
        self._runs: list[tuple[NDArray[np.uint64], NDArray[Any]]] = []
        self._pending: dict[int, tuple[Any, ...]] = {}

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._runs) + len(self._pending)

    def find(self, key: int) -> tuple[Any, ...] | None:
        """The record of a key, or None."""
        if (found := self._pending.get(key)) is not None:
            return found
        wanted = np.uint64(key)
        for keys, records in reversed(self._runs):
            at = int(keys.searchsorted(wanted))
            if at < len(keys) and keys[at] == wanted:
                return records[at].item()
        return None

    def add(self, record: tuple[Any, ...]) -> None:
        """Add a record, whose first field is the key."""
        self._pending[int(record[0])] = record
        if len(self._pending) >= _PENDING:
            self.extend(np.empty(0, self._dtype))

    def extend(self, records: NDArray[Any]) -> None:
        """Add records [n]."""
        mine = np.array(list(self._pending.values()), self._dtype)
        self._pending = {}
        for added in (mine, records):
            if len(added):
                self._add_run(_sorted(added))
        while len(self._runs) > 1 and len(self._runs[-1][0]) * 2 > len(self._runs[-2][0]):
            (_, last), (_, before) = self._runs.pop(), self._runs.pop()
            self._add_run(_sorted(np.concatenate([before, last])))

    def _add_run(self, records: NDArray[Any]) -> None:
        self._runs.append((np.ascontiguousarray(records["key"]), records))

    def all(self) -> NDArray[Any]:
        """All records [sounds] of the table's structured dtype, by their keys, without those that were replaced."""
        self.extend(np.empty(0, self._dtype))
        return _sorted(np.concatenate([np.empty(0, self._dtype), *(records for _, records in self._runs)]))


def _sorted(records: NDArray[Any]) -> NDArray[Any]:
    """Records by their keys; of equal keys the last."""
    order = np.argsort(records["key"], kind="stable")
    records = records[order]
    last = np.ones(len(records), bool)
    last[:-1] = records["key"][1:] != records["key"][:-1]
    return records[last]


class Known:
    """The sounds and the failures of a library, and what of them is where."""

    def __init__(self, store: Store) -> None:
        """Read the facts of all sounds.

        Raises:
            LibraryError: If the library cannot be read.
        """
        self.sounds = KeyTable(SOUND)
        self.contents = KeyTable(CONTENT)
        self.parts: list[Part | None] = []
        """The parts that records name by their place here; None for one that was removed."""
        for part, table in store.tables(ROWS, ["id", "size", "mtime", "sha256", "missing"]):
            self.add(self.place_of(part), table)
        for part, table in store.tables(FAILURES, ["id", "size", "mtime"]):
            self.add(self.place_of(part), table, failed=True)

    def add(self, place: int, table: Any, *, failed: bool = False) -> None:
        """Add the sounds of a part.

        Args:
            place: Of the part.
            table: Its rows, of which ids, sizes, times, sha256 and `missing` are read.
            failed: Whether it holds failures, which have ids, sizes and times.
        """
        keys = short_keys(table["id"])
        first = np.ones(len(keys), bool)
        first[1:] = keys[1:] != keys[:-1]
        records = np.zeros(int(first.sum()), SOUND)
        records["key"] = keys[first]
        records["size"] = table["size"].to_numpy()[first]
        records["mtime"] = table["mtime"].to_numpy()[first]
        records["part"] = place
        records["state"] = FAILED if failed else np.where(table["missing"].to_numpy()[first], MISSING, 0)
        if not failed:
            records["digest"] = short_keys(table["sha256"])[first]
            contents = np.zeros(len(records), CONTENT)
            contents["key"], contents["part"] = records["digest"], place
            self.contents.extend(contents)
        self.sounds.extend(records)

    def sound(self, key: int) -> Sound | None:
        """What is known of a sound, by the first 64 bits of its id."""
        found = self.sounds.find(key)
        return None if found is None else Sound(*found)

    def place_of(self, part: Part) -> int:
        """The place of a part in `parts`, which a new part gets."""
        self.parts.append(part)
        return len(self.parts) - 1

    def exchange(self, become: Mapping[Part, Part | None]) -> None:
        """Take note that parts were replaced by others, or by nothing."""
        if become:
            self.parts[:] = [part if part is None else become.get(part, part) for part in self.parts]
