"""Graphs as a runtime has prepared them, kept for later processes.

An entry is a folder that appears whole, by renaming, under a name made of everything that it depends on: the graph's
sha256, the runtime's version and options, the processor. Beside what the runtime wrote lies `entry.json` with the stamp
(size, times, inode) and sha256 of each file. A file with that stamp is the file that was hashed; one with another stamp is
hashed again, and if the digest differs the entry is removed and built anew. So an entry that was cut, damaged or half
written is never used, an intact one costs no reading, and one that was copied is read once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from claprt.bundle.digests import has_stamp, is_settled, sha256_of, stamp_of
from claprt.system.atomic import atomic_folder
from claprt.system.cache_folder import GRAPHS, CacheFolder, default_cache_folder, read_record, write_record

_ENTRY = "entry.json"
_TIDIED = ".tidied"
"""Marker whose time is that of the last removal of unused entries."""
_UNUSED_S = 30 * 24 * 3600
"""Seconds after which an unused entry is removed."""
_TIDY_S = 3600
"""Seconds between two removals of unused entries."""


class GraphCache(CacheFolder):
    """The prepared graphs of a cache folder."""

    __slots__ = ()

    def entry(self, key: Mapping[str, str], build: Callable[[Path], None]) -> Path | None:
        """Find or build the entry of a key; None if it can be neither found nor kept.

        Args:
            key: Everything that the result depends on.
            build: Writes into the folder that it is given. If it raises `OSError`, nothing is kept.
        """
        place = self.folder / GRAPHS / hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]
        try:
            self.tidy()
            if _is_intact(place):
                return place
            self._write(place, dict(key), build)
        except OSError:
            return None
        return place if _is_intact(place) else None

    def _write(self, place: Path, key: dict[str, str], build: Callable[[Path], None]) -> None:
        self.make(place.parent)
        _remove_unused(place.parent)
        try:
            with atomic_folder(place, mode=0o700) as new:
                build(new)
                files = {path.name: _file_record(path) for path in sorted(new.iterdir())}
                (new / _ENTRY).write_text(json.dumps({"key": key, "files": files}), encoding="utf-8")
        except OSError:
            if not _is_intact(place):  # another process may have been faster
                raise

    def tidy(self) -> None:
        """Remove what killed processes left half written, and once an hour entries that are unused for a month."""
        self.remove_leftovers()
        marker = self.folder / _TIDIED
        with contextlib.suppress(OSError):
            if not marker.exists() or abs(time.time() - marker.stat().st_mtime) > _TIDY_S:
                marker.touch()
                _remove_unused(self.folder / GRAPHS)


def default_cache() -> GraphCache | None:
    """The cache in the folder that the environment names; None if it says `off` or there is no home."""
    folder = default_cache_folder()
    return None if folder is None else GraphCache(folder)


def _file_record(path: Path) -> dict[str, Any]:
    return {"stamp": stamp_of(path), "sha256": sha256_of(path)}


def _is_intact(place: Path) -> bool:
    """Whether an entry is there and its files are those that were written.

    Files that had to be hashed, as after copying the cache, are known by their new stamps from then on.
    """
    entry = read_record(place / _ENTRY)
    files = entry.get("files")
    if not isinstance(files, dict) or not files:
        return False
    try:
        current = {name: _current_record(place / name, record) for name, record in files.items()}
        if None in current.values() or {path.name for path in place.iterdir()} != {*files, _ENTRY}:
            return False
    except (OSError, KeyError, TypeError, ValueError):
        return False
    with contextlib.suppress(OSError):
        os.utime(place / _ENTRY)  # used today
        if current != files:
            write_record(place / _ENTRY, {**entry, "files": current}, place.parent)
    return True


def _current_record(path: Path, record: Any) -> Any:
    """The record to keep of a file that is still the one that was written; None for any other."""
    now, stamp = time.time_ns(), stamp_of(path)
    if has_stamp(record, stamp):
        return record
    if sha256_of(path) != record["sha256"]:
        return None
    return {**record, "stamp": list(stamp)} if is_settled(path, stamp, now) else record


def _remove_unused(folder: Path) -> None:
    for place in folder.iterdir():
        with contextlib.suppress(OSError):
            if not place.name.startswith(".") and time.time() - (place / _ENTRY).stat().st_mtime > _UNUSED_S:
                shutil.rmtree(place, ignore_errors=True)
