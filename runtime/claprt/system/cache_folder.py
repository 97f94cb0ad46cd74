"""The cache folder: prepared graphs, exports of checkpoints, and digests of files, kept for later processes.

`CLAPRT_GRAPH_CACHE` names it; by default it is `claprt` in the user's cache folder. `off` disables it; a folder that cannot
be written disables it silently, because results are the same. The folder is trusted: whoever can write to it can change an
entry and its record together. It is created for its owner alone (mode 0700).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claprt.system.advice import warn_once
from claprt.system.atomic import atomic_file
from claprt.system.locks import HAS_LOCKS, is_abandoned

CACHE_VARIABLE = "CLAPRT_GRAPH_CACHE"
"""Environment variable that names the folder, or `off`."""
OLD_CACHE_VARIABLE = "CLAPRT_CACHE"
"""Its name in 0.1.0, read where the new one is not set."""

GRAPHS = "graphs"
"""Subfolder of prepared graphs."""
CHECKED = "checked"
"""Subfolder of digests of files."""

_ABANDONED_S = 180
"""Age from which what is half written is removed, if no process holds its lock."""
_ABANDONED_WITHOUT_LOCKS_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """One cache folder, which need not exist yet."""

    folder: Path

    def make(self, folder: Path) -> None:
        """Create a subfolder, and the cache folder for its owner alone.

        Raises:
            OSError: If it cannot be created.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half written."""
        for name in (GRAPHS, CHECKED):
            with contextlib.suppress(OSError), os.scandir(self.folder / name) as entries:
                for leftover in [Path(entry.path) for entry in entries if entry.name.startswith(".")]:
                    _remove_if_abandoned(leftover)


def default_cache_folder() -> Path | None:
    """The folder that the environment names; None if it says `off` or there is no home."""
    named = os.environ.get(CACHE_VARIABLE)
    if named is None and (named := os.environ.get(OLD_CACHE_VARIABLE)) is not None:
        warn_once("cache", f"{OLD_CACHE_VARIABLE} is now {CACHE_VARIABLE}; set that.", DeprecationWarning)
    if named is not None and named.strip().lower() in ("", "off", "0", "no", "none"):
        return None
    if named:
        return Path(named)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home)) / "claprt" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "claprt"


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if there is none."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(path: Path, record: object, beside: Path) -> None:
    """Write JSON to a file, atomically; until then it is a hidden file in the folder `beside`.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_file(path, folder=beside) as new:
        new.write_text(json.dumps(record), encoding="utf-8")


def _remove_if_abandoned(leftover: Path) -> None:
    with contextlib.suppress(OSError):
        age = time.time() - leftover.stat().st_mtime
        if age < (_ABANDONED_S if HAS_LOCKS else _ABANDONED_WITHOUT_LOCKS_S):
            return
        if not leftover.is_dir():
            leftover.unlink()
        elif is_abandoned(leftover) or not HAS_LOCKS:
            shutil.rmtree(leftover, ignore_errors=True)
