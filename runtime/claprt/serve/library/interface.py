"""What the service needs of a library: facts of sounds, their vectors, and a search with vectors.

Tests have a small one in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from claprt.arrays import Embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundFacts:
    """One sound of a library, as it was indexed."""

    id: str
    path: str
    """A file, or an address; as the library has it."""
    size: int
    """Bytes of the file."""
    mtime: float
    """When the file was last changed, in seconds since 1970."""
    sha256: str
    """Of the file's bytes, in hexadecimal digits; empty where it is not known."""
    duration_s: float
    sample_rate: int
    """Hz."""
    channels: int
    missing: bool = False
    """Whether an indexer has found that the file is no longer there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to search for."""

    vectors: Embeddings
    """[n, dim] float32 of length 1: sounds that are like all of them."""
    minus: Embeddings
    """[n, dim] float32 of length 1, n may be 0: and unlike these."""
    words: Sequence[str] = ()
    """Texts of the query, for file names that hold them."""
    k: int = 20
    where: str | None = None
    """A filter, in the library's syntax."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSound:
    """One result of a search."""

    facts: SoundFacts
    score: float
    start_s: float
    """Start of the best window."""
    windows: Sequence[tuple[float, float]]
    """Start in seconds and score of the best windows, best first."""


class SearchableLibrary(Protocol):
    """A library as the service uses it; its methods are called from one thread at a time."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of its vectors."""
        ...

    @property
    def roots(self) -> Sequence[str]:
        """Folders whose sounds may be served, and files beside them."""
        ...

    def refresh(self) -> None:
        """Take in what was added or changed since; cheap where nothing was."""
        ...

    def counts(self) -> tuple[int, int]:
        """Number of sounds and of rows."""
        ...

    def find(self, sound_id: str) -> SoundFacts | None:
        """The sound of an id, or None."""
        ...

    def vectors(self, ids: Sequence[str]) -> Embeddings:
        """Vectors of whole sounds, [ids, dim] float32 of length 1.

        Raises:
            UnknownSoundError: If there is none of an id.
        """
        ...

    def search(self, query: Query) -> list[FoundSound]:
        """The sounds that fit best, best first.

        Raises:
            OptionError: If the filter is not valid.
        """
        ...
