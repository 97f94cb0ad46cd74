"""Graphs as a runtime has prepared them, kept for the next process; and which files have been hashed already.

An entry is a folder that appears whole, by renaming, under a name made of everything that it depends on: the graph's
sha256, the runtime's version and options, the processor. Beside what the runtime wrote lies `entry.json` with the size,
times, inode and sha256 of each file. A file whose size, times and inode are still those is the file that was hashed; if any
differ it is hashed again, and if it is another file the entry is thrown away and made anew. So an entry that was cut,
damaged or half written is never used, and an intact one costs no reading; one that was copied costs it once. What a killed
process has begun is locked by nobody, and removed by the next one that loads anything some minutes later.

The folder is `CLAPRT_CACHE`, else `claprt` in the user's cache folder. `CLAPRT_CACHE=off` does without; so does a folder
that cannot be written, without a word, because the answer is the same. The folder is trusted: whoever can write it can
change an entry and its record together. It is made for its owner alone (mode 0700).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claprt.bundle.digests import RACY_NS, Stamp, remember, settled, sha256_of, stamp_of
from claprt.system.locks import HAS_LOCKS, is_abandoned, locked

CACHE_VARIABLE = "CLAPRT_CACHE"
"""Environment variable that names the cache's folder, or says `off`."""

_ENTRY = "entry.json"
_CHECKED = "checked"
"""Folder of what is known of the files of bundles."""
_TIDIED = ".tidied"
"""Its time says when entries were last looked through."""
_UNUSED_S = 30 * 24 * 3600
"""Seconds after which an entry that nobody has used may go."""
_RACY_NS = RACY_NS
_ABANDONED_S = 180
"""Age from which what is half written is removed, if no process holds its lock."""
_ABANDONED_WITHOUT_LOCKS_S = 24 * 3600
_TIDY_S = 3600
"""Seconds between two looks for entries that are unused for long."""


