"""Sounds that a library has more than once: of the same content, or of nearly the same vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.errors import OptionError
from claprt.library.search.snapshot import Snapshot
from claprt.library.search.sound_vectors import sound_vectors, sounds_there

THRESHOLD = 0.99
"""Cosine from which two sounds count as nearly the same: other encodings and levels of one recording are above it, other
recordings of the same thing below (docs/library-search.md)."""
MAX_PAIRS_OF = 300_000
"""Sounds of which all pairs are compared."""
_ROWS, _COLUMNS = 1_024, 8_192
_FACTS = ["id", "path", "sha256", "size", "duration_s", "sample_rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateSound:
    """A sound of a group."""

    path: str
    id: str
    cosine: float
    """With the first sound of its group."""
    same_content: bool
    """Whether its bytes are those of the first sound."""
    size: int
    """[bytes]"""
    duration_s: float | None
    sample_rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateGroup:
    """Sounds that are the same, or nearly."""

    sounds: tuple[DuplicateSound, ...]
    """The one of the highest sample rate, then the longest, then the largest file, comes first: the one to keep."""
    exact: bool
    """Whether all have the same content."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = DuplicateSound.__slots__
        return {"exact": self.exact, "sounds": [{name: getattr(one, name) for name in names} for one in self.sounds]}


def find_duplicates(
    snapshot: Snapshot,
    *,
    threshold: float | None = THRESHOLD,
    progress: Callable[[float], None] = lambda _: None,
) -> list[DuplicateGroup]:
    """The groups of sounds that are the same, or nearly; largest groups first.

    Two sounds are in one group if their contents are equal, if the cosine of their vectors (of the whole sounds) is
    `threshold` or more, or if a chain of such pairs leads from one to the other.

    Args:
        snapshot: The library.
        threshold: Cosine between 0 and 1; None for equal content alone.
        progress: Called with the share of the pairs that are done.

    Raises:
        OptionError: If `threshold` is not such a number, or the library is too large to compare all pairs.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise OptionError(f"threshold={threshold} is not possible; give a cosine above 0 and up to 1, such as {THRESHOLD}.")
    sounds = sounds_there(snapshot)
    facts = snapshot.facts_of(snapshot.starts[sounds].tolist(), _FACTS)
    groups = _Groups(len(sounds))
    first: dict[str, int] = {}
    for at, fact in enumerate(facts):
        groups.join(first.setdefault(fact["sha256"], at), at)
    first_of_id: dict[str, int] = {}
    for at, fact in enumerate(facts):
        groups.join(first_of_id.setdefault(fact["id"], at), at)
    different = np.array(sorted(first.values()), np.int64)
    if threshold is not None:
        if len(different) > MAX_PAIRS_OF:
            raise OptionError(
                f"The library has {len(different):,} different sounds, and near duplicates are looked for among all pairs "
                f"of up to {MAX_PAIRS_OF:,}. Look for exact ones alone (threshold=None, or --exact)."
            )
        vectors = sound_vectors(snapshot, sounds[different])
        for one, other in _near_pairs(vectors, threshold, progress):
            groups.join(int(different[one]), int(different[other]))
    found = [members for members in groups.all() if len({facts[at]["id"] for at in members}) > 1]
    described = [_described(snapshot, sounds, facts, members) for members in found]
    return sorted(described, key=lambda group: (-len(group.sounds), group.sounds[0].path))


def _near_pairs(vectors: Embeddings, threshold: float, progress: Callable[[float], None]) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose cosine reaches the threshold."""
    least = np.float32(threshold - 1e-6)
    for start in range(0, len(vectors), _ROWS):
        progress(start / len(vectors))
        rows = vectors[start : start + _ROWS]
        for left in range(start, len(vectors), _COLUMNS):
            one, other = np.nonzero(rows @ vectors[left : left + _COLUMNS].T >= least)
            later = other + left > one + start
            yield from zip((one[later] + start).tolist(), (other[later] + left).tolist(), strict=True)


class _Groups:
    """Disjoint sets of numbers."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def _root(self, at: int) -> int:
        parents = self._parents
        while parents[at] != at:
            parents[at] = parents[parents[at]]
            at = parents[at]
        return at

    def join(self, one: int, other: int) -> None:
        self._parents[self._root(other)] = self._root(one)

    def all(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for at in range(len(self._parents)):
            found.setdefault(self._root(at), []).append(at)
        return list(found.values())


def _described(
    snapshot: Snapshot, sounds: NDArray[np.int64], facts: list[dict[str, Any]], members: list[int]
) -> DuplicateGroup:
    def worth(at: int) -> tuple[float, float, float, str]:
        fact = facts[at]
        return -fact["sample_rate"], -(fact["duration_s"] or 0), -fact["size"], fact["path"]

    by_id = {facts[at]["id"]: at for at in sorted(members, key=worth, reverse=True)}
    ordered = sorted(by_id.values(), key=worth)
    places = np.array(sorted(ordered), np.int64)
    vectors = dict(zip(places.tolist(), sound_vectors(snapshot, sounds[places]), strict=True))
    first, content = vectors[ordered[0]], facts[ordered[0]]["sha256"]
    group = tuple(
        DuplicateSound(
            path=facts[at]["path"],
            id=facts[at]["id"],
            cosine=round(min(1.0, float(first @ vectors[at])), 6),
            same_content=facts[at]["sha256"] == content,
            size=facts[at]["size"],
            duration_s=facts[at]["duration_s"],
            sample_rate=facts[at]["sample_rate"],
        )
        for at in ordered
    )
    return DuplicateGroup(sounds=group, exact=all(sound.same_content for sound in group))
