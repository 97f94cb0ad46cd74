"""Which contents are embedded, and by whom: each one once."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from claprt.library.embedding import Outcome
from claprt.library.known import Known, short_key


class ContentClaims:
    """Contents that are in the library, or on their way into it. Safe to use from several threads."""

    def __init__(self, known: Known) -> None:
        """Take what the library holds."""
        self._known = known
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._failed: set[str] = set()
        self.waiting: dict[str, list[Outcome]] = {}
        """Sounds whose content another one is being embedded for."""

    def claim(self, sha256: str) -> bool:
        """Whether who asks is to embed this content. One that fails is embedded for each, for each gets its own message."""
        with self._lock:
            if sha256 in self._failed:
                return True
            if sha256 in self._taken or self._known.contents.find(short_key(sha256)) is not None:
                return False
            self._taken.add(sha256)
            return True

    def stored_keys(self) -> NDArray[np.uint64]:
        """The first 64 bits of the contents that are in the library and need not be embedded, [contents] uint64, sorted."""
        with self._lock:
            failed = np.array([short_key(sha256) for sha256 in self._failed], np.uint64)
            return np.setdiff1d(self._known.contents.all()["key"], failed, assume_unique=True)

    def place_of(self, sha256: str) -> int | None:
        """The place of a part that holds the content, as far as is known; None where none does."""
        with self._lock:
            found = self._known.contents.find(short_key(sha256))
        return None if found is None else int(found[1])

    def stored(self, contents: Iterable[str], place: int) -> None:
        """Take note that contents are in a part of the library now."""
        with self._lock:
            for sha256 in contents:
                self._known.contents.add((short_key(sha256), place))
                self._taken.discard(sha256)

    def has_failed(self, sha256: str) -> bool:
        """Whether the content could not be embedded."""
        with self._lock:
            return sha256 in self._failed

    def failed(self, sha256: str) -> None:
        """Take note that a content cannot be embedded."""
        with self._lock:
            self._failed.add(sha256)
            self._taken.discard(sha256)
