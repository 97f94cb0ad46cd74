"""Vectors that were computed before, found again by the content of a sound or text and the fingerprint.

A cache has a part in memory and, where a folder is given, one on disk that several processes share and later ones find
again. Both are bounded, and what has not been asked for longest goes first. A key is a SHA-256, so no sound can be taken
for another; a value is a few kilobytes. The part on disk is SQLite's, which many processes may use at one time and which a
killed one leaves whole; a file that is damaged all the same, or of another release, is set aside and begun anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from pathlib import Path

from claprt.errors import OptionError

_FILE = "vectors-1.sqlite"
"""Named after its layout: a release with another one begins another file."""
_ENTRY_BYTES = 120
"""What an entry costs beside its value, roughly."""
_REFRESH_S = 600
"""How old the time of the last use may get before a hit writes it anew."""
_TRIM_EVERY = 64
"""Stored values after which the size on disk is looked at."""


class VectorCache:
    """A bounded store of vectors. Safe to use from several threads, and its folder from several processes."""

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, memory_mb: float = 64, disk_mb: float = 1024
    ) -> None:
        """Opens the store.

        Args:
            folder: where vectors outlive the process; made if it is not there. By default they are kept in memory alone.
            memory_mb: bound of the part in memory, 10^6 bytes; ten seconds of sound take 0.002.
            disk_mb: bound of the part on disk.

        Raises:
            OptionError: the folder cannot be written, or a bound is not positive.
        """
        if not memory_mb > 0 or not disk_mb > 0:
            raise OptionError(f"memory_mb={memory_mb} and disk_mb={disk_mb} must be more than 0.")
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes, self._limit = 0, int(memory_mb * 1e6)
        self._lock = threading.Lock()
        self._disk = None if folder is None else _Disk(Path(folder), int(disk_mb * 1e6))
        self.hits = 0
        """Vectors that were found."""
        self.misses = 0
        """Vectors that were not."""

    @property
    def bytes_in_memory(self) -> int:
        """What the part in memory takes, in bytes."""
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
        """Stores a value; a disk that is full or busy is no error, the value is then in memory alone."""
        self._keep(key, value)
        if self._disk is not None:
            self._disk.put(key, value)

    def _keep(self, key: bytes, value: bytes) -> None:
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = value
            self._bytes += len(value) + _ENTRY_BYTES - (0 if before is None else len(before) + _ENTRY_BYTES)
            while self._bytes > self._limit:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped) + _ENTRY_BYTES

    def __repr__(self) -> str:
        where = "memory" if self._disk is None else str(self._disk.path.parent)
        return f"<VectorCache in {where}: {self.hits} hits, {self.misses} misses>"


class _Disk:
    """The part on disk. Connections belong to one thread of one process each; a forked child opens its own."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.path, self._limit = folder / _FILE, limit
        self._local = threading.local()
        self._stored = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._begin()
        except (OSError, sqlite3.OperationalError) as error:
            raise OptionError(
                f"The cache folder {folder} cannot be used: {error}. Name one that can be written."
            ) from error

    def _begin(self) -> None:
        try:
            self._prepare()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # not a database, or damaged
            self._local = threading.local()
            with contextlib.suppress(FileNotFoundError):  # another process has set it aside already
                self.path.replace(self.path.with_suffix(f".damaged-{os.getpid()}"))
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            self._prepare()

    def _prepare(self) -> None:
        database = self._connection()
        database.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, value BLOB, used INTEGER) WITHOUT ROWID"
        )
        database.execute("CREATE INDEX IF NOT EXISTS by_use ON vectors (used)")
        database.execute(
            "DELETE FROM vectors WHERE key = x'00'"
        )  # fails now rather than later where nothing can be written

    def _connection(self) -> sqlite3.Connection:
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.database = sqlite3.connect(self.path, timeout=5, isolation_level=None)
            self._local.pid = os.getpid()
            self._local.database.execute("PRAGMA journal_mode = WAL")
            self._local.database.execute("PRAGMA synchronous = OFF")  # a cache that loses its last entries has lost nothing
        return self._local.database

    def get(self, key: bytes) -> bytes | None:
        try:
            found = self._connection().execute("SELECT value, used FROM vectors WHERE key = ?", (key,)).fetchone()
            if found is not None and time.time() - found[1] > _REFRESH_S:
                self._connection().execute("UPDATE vectors SET used = ? WHERE key = ?", (int(time.time()), key))
        except sqlite3.DatabaseError:
            return None
        return None if found is None else found[0]

    def put(self, key: bytes, value: bytes) -> None:
        try:
            row = (key, value, int(time.time()))
            self._connection().execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", row)
            self._stored += 1
            if self._stored % _TRIM_EVERY == 1:
                self._trim()
        except sqlite3.DatabaseError:  # full, locked for long, or damaged while in use
            return

    def _trim(self) -> None:
        """Lets the longest unused entries go once the file is beyond its bound, a tenth more than needed."""
        database = self._connection()
        entries, total = database.execute("SELECT COUNT(*), COALESCE(SUM(LENGTH(value)), 0) FROM vectors").fetchone()
        total += entries * _ENTRY_BYTES
        if total > self._limit:
            share = min(1.0, 1.1 - self._limit / total)
            oldest = "SELECT key FROM vectors ORDER BY used LIMIT ?"
            database.execute(f"DELETE FROM vectors WHERE key IN ({oldest})", (int(entries * share) + 1,))
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
