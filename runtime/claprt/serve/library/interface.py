"""What the service needs of a library: facts of sounds, and a search with vectors of its own model.

`adapter` fulfils it with `claprt.open_library`; tests have a small one in memory.
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
    """As the library has it: a file, an address, or a place in an archive."""
    file: str | None
    """The path of the file, as Python has it; None for a sound that is not a file of this machine."""
    size: int
    """Bytes of the file."""
    mtime: float
    """When the file was last changed, in seconds since 1970."""
    sha256: str
    """Of the file's bytes, in hexadecimal digits."""
    duration_s: float | None
    sample_rate: int
    """Hz."""
    channels: int
    missing: bool = False
    """Whether an indexer has found that the file is no longer there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to search for."""

    texts: Sequence[str]
    minus: Sequence[str]
    """Texts that sounds should not be like."""
    text_vectors: Embeddings
    """[texts + minus, dim] float32: those of both."""
    sounds: Embeddings
    """[n, dim] float32: sounds that hits should be like."""
    like: Sequence[str]
    """Ids of such sounds in the library."""
    unlike: Sequence[str]
    """Ids of sounds in the library that hits should not be like."""
    k: int
    where: str | None
    """A filter, in the library's syntax."""
    windows: bool
    """Whether the windows of hits are needed."""
    names: float
    """How much the words of texts in paths add to the score at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSound:
    """One result of a search."""

    facts: SoundFacts
    score: float
    start_s: float
    """Start of the best window."""
    windows: Sequence[tuple[float, float]]
    """Start in seconds and score of the windows, best first; none where they were not asked for."""


class SearchableLibrary(Protocol):
    """A library as the service uses it: `search` is called from one thread, what else from another one."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of its vectors."""
        ...

    def roots(self) -> Sequence[str]:
        """Folders that were indexed, and files that were indexed by themselves: what may be served."""
        ...

    def counts(self) -> tuple[int, int]:
        """Number of sounds and of rows."""
        ...

    def find(self, sound_id: str) -> SoundFacts | None:
        """The sound of an id, or None."""
        ...

    def search(self, query: Query) -> list[FoundSound]:
        """The sounds that fit best, best first, those included that were added since the last search.

        Raises:
            OptionError: If there is no sound of an id, or the filter is not valid.
        """
        ...
