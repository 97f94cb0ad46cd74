"""A library of `claprt.open_library` as the service uses it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from claprt.arrays import Embeddings
from claprt.library.library import Library
from claprt.library.paths import local_path
from claprt.library.roots import read_roots
from claprt.library.search.derived_part import VANISHED
from claprt.library.search.query import Query as LibraryQuery
from claprt.library.search.request import Request
from claprt.library.search.searcher import Searcher
from claprt.library.search.snapshot import Snapshot
from claprt.library.search.sound_vectors import rows_of_id
from claprt.model.clap import Clap
from claprt.serve.library.interface import FoundSound, Query, SoundFacts

_KEPT = 20_000
"""Sounds whose facts are kept, since what was found is asked for next."""
FILTER_S = 5.0
"""Seconds that a client's filter may take, in which no other client's search runs."""


class ServedLibrary:
    """One library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        options = replace(library.searcher.options, filter_s=FILTER_S, plain_filters=True)
        self._searcher = Searcher(library.store, options)
        self._kept: OrderedDict[str, SoundFacts] = OrderedDict()
        self._state: object = None
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """Fingerprint of its vectors."""
        return self._library.fingerprint

    def roots(self) -> Sequence[str]:
        """Folders that were indexed, and files that were indexed by themselves."""
        return [path for root in read_roots(self._library.folder) if (path := local_path(root)) is not None]

    def prepare(self) -> None:
        """Bring what searches need up to date and load it, so that the first search is fast.

        Raises:
            LibraryError: If the library cannot be read.
        """
        direction = np.ones((1, self._library.manifest.dim), np.float32)
        self._searcher.search(Request(query=LibraryQuery(vector=direction), k=1), lambda: self._library.model)

    def counts(self) -> tuple[int, int]:
        """Number of sounds and of rows, without those of vanished sounds."""
        snapshot = self._snapshot()
        there = snapshot.hidden & VANISHED == 0
        return int(there[snapshot.starts].sum()), int(there.sum())

    def find(self, sound_id: str) -> SoundFacts | None:
        """The sound of an id, or None."""
        self._snapshot()
        with self._lock:
            if (kept := self._kept.get(sound_id)) is not None:
                return kept
        return self._searcher.read(lambda snapshot: self._found(snapshot, sound_id))

    def _found(self, snapshot: Snapshot, sound_id: str) -> SoundFacts | None:
        rows = rows_of_id(snapshot, sound_id)
        return self._keep(_facts(*snapshot.facts_of(rows[:1])), snapshot) if rows else None

    def search(self, query: Query) -> list[FoundSound]:
        """The sounds that fit best, best first.

        Raises:
            OptionError: If there is no sound of an id, or the filter is not valid.
            LibraryError: If the library cannot be read.
        """
        request = Request(
            query=LibraryQuery(
                text=query.texts or None,
                vector=query.sounds if len(query.sounds) else None,
                like=query.like or None,
                minus=query.minus or None,
                unlike=query.unlike or None,
            ),
            k=query.k,
            where=query.where,
            windows=query.windows,
            names=query.names if query.texts else 0.0,
        )
        known = _KnownTexts(dict(zip([*query.texts, *query.minus], query.text_vectors, strict=True)))
        snapshot = self._snapshot()
        hits = self._searcher.search(request, lambda: cast("Clap", known))
        found: list[FoundSound] = []
        for hit in hits:
            own = {"id": hit.id, "path": hit.path, "duration_s": hit.duration_s}
            facts = self._keep(_facts({**hit.facts, **own}), snapshot)
            found.append(FoundSound(facts=facts, score=hit.score, start_s=hit.start_s, windows=hit.windows))
        return found

    def _snapshot(self) -> Snapshot:
        """The library as it is now; forgets facts that may be of before."""
        snapshot = self._searcher.snapshot()
        with self._lock:
            if snapshot.state is not self._state:
                self._state = snapshot.state
                self._kept.clear()
        return snapshot

    def _keep(self, facts: SoundFacts, snapshot: Snapshot) -> SoundFacts:
        """Keep facts that are of a snapshot or a later one, unless the library has changed since."""
        with self._lock:
            if snapshot.state is self._state:
                self._kept[facts.id] = facts
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return facts


class _KnownTexts:
    """Gives the vectors that the service's scheduler has computed, in place of a model."""

    def __init__(self, vectors: Mapping[str, Any]) -> None:
        self._vectors = vectors

    def embed_text(self, texts: Iterable[str]) -> Embeddings:
        return np.stack([self._vectors[text] for text in texts])


def _facts(row: Mapping[str, Any]) -> SoundFacts:
    names = ("id", "path", "size", "mtime", "sha256", "duration_s", "sample_rate", "channels", "missing")
    return SoundFacts(file=local_path(row["path"]), **{name: row[name] for name in names})
