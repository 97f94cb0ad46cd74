"""A query's hits in a library: derived files brought up to date, then filter, names, exact or approximate search."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.engines.hardware import default_threads
from claprt.errors import LibraryWriteError, OptionError
from claprt.library.search.derived import STATE, DerivedFiles
from claprt.library.search.derived_part import VANISHED
from claprt.library.search.filters import Filter
from claprt.library.search.hits import Hit, hits_of
from claprt.library.search.query import query_vector
from claprt.library.search.request import Request, SearchOptions
from claprt.library.search.scan import Found, Mask, nearest_sounds, rank
from claprt.library.search.snapshot import Snapshot
from claprt.library.search.sound_vectors import SoundsById
from claprt.library.store import PartGoneError, Store
from claprt.model.clap import Clap
from claprt.system.cache_folder import default_cache_folder

if TYPE_CHECKING:
    from claprt.library.search.approximate import ApproximateIndex, BuildOptions, IndexInfo

T = TypeVar("T")

FOLDER = "index"
"""Subfolder of a library that holds what searches derive."""
_BUILD_LOCK = ".build.lock"
_TRIES = 5
_MANY = 1000
"""Hits above which a search is exact: an index would be asked for most of its rows."""


class Searcher:
    """Searches one library. Safe to use from several threads."""

    def __init__(self, store: Store, options: SearchOptions | None = None) -> None:
        """Read nothing yet."""
        self.store = store
        self.options = options or SearchOptions()
        self._files = DerivedFiles(store, derived_folder(store.folder))
        self._snapshot: Snapshot | None = None
        self._approximate: ApproximateIndex | None = None
        self._lock = threading.Lock()

    def snapshot(self, progress: Callable[[int], None] = lambda _: None) -> Snapshot:
        """The library as it is now.

        Args:
            progress: Called with the number of rows of each part that is added to the derived files.

        Raises:
            PartGoneError: If the library changes all the time.
            LibraryError: If the library cannot be read, or the derived files cannot be written.
        """
        with self._lock:
            for _ in range(_TRIES):
                state = self._files.bring_up_to_date(progress)
                if self._snapshot is not None and self._snapshot.state == state:
                    return self._snapshot
                try:
                    self._snapshot = Snapshot(self._files, state)
                except (OSError, ValueError):  # replaced, or cut, since its state was read
                    continue
                return self._snapshot
        raise PartGoneError(f"{self.store.folder} changed {_TRIES} times while it was opened; try again.")

    def read(self, work: Callable[[Snapshot], T]) -> T:
        """Do some work on the library as it is now, and again on its next state if a part is replaced meanwhile.

        Args:
            work: Takes a snapshot and reads from it.

        Returns:
            What the work returns.

        Raises:
            PartGoneError: If the library changes all the time.
            LibraryError: If the library cannot be read, or the derived files cannot be written.
        """
        for _ in range(_TRIES - 1):
            snapshot = self.snapshot()
            with contextlib.suppress(PartGoneError):
                return work(snapshot)
        return work(self.snapshot())

    def search(self, request: Request, model: Callable[[], Clap]) -> list[Hit]:
        """The sounds that are nearest to a query, best first.

        Args:
            request: What is looked for.
            model: Gives the library's model, where words or sounds are to be embedded.

        Raises:
            OptionError: If there is nothing to look for, or the filter is not valid.
            LibraryError: If the library cannot be read.
            ClaprtError: If a text or a sound cannot be embedded.
        """
        return self.read(lambda snapshot: self._search(snapshot, request, model))

    def _search(self, snapshot: Snapshot, request: Request, model: Callable[[], Clap]) -> list[Hit]:
        query = request.query
        sounds_of = SoundsById(snapshot)
        vector = query_vector(query, snapshot.state.dim, model, sounds_of.vectors)
        allowed = self._allowed(snapshot, request, sounds_of.looked_up)
        bonus = self._bonus(snapshot, request)
        free = request.where is None and not request.exact and not request.missing
        found = self._distinct(snapshot, vector, request.k, allowed, bonus, self._index(snapshot) if free else None)
        return hits_of(snapshot, vector, found, windows=request.windows)

    def _allowed(self, snapshot: Snapshot, request: Request, excluded: Sequence[int]) -> Mask:
        """Rows that may be found: those of sounds that are there, that meet the filter, and that were not the example."""
        allowed = snapshot.hidden <= VANISHED if request.missing else snapshot.there
        if request.where is None and not excluded:
            return allowed
        allowed = allowed.copy()
        if request.where is not None:
            names = [name for name in self.store.schema().names if name != "embedding"]
            condition = Filter(
                request.where,
                names,
                threads=self._threads(),
                longest_s=self.options.filter_s,
                plain=self.options.plain_filters,
            )
            meets = np.zeros(len(snapshot), bool)
            if len(snapshot):
                meets[condition.rows(snapshot.all_facts(condition.columns or names[:1]))] = True
            allowed &= meets
        for sound in excluded:
            allowed[snapshot.rows_of(sound)] = False
        return allowed

    def _bonus(self, snapshot: Snapshot, request: Request) -> NDArray[np.float32] | None:
        if not request.names:
            return None
        from claprt.library.search.names import name_scores

        text = request.query.text
        texts = [] if text is None else [text] if isinstance(text, str) else list(text)
        if not texts:
            raise OptionError(f"names={request.names} weighs the words of a text in file names, and no text was given.")
        return np.float32(request.names) * name_scores(snapshot, texts)

    def _distinct(
        self,
        snapshot: Snapshot,
        query: Embedding,
        k: int,
        allowed: Mask,
        bonus: NDArray[np.float32] | None,
        index: ApproximateIndex | None,
    ) -> Found:
        """The k best sounds; rows of one sound that lie in different places count as one."""
        count = k
        while True:
            found = None if index is None else self._probably_nearest(index, snapshot, query, count, allowed, bonus)
            found = found or self._nearest(snapshot, query, count, allowed, bonus)
            ids = [facts["id"] for facts in snapshot.facts_of([int(row) for row in found.rows], ["id"])]
            first = {each: at for at, each in reversed(list(enumerate(ids)))}
            if len(first) >= k or len(ids) < count:
                chosen = np.array(sorted(first.values())[:k], np.int64)
                return Found(found.sounds[chosen], found.scores[chosen], found.rows[chosen])
            count *= 2

    def _nearest(
        self, snapshot: Snapshot, query: Embedding, k: int, allowed: Mask, bonus: NDArray[np.float32] | None
    ) -> Found:
        return nearest_sounds(
            snapshot,
            query,
            k,
            allowed=allowed,
            bonus=bonus,
            threads=self._threads(),
            memory_mb=self.options.memory_mb,
        )

    def _probably_nearest(
        self,
        index: ApproximateIndex,
        snapshot: Snapshot,
        query: Embedding,
        k: int,
        allowed: Mask,
        bonus: NDArray[np.float32] | None,
    ) -> Found | None:
        """The best of what the index finds, of what was added since, and of names that fit; None if that is too little."""
        if k > _MANY:
            return None
        from claprt.library.search.approximate import candidates

        rows, covered = index.rows(snapshot, query, candidates(k))
        rows = rows[allowed[rows]]
        if bonus is not None:
            named = np.flatnonzero(bonus[snapshot.sounds] > 0)
            rows = np.union1d(rows, named[allowed[named]])
        if covered < len(snapshot):
            late = nearest_sounds(
                snapshot, query, k, allowed=allowed, bonus=bonus, first_row=covered, threads=self._threads()
            )
            rows = np.union1d(rows, late.rows)
        found = rank(snapshot, query, rows, k, bonus)
        return found if len(found.sounds) == k else None

    def _index(self, snapshot: Snapshot) -> ApproximateIndex | None:
        """The approximate index, if one was built and the library is large."""
        from claprt.library.search.approximate import ApproximateIndex, is_of_use, read_info

        info = read_info(self._files.folder)
        if info is None or not is_of_use(info, snapshot):
            return None
        with self._lock:
            if self._approximate is None or self._approximate.info != info:
                try:
                    self._approximate = ApproximateIndex(self._files.folder, info)
                except RuntimeError:  # damaged, or just replaced: exact search serves
                    self._approximate = None
            return self._approximate

    def index_info(self) -> IndexInfo | None:
        """What `build_index` has built."""
        from claprt.library.search.approximate import read_info

        return read_info(self._files.folder)

    def build_index(
        self, options: BuildOptions, texts: Embeddings | None, progress: Callable[[str, float], None]
    ) -> IndexInfo:
        """Build an approximate index; see `approximate.build`.

        Args:
            options: How it is built.
            texts: Vectors [n, dim] of texts to measure recall with; None for none.
            progress: Called with what is done and the share of it.

        Raises:
            OptionError: If the library is empty, an option has no such value, or it would take more memory than it may.
            LibraryWriteError: If it cannot be written.
            LibraryError: If the library cannot be read.
        """
        from claprt.library.search.approximate import build

        snapshot = self.snapshot()
        try:
            with self._files.lock(_BUILD_LOCK):  # it takes minutes, in which searches go on and find what is new
                return build(snapshot, options, texts, progress)
        except OSError as error:
            raise LibraryWriteError(
                f"The index cannot be written to {self._files.folder}: {error.strerror or error}."
            ) from error

    def _threads(self) -> int:
        return self.options.threads or default_threads()


def derived_folder(library: Path) -> Path:
    """Where what searches derive lies: in the library, or in the cache folder if it cannot be written and has none."""
    inside, cache = library / FOLDER, default_cache_folder()
    if os.access(library, os.W_OK) or (inside / STATE).exists() or cache is None:
        return inside
    return cache / "libraries" / hashlib.sha256(os.fsencode(library.resolve())).hexdigest()[:16]
