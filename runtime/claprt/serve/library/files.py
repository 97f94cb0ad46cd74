"""Files of a library's sounds: which may be served, and whether they are still what was indexed.

A file is served only if it lies in one of the library's folders once every symbolic link of its path has been resolved. It
is opened first and checked afterwards, so that what is checked is what is sent.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePath
from typing import Literal

from claprt.library.paths import INSIDE
from claprt.serve.library.errors import NotServedError, SoundChangedError, SoundGoneError
from claprt.serve.library.interface import SoundFacts

State = Literal["present", "changed", "missing"]

_BLOCK = 1 << 20
_KEPT = 10_000
_MTIME_S = 2e-6
"""What seconds since 1970 as a float64 lose of nanoseconds, and a little more."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders whose sounds may be served, and files that may be."""

    named: frozenset[str]
    """As they were given to the indexer, absolute."""
    resolved: frozenset[str]
    """The same without symbolic links."""

    @classmethod
    def of(cls, paths: Sequence[str]) -> Roots:
        """The roots of a library."""
        return cls(frozenset(map(_without_end, paths)), frozenset(map(os.path.realpath, paths)))

    def holds(self, resolved: str) -> bool:
        """Whether a path without symbolic links is one of the roots or in one of them."""
        return any(above in self.resolved for above in _from_above(resolved))

    def shown(self, facts: SoundFacts) -> str:
        """A sound's path as clients see it: from the root's name on, so that it says nothing else of this machine."""
        path = facts.path if facts.file is None else os.fsencode(facts.file).decode("utf-8", "replace")
        for above in _from_above(path.partition(INSIDE)[0]):
            if above in self.named:
                return PurePath(above).name + path[len(above) :].replace(os.sep, "/")
        return path if "://" in path else PurePath(path).name


def _from_above(path: str) -> Iterator[str]:
    """A path and the folders that it is in, as they are written, the outermost first.

    Example:
        >>> list(_from_above("/sounds/dogs/bark.wav"))
        ['/', '/sounds', '/sounds/dogs', '/sounds/dogs/bark.wav']
    """
    places = [at for at, letter in enumerate(path) if letter in {"/", os.sep}]
    if places[:1] == [0]:
        yield path[0]
    yield from (path[:at] for at in places if at)
    yield path


def _without_end(path: str) -> str:
    return path.rstrip("/" + os.sep) or path[:1]


def state_of(facts: SoundFacts, roots: Roots) -> State | None:
    """Whether the file of a sound is there, and as large and old as it was; None where it is none that may be served."""
    if facts.file is None:
        return None
    try:
        if facts.missing or not roots.holds(os.path.realpath(facts.file)):
            return "missing" if facts.missing else None
        found = Path(facts.file).stat()
    except (OSError, ValueError):
        return "missing"
    same = found.st_size == facts.size and abs(found.st_mtime - facts.mtime) < _MTIME_S
    return "present" if same else "changed"


def open_served(facts: SoundFacts, roots: Roots) -> FileIO:
    """Open the file of a sound for reading, if it may be served.

    Raises:
        NotServedError: If it is not a regular file in the library's folders.
        SoundGoneError: If it is no longer there.
        SoundChangedError: If it has another size than when it was indexed.
    """
    name = roots.shown(facts)
    if facts.file is None:
        raise NotServedError(f"{name} is not a file by itself on the service's machine; only those are served.")
    if facts.missing:
        raise SoundGoneError(_gone(name))
    outside = f"{name} is not a file inside the library's folders, and is not served."
    try:
        resolved = os.path.realpath(facts.file, strict=True)
        if not roots.holds(resolved):
            raise NotServedError(outside)
        # O_NONBLOCK: a pipe without a writer would wait for one
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(resolved, flags)
    except FileNotFoundError as error:
        raise SoundGoneError(_gone(name)) from error
    except (OSError, ValueError) as error:
        raise NotServedError(f"{name} cannot be opened by the service, and is not served.") from error
    try:
        opened = os.fstat(descriptor)
        again = os.path.realpath(facts.file)  # a folder may have become a link meanwhile
        if not (stat.S_ISREG(opened.st_mode) and roots.holds(again) and os.path.samestat(opened, Path(again).stat())):
            raise NotServedError(outside)
        if opened.st_size != facts.size:
            raise SoundChangedError(_changed(name))
        return FileIO(descriptor)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise SoundGoneError(_gone(name)) from error
        raise


class Verifier:
    """Compares files with what was indexed, each once: a player asks for a large file in many pieces."""

    def __init__(self) -> None:
        self._same: dict[tuple[object, ...], None] = {}

    def verify(self, file: FileIO, facts: SoundFacts, roots: Roots) -> Iterator[None]:
        """Compare the content of an opened file with what was indexed, where its time differs; a block at a step.

        Raises:
            SoundChangedError: If it is another content.
        """
        found = os.fstat(file.fileno())
        key = (facts.id, facts.sha256, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if abs(found.st_mtime - facts.mtime) < _MTIME_S or key in self._same:
            return
        digest = hashlib.sha256()
        file.seek(0)
        while block := file.read(_BLOCK):
            digest.update(block)
            yield
        if digest.hexdigest() != facts.sha256:
            raise SoundChangedError(_changed(roots.shown(facts)))
        if len(self._same) >= _KEPT:
            self._same.clear()
        self._same[key] = None


def _gone(name: str) -> str:
    return f"{name} is no longer there: it was moved or removed after it was indexed. `claprt index` finds that."


def _changed(name: str) -> str:
    return f"{name} was changed after it was indexed, and is not served; `claprt index` embeds it again."
