"""The part of a `VectorCache` on disk: one SQLite file that several processes share.

Every value lies behind a checksum of its key and itself, so that what a failing disk or another program has changed is not
taken for a vector: such a row is dropped and counts as not found. A file that SQLite cannot read is renamed to
`vectors-2.damaged` and begun anew, when it is opened and while it is in use. A full disk, a lock that is held for
long and a file system that has become read-only raise nothing: the value is then not found, or not kept.

Whoever can write the folder can put vectors into it. It is trusted, and made for its owner alone (mode 0700).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from claprt.errors import CacheWarning, OptionError
from claprt.system.forks import never_end

_FILE = "vectors-2.sqlite"
"""Named after its layout: a release with another one begins another file."""
_PAGE = 4096
_WAL_INDEX = 32_768
_CHECKSUM = 8
"""Bytes in front of each value."""
_REFRESH_S = 600
"""How old the time of the last use may get before a hit writes it anew."""
_CHECK_EVERY = 64
"""Stored values after which it is looked whether the file is still the one at the path."""
_BUSY_S = 5
_WAL_MODE = "journal_mode = WAL"

_NO_SPACE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_PASSING = _NO_SPACE | {
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip
"""What says nothing of the file's content. Every other failure is taken for damage."""

T = TypeVar("T")


