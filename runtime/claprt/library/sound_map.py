"""A picture of a library: its sounds as points on a page, alike ones near each other, to hover over and listen to.

scikit-learn's t-SNE places the points; it keeps neighbours together, and distances between far groups mean little. `pca`,
two directions in which the sounds differ most, is faster and keeps distances, but mixes groups that differ otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.errors import OptionError
from claprt.library.clusters import find_clusters, learning
from claprt.library.paths import local_path
from claprt.library.search.snapshot import Snapshot
from claprt.library.search.sound_vectors import sound_vectors, sounds_there
from claprt.system.atomic import atomic_file
from claprt.validation import validate_seed

METHODS = ("tsne", "pca")
MOST = 5_000
"""Sounds on a map; of more, so many are drawn by lot. t-SNE of 5000 takes about half a minute on two cores."""
_FEATURES = 50
"""Directions that t-SNE is given, as is usual: the others are mostly noise."""
_NEIGHBOURS = 30.0
_FEW = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SoundMap:
    """Sounds and their places."""

    points: NDArray[np.float32]
    """[sounds, 2], each between 0 and 1."""
    paths: tuple[str, ...]
    durations_s: tuple[float | None, ...]
    clusters: tuple[int, ...]
    """Number of each sound's cluster, by which it is coloured."""
    labels: tuple[str, ...]
    """Of the clusters: the nearest of the given words, else the name of the sound in the middle."""
    total: int
    """Sounds in the library, of which these are all or some by lot."""


def make_map(
    snapshot: Snapshot,
    *,
    method: str = "tsne",
    most: int = MOST,
    clusters: int | None = None,
    words: Sequence[str] = (),
    word_vectors: Embeddings | None = None,
    seed: int = 0,
) -> SoundMap:
    """Place the sounds of a library on a plane.

    Args:
        snapshot: The library.
        method: `tsne` or `pca`.
        most: Sounds at most.
        clusters: Of the colours; by default as `find_clusters` chooses.
        words: To label clusters with.
        word_vectors: Their vectors [words, dim] float32.
        seed: Of t-SNE, of k-means and of the lot.

    Raises:
        OptionError: If the method is unknown, `most` is below 1, the seed is not possible, or the library is empty.
        MissingDependencyError: If scikit-learn is not installed.
    """
    if method not in METHODS:
        raise OptionError(f"method={method!r} is not known; choose {' or '.join(METHODS)}.")
    if most < 1:
        raise OptionError(f"most={most} is not possible; give 1 or more.")
    seed = validate_seed(seed)
    sounds = sounds_there(snapshot)
    if not len(sounds):
        raise OptionError(f"The library at {snapshot.files.store.folder} is empty: there is nothing to draw.")
    total = len(sounds)
    if total > most:
        sounds = np.sort(np.random.default_rng(seed).choice(sounds, most, replace=False))
    facts = snapshot.facts_of(snapshot.starts[sounds].tolist(), ["path", "duration_s"])
    found = find_clusters(snapshot, clusters, sounds=sounds, words=words, word_vectors=word_vectors, seed=seed)
    numbers = {path: cluster.number for cluster in found for path in cluster.paths}
    return SoundMap(
        points=_places(sound_vectors(snapshot, sounds), method, seed),
        paths=tuple(fact["path"] for fact in facts),
        durations_s=tuple(fact["duration_s"] for fact in facts),
        clusters=tuple(numbers[fact["path"]] for fact in facts),
        labels=tuple(cluster.label or _name(cluster.medoid) for cluster in found),
        total=total,
    )


def _places(vectors: Embeddings, method: str, seed: int) -> NDArray[np.float32]:
    """Points [n, 2] between 0 and 1."""
    count = len(vectors)
    centred = vectors - vectors.mean(axis=0)
    reduced = centred
    if count > 1:
        parts = min(_FEATURES, count - 1, vectors.shape[1])
        reduced = learning("decomposition").PCA(parts, random_state=seed).fit_transform(centred)
    points = np.zeros((count, 2), np.float32)
    points[:, : reduced.shape[1]] = reduced[:, :2]
    if method == "tsne" and count >= _FEW:
        tsne = learning("manifold").TSNE(2, perplexity=min(_NEIGHBOURS, (count - 1) / 3), init="pca", random_state=seed)
        points = tsne.fit_transform(reduced).astype(np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - low) / np.where(high > low, high - low, 1)


def write_map(sounds: SoundMap, path: Path, title: str) -> None:
    """Write a page that needs nothing else, but for the sounds that it plays.

    Sounds are linked relative to the page, so both can be moved together; those that are no local files are shown without.

    Args:
        sounds: What `make_map` gives.
        path: The page, `.html`.
        title: Of the page.

    Raises:
        OptionError: If it cannot be written.
    """
    data: dict[str, Any] = {
        "title": title,
        "total": sounds.total,
        "labels": sounds.labels,
        "sounds": [
            [round(float(x), 4), round(float(y), 4), cluster, name, _link(name, path), seconds]
            for (x, y), cluster, name, seconds in zip(
                sounds.points, sounds.clusters, sounds.paths, sounds.durations_s, strict=True
            )
        ],
    }
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = files("claprt.library").joinpath("sound_map.html").read_text(encoding="utf-8").replace('"DATA"', text, 1)
    try:
        with atomic_file(path) as new:
            new.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OptionError(f"The map cannot be written to {path}: {error.strerror or error}.") from error


def _link(name: str, page: Path) -> str | None:
    """A relative URL of a local file; None for what is none."""
    file = local_path(name)
    if file is None:
        return None
    try:
        relative = os.path.relpath(file, page.absolute().parent)
    except ValueError:  # another drive, on Windows
        return Path(file).as_uri()
    return "/".join(quote(os.fsencode(part)) for part in Path(relative).parts)


def _name(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]
