"""Vectors that were computed before, found again by the content of a sound or text and the fingerprint.

A cache has a part in memory and, where a folder is given, one on disk (`claprt.model.vector_cache_file`) that several
processes share and later ones find again. Both are bounded, and what has not been asked for longest goes first. A key is a
SHA-256, so no sound can be taken for another; a value is a few kilobytes.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claprt.errors import OptionError

if TYPE_CHECKING:
    from claprt.model.vector_cache_file import VectorFile

_ENTRY_BYTES = 120
"""What an entry in memory costs beside its value, roughly."""


class VectorCache:
    """A bounded store of vectors. Several threads may use it, and several processes its folder."""

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, memory_mb: float = 64, disk_mb: float = 1024
    ) -> None:
        """Open the store.

        Args:
            folder: Where vectors outlive the process; created for its owner alone. Whoever can write to it is trusted. By
                default vectors are kept in memory only.
            memory_mb: Bound of the part in memory, in 10^6 bytes; ten seconds of sound take 0.002.
            disk_mb: Bound of the part on disk, in 10^6 bytes, including everything that SQLite keeps beside its file.

        Raises:
            OptionError: If the folder cannot be written, or a bound is not positive. A full disk gives a `CacheWarning`.
        """
        if not memory_mb > 0 or not disk_mb > 0:
            raise OptionError(f"memory_mb={memory_mb} and disk_mb={disk_mb} must be more than 0.")
        self._made_with = None if folder is None else os.path.abspath(folder), memory_mb, disk_mb  # noqa: PTH100 - any path
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes, self._limit = 0, int(memory_mb * 1e6)
        self._lock = threading.Lock()
        self._disk = None if folder is None else _opened(Path(folder), int(disk_mb * 1e6))
        self.hits = 0
        """Number of vectors found."""
        self.misses = 0
        """Number of vectors not found."""

    @property
    def bytes_in_memory(self) -> int:
        """Size of the part in memory, in bytes."""
        return self._bytes

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        with self._lock:
            value = self._kept.get(key)
            if value is not None:
                self._kept.move_to_end(key)
        if value is None and self._disk is not None and (value := self._disk.get(key)) is not None:
            self._keep(key, value)
        with self._lock:
            self.hits += value is not None
            self.misses += value is None
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Store a value; in memory only if the disk is full or busy."""
        self._keep(key, value)
        if self._disk is not None:
            self._disk.put(key, value)

    def drop(self, key: bytes) -> None:
        """Remove a value, such as one that turned out to be unusable."""
        with self._lock:
            value = self._kept.pop(key, None)
            self._bytes -= 0 if value is None else len(value) + _ENTRY_BYTES
        if self._disk is not None:
            self._disk.drop(key)

    def _keep(self, key: bytes, value: bytes) -> None:
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = value
            self._bytes += len(value) + _ENTRY_BYTES - (0 if before is None else len(before) + _ENTRY_BYTES)
            while self._bytes > self._limit:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped) + _ENTRY_BYTES

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, and one in another process, has the same folder and bounds, and nothing in memory."""
        folder, memory_mb, disk_mb = self._made_with
        return partial(VectorCache, folder, memory_mb=memory_mb, disk_mb=disk_mb), ()

    def __repr__(self) -> str:
        where = "memory" if self._disk is None else str(self._disk.path.parent)
        return f"<VectorCache in {where}: {self.hits} hits, {self.misses} misses>"


def _opened(folder: Path, limit: int) -> VectorFile:
    from claprt.model.vector_cache_file import VectorFile  # and SQLite, for caches with a folder alone

    return VectorFile(folder, limit)