@dataclass(frozen=True, slots=True)
class GraphCache:
    """One cache folder."""

    folder: Path

    def entry(self, key: Mapping[str, str], build: Callable[[Path], None]) -> Path | None:
        """The folder of what `build` writes for a key; None where it can be neither found nor kept.

        Args:
            key: everything that the result depends on.
            build: writes into the folder that it is given. An `OSError` of its own means that nothing is kept.
        """
        found = self.folder / "graphs" / hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]
        try:
            self.tidy()
            if _intact(found):
                return found
            self._write(found, dict(key), build)
        except OSError:
            return None
        return found if _intact(found) else None

    def _write(self, place: Path, key: dict[str, str], build: Callable[[Path], None]) -> None:
        self.make(place.parent)
        _remove_unused(place.parent)
        new = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        new.mkdir(mode=0o700)
        try:
            with locked(new):
                build(new)
                files = {path.name: _recorded(path) for path in sorted(new.iterdir())}
                (new / _ENTRY).write_text(json.dumps({"key": key, "files": files}), encoding="utf-8")
                if place.exists():  # not intact, or another process was faster, in which case either will do
                    place.rename(new.with_name(f"{new.name}.old"))
                new.rename(place)
        except OSError:
            if not _intact(place):
                raise
        finally:
            for leftover in (new, new.with_name(f"{new.name}.old")):
                shutil.rmtree(leftover, ignore_errors=True)

    def make(self, folder: Path) -> None:
        """Makes a folder of the cache, and the cache's own for its owner alone.

        Raises:
            OSError: it cannot be made.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)

    def tidy(self) -> None:
        """Removes what killed processes left half written, and now and then entries that are unused for long."""
        for name in ("graphs", _CHECKED):
            with contextlib.suppress(OSError), os.scandir(self.folder / name) as found:
                for leftover in [Path(item.path) for item in found if item.name.startswith(".")]:
                    _remove_if_abandoned(leftover)
        marker = self.folder / _TIDIED
        with contextlib.suppress(OSError):
            if not marker.exists() or abs(time.time() - marker.stat().st_mtime) > _TIDY_S:
                marker.touch()
                _remove_unused(self.folder / "graphs")

    def digests(
        self, folder: Path, names: Iterable[str], compute: Callable[[Sequence[str]], Mapping[str, str]]
    ) -> dict[str, str]:
        """sha256 of the files of a folder, computed only for those that have changed since it was last asked.

        Args:
            folder: where the files are.
            names: of the files.
            compute: checks and hashes files by name.
        """
        self.tidy()
        place = self.folder / _CHECKED / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.json"
        known = _read_json(place)
        now = time.time_ns()
        stamps = {name: stamp_of(folder / name) for name in names}
        fresh = {name: str(known[name]["sha256"]) for name in stamps if _matches(known.get(name), stamps[name])}
        for name, digest in fresh.items():
            remember(folder / name, stamps[name], digest)
        missing = [name for name in stamps if name not in fresh]
        if not missing:
            return fresh
        digests = {**fresh, **compute(missing)}
        settled = {
            name: {"stamp": stamp, "sha256": digests[name]}
            for name, stamp in stamps.items()
            if _settled(folder / name, stamp, now)
        }
        with contextlib.suppress(OSError):
            self.make(place.parent)
            _replace(place, json.dumps(settled), place.parent)
        return digests


def default_cache() -> GraphCache | None:
    """The cache that the environment names; None where it says `off` or there is no home."""
    named = os.environ.get(CACHE_VARIABLE)
    if named is not None and named.strip().lower() in ("", "off", "0", "no", "none"):
        return None
    if named:
        return GraphCache(Path(named))
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return GraphCache(Path(os.environ.get("LOCALAPPDATA", home)) / "claprt" / "cache")
    return GraphCache(Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "claprt")


def _recorded(path: Path) -> dict[str, Any]:
    return {"stamp": stamp_of(path), "sha256": sha256_of(path)}


def _intact(place: Path) -> bool:
    """Whether an entry is there and its files are those that were written.

    Files that had to be hashed, as after copying the cache, are known by their new stamps from then on.
    """
    entry = _read_json(place / _ENTRY)
    files = entry.get("files")
    if not isinstance(files, dict) or not files:
        return False
    try:
        found = {name: _found(place / name, recorded) for name, recorded in files.items()}
        if None in found.values() or {path.name for path in place.iterdir()} != {*files, _ENTRY}:
            return False
    except (OSError, KeyError, TypeError, ValueError):
        return False
    with contextlib.suppress(OSError):
        os.utime(place / _ENTRY)  # used today
        if found != files:
            _replace(place / _ENTRY, json.dumps({**entry, "files": found}), place.parent)
    return True


def _found(path: Path, recorded: Any) -> Any:
    """What is to be recorded of a file that is still the one that was written; None of any other."""
    now, stamp = time.time_ns(), stamp_of(path)
    if _matches(recorded, stamp):
        return recorded
    if sha256_of(path) != recorded["sha256"]:
        return None
    return {**recorded, "stamp": list(stamp)} if _settled(path, stamp, now) else recorded


def _settled(path: Path, stamp: Stamp, now: int) -> bool:
    """Whether a file that had a stamp at a time, in ns, and was read after it, is known by the stamp."""
    return settled(stamp, now, _RACY_NS) and stamp_of(path) == stamp


def _matches(recorded: object, stamp: Stamp) -> bool:
    return isinstance(recorded, dict) and recorded.get("stamp") == list(stamp) and isinstance(recorded.get("sha256"), str)


def _remove_if_abandoned(leftover: Path) -> None:
    with contextlib.suppress(OSError):
        age = time.time() - leftover.stat().st_mtime
        if age < (_ABANDONED_S if HAS_LOCKS else _ABANDONED_WITHOUT_LOCKS_S):
            return
        if not leftover.is_dir():
            leftover.unlink()
        elif is_abandoned(leftover) or not HAS_LOCKS:
            shutil.rmtree(leftover, ignore_errors=True)


def _remove_unused(folder: Path) -> None:
    for place in folder.iterdir():
        with contextlib.suppress(OSError):
            if not place.name.startswith(".") and time.time() - (place / _ENTRY).stat().st_mtime > _UNUSED_S:
                shutil.rmtree(place, ignore_errors=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _replace(path: Path, text: str, beside: Path) -> None:
    """Writes a file whole or not at all; until then it lies in another folder, where nobody minds one more."""
    new = beside / f".{path.name}.{secrets.token_hex(4)}"
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
