"""Groups of sounds that are alike (k-means, by scikit-learn), each with the sound in its middle and the nearest words."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.errors import MissingDependencyError, OptionError
from claprt.library.search.snapshot import Snapshot
from claprt.library.search.sound_vectors import iter_sound_vectors, sound_vectors, sounds_there
from claprt.system.extras import install_hint
from claprt.validation import validate_seed, whole_number

ALL_AT_ONCE = 50_000
"""Sounds up to which k-means sees all at once; of larger libraries it sees parts (`MiniBatchKMeans`)."""
_MOST = 100
_PASSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Sounds that are alike."""

    number: int
    """From 0, the largest cluster first."""
    size: int
    medoid: str
    """Path of the sound nearest to the middle."""
    label: str | None
    """The nearest of the words that were given; None without words."""
    paths: tuple[str, ...]
    """All sounds, those nearest to the middle first."""
    cosine: float
    """Mean cosine of the sounds with the middle: how tight the cluster is."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def find_clusters(
    snapshot: Snapshot,
    count: int | None = None,
    *,
    sounds: NDArray[np.int64] | None = None,
    words: Sequence[str] = (),
    word_vectors: Embeddings | None = None,
    seed: int = 0,
) -> list[Cluster]:
    """Divide the sounds of a library into clusters.

    Args:
        snapshot: The library.
        count: How many; by default the root of half the number of sounds, at most 100.
        sounds: Numbers [n] of those that are divided, ascending; by default all that have not vanished.
        words: To label clusters with, such as tags.
        word_vectors: Their vectors [words, dim] float32.
        seed: Of k-means.

    Returns:
        The clusters, largest first; none of them is empty.

    Raises:
        OptionError: If `count` is below 1 or above the number of sounds, or the seed is not from 0 to 2^32 - 1.
        MissingDependencyError: If scikit-learn is not installed.
    """
    seed = validate_seed(seed)
    sounds = sounds_there(snapshot) if sounds is None else sounds
    if count is not None and not 1 <= whole_number("count", count) <= len(sounds):
        raise OptionError(f"count={count} is not possible with {len(sounds)} sounds; give 1 to that.")
    if not len(sounds):
        return []
    count = count or max(1, min(_MOST, round((len(sounds) / 2) ** 0.5)))
    centres = _centres(snapshot, sounds, count, seed)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    numbers, cosines = _assigned(snapshot, sounds, centres)
    labels: list[str | None] = [None] * count
    if word_vectors is not None and len(words):
        labels = [str(words[at]) for at in (centres @ word_vectors.T).argmax(axis=1).tolist()]
    paths = [facts["path"] for facts in snapshot.facts_of(snapshot.starts[sounds].tolist(), ["path"])]
    found: list[tuple[int, NDArray[np.int64]]] = []
    for number in range(count):
        members = np.flatnonzero(numbers == number)
        if len(members):
            found.append((number, members[np.argsort(-cosines[members], kind="stable")]))
    found.sort(key=lambda each: (-len(each[1]), each[0]))
    return [
        Cluster(
            number=at,
            size=len(members),
            medoid=paths[members[0]],
            label=labels[number],
            paths=tuple(paths[member] for member in members),
            cosine=round(float(cosines[members].mean()), 4),
        )
        for at, (number, members) in enumerate(found)
    ]


def _centres(snapshot: Snapshot, sounds: NDArray[np.int64], count: int, seed: int) -> NDArray[np.float32]:
    cluster = learning("cluster")
    if len(sounds) <= ALL_AT_ONCE:
        means = cluster.KMeans(count, n_init=3, random_state=seed).fit(sound_vectors(snapshot, sounds))
        return means.cluster_centers_.astype(np.float32)
    means = cluster.MiniBatchKMeans(count, n_init=3, random_state=seed, batch_size=16_384)
    generator = np.random.default_rng(seed)
    for _ in range(_PASSES):
        order = generator.permutation(len(sounds))
        for start in range(0, len(sounds), ALL_AT_ONCE):
            some = np.sort(sounds[order[start : start + ALL_AT_ONCE]])
            means.partial_fit(sound_vectors(snapshot, some)) if len(some) >= count else None
    return means.cluster_centers_.astype(np.float32)


def _assigned(
    snapshot: Snapshot, sounds: NDArray[np.int64], centres: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest centre of each sound [n], and the cosine with it [n]."""
    numbers: list[NDArray[np.int64]] = []
    cosines: list[NDArray[np.float32]] = []
    for block in iter_sound_vectors(snapshot, sounds):
        products = block @ centres.T
        numbers.append(products.argmax(axis=1))
        cosines.append(products.max(axis=1))
    return np.concatenate(numbers), np.concatenate(cosines)


def learning(module: str) -> Any:
    """A module of scikit-learn.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise MissingDependencyError(f"Clusters and maps are made by scikit-learn: {install_hint('library')}") from error