class VectorFile:
    """Values by key in one file. Connections belong to one thread of one process each; a forked child opens its own."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Open the file, or begin it.

        Args:
            folder: Where it lies; made if it is not there.
            limit: Bytes that the file and what SQLite keeps beside it may take.

        Raises:
            OptionError: If the folder cannot be made, read or written. Of a full disk, and of a lock that another program
                holds for long, is only warned.
        """
        self.path, self._limit = folder / _FILE, limit
        self._wal = Path(f"{self.path}-wal")
        self._wal_limit = max(limit // 6, 4 * _PAGE)
        self._pages = max((limit - self._wal_limit - _WAL_INDEX) * 4 // 5 // _PAGE, 6)  # the rest is for one write
        self._local = threading.local()
        self._stored = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open(folder)
        except (OSError, sqlite3.Error) as error:
            reason = _passing_reason(error)
            if reason:
                warnings.warn(
                    f"{reason} the cache folder {folder} ({error}). Until that ends, vectors are kept in memory alone.",
                    CacheWarning,
                    stacklevel=3,
                )
                return
            raise OptionError(
                f"The cache folder {folder} cannot be used: {error}. Name one that can be written."
            ) from error

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None where there is none that is whole."""
        return self._guarded(lambda database: self._read(database, key))

    def put(self, key: bytes, value: bytes) -> None:
        """Store a value, if there is room for it."""
        if len(value) + _CHECKSUM > self._limit // 8:
            return
        self._guarded(lambda database: self._write(database, key, _checksum(key, value) + value))

    def drop(self, key: bytes) -> None:
        """Forget a value."""
        self._guarded(lambda database: self._delete(database, key))

    def _open(self, folder: Path) -> None:
        try:
            self._prepare()
        except Exception as error:
            code = _code(error)
            if code == sqlite3.SQLITE_READONLY and os.access(self.path, os.W_OK) and os.access(folder, os.W_OK):
                code = None  # it says so itself, in its damaged head
            if code in _PASSING:
                raise
            self._begin_anew()
            self._prepare()

    def _prepare(self) -> None:
        database = self._connection()
        database.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, value BLOB, used INTEGER) WITHOUT ROWID"
        )
        database.execute("CREATE INDEX IF NOT EXISTS by_use ON vectors (used)")
        self._delete(database, b"\0")  # fails now rather than later where nothing can be written
        database.execute("SELECT value, used FROM vectors WHERE key = x'00'").fetchone()
        self._shrink(database)

    def _connection(self) -> sqlite3.Connection:
        local = self._local
        if getattr(local, "pid", None) == os.getpid():
            return local.database
        if getattr(local, "database", None) is not None:
            never_end(local.database)  # of the parent: ending it here would disturb it
        local.database = database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        local.pid = os.getpid()
        try:
            self._configure(database)
        except BaseException:
            local.inode = _inode(self.path)
            local.pid = local.database = None
            database.close()
            raise
        local.inode = _inode(self.path)
        return database

    def _configure(self, database: sqlite3.Connection) -> None:
        database.text_factory = bytes
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(self._limit // 8 + 1024, 1_000_000))
        checkpoint = max(4, min(1000, self._wal_limit // 2 // _PAGE))
        for pragma in (
            f"page_size = {_PAGE}",
            "auto_vacuum = INCREMENTAL",
            _WAL_MODE,
            "synchronous = OFF",  # a cache that loses its last entries has lost nothing
            "cell_size_check = ON",
            f"wal_autocheckpoint = {checkpoint}",
            f"journal_size_limit = {checkpoint * _PAGE}",
            f"max_page_count = {self._pages}",
        ):
            _set(database, pragma)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """The result of some work, done again on a new file where the old one is damaged; None where it fails."""
        for _ in range(2):
            try:
                return work(self._connection())
            except Exception as error:  # noqa: BLE001 - a damaged file leads to nearly any
                if _code(error) in _PASSING:
                    return None
            try:
                self._begin_anew()
                self._prepare()
            except (OSError, sqlite3.Error):
                return None
        return None

    def _begin_anew(self) -> None:
        """Set the file aside, unless another process or thread has done so already."""
        held = getattr(self._local, "inode", None)
        self._disconnect()
        if held is not None and held != _inode(self.path):
            return
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(self.path.with_suffix(".damaged"))
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def _disconnect(self) -> None:
        database = getattr(self._local, "database", None)
        self._local.database = self._local.pid = self._local.inode = None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def _read(self, database: sqlite3.Connection, key: bytes) -> bytes | None:
        row = database.execute("SELECT value, used FROM vectors WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        stored, used = row
        value = stored[_CHECKSUM:] if isinstance(stored, bytes) else b""
        if not isinstance(stored, bytes) or stored[:_CHECKSUM] != _checksum(key, value) or not isinstance(used, int):
            self._delete(database, key)
            return None
        now = int(time.time())
        if abs(now - used) > _REFRESH_S:
            try:
                self._change(database, "UPDATE vectors SET used = ? WHERE key = ?", (now, key))
            except sqlite3.Error as error:
                if _code(error) not in _PASSING:
                    raise
        return value

    def _delete(self, database: sqlite3.Connection, key: bytes) -> None:
        self._change(database, "DELETE FROM vectors WHERE key = ?", (key,))

    def _write(self, database: sqlite3.Connection, key: bytes, value: bytes) -> None:
        self._stored += 1
        if self._stored % _CHECK_EVERY == 0 and _inode(self.path) != self._local.inode:  # set aside or removed by another
            self._disconnect()
            self._prepare()
            database = self._connection()
        while True:
            try:
                self._change(database, "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", (key, value, int(time.time())))
                return
            except sqlite3.Error as error:
                if _code(error) != sqlite3.SQLITE_FULL or not self._let_go(database):
                    raise

    def _change(self, database: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
        """Run a statement if the write-ahead log has room, seen with the lock of writers held. Returns whether it has."""
        while True:
            database.execute("BEGIN IMMEDIATE")
            if self._wal_bytes() <= self._wal_limit:
                break
            database.execute("ROLLBACK")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._wal_bytes() > self._wal_limit:
                return False  # somebody reads for long
        try:
            database.execute(statement, values)
            database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")  # where SQLite has not done so itself
            raise
        return True

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def _let_go(self, database: sqlite3.Connection) -> bool:
        """Delete the thirtieth part of the entries that was not used for longest. Returns whether any could go."""
        (entries,) = database.execute("SELECT COUNT(*) FROM vectors").fetchone()
        oldest = "SELECT key FROM vectors ORDER BY used LIMIT ?"
        delete = f"DELETE FROM vectors WHERE key IN ({oldest})"
        return entries > 0 and self._change(database, delete, (entries // 30 + 1,))

    def _shrink(self, database: sqlite3.Connection) -> None:
        """Bring a file that was written under a larger bound under this one."""
        with contextlib.suppress(OSError):
            aside = self.path.with_suffix(".damaged")
            if aside.exists() and aside.stat().st_size + self.path.stat().st_size > self._limit:
                aside.unlink()
        while _number(database, "page_count") > self._pages:
            while _number(database, "page_count") - _number(database, "freelist_count") > self._pages:
                if not self._let_go(database):
                    break
            before = _number(database, "page_count")
            database.execute("PRAGMA incremental_vacuum(2000)").fetchall()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if _number(database, "page_count") >= before:
                break
        database.execute(f"PRAGMA max_page_count = {self._pages}").fetchall()


def _set(database: sqlite3.Connection, pragma: str) -> None:
    """Set a pragma. SQLite does not wait for writers when it changes the mode of a new file, so this does.

    Raises:
        sqlite3.OperationalError: If it cannot be set, or a writer takes longer than `_BUSY_S`.
    """
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            database.execute(f"PRAGMA {pragma}").fetchall()
            return
        except sqlite3.OperationalError as error:
            if pragma != _WAL_MODE or _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.005)


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_CHECKSUM, key=key[: hashlib.blake2b.MAX_KEY_SIZE]).digest()


def _number(database: sqlite3.Connection, pragma: str) -> int:
    return int(database.execute(f"PRAGMA {pragma}").fetchone()[0])


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _code(error: Exception) -> int | None:
    """SQLite's primary code of an error; None where it is none of SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _passing_reason(error: Exception) -> str:
    """The beginning of a sentence on what may end by itself; empty for every other error."""
    if isinstance(error, OSError):
        full, locked = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), False
    else:
        full, locked = _code(error) in _NO_SPACE, _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return "There is no room in" if full else "Another program holds a lock in" if locked else ""
