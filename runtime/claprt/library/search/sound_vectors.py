"""One vector for each sound of a library, in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.library.schema import WHOLE_SOUND
from claprt.library.search.snapshot import Snapshot

_BLOCK = 16_384


def sounds_there(snapshot: Snapshot) -> NDArray[np.int64]:
    """Numbers [n] of the sounds that have not vanished."""
    return np.flatnonzero(snapshot.hidden[snapshot.starts] == 0)


def iter_sound_vectors(snapshot: Snapshot, sounds: NDArray[np.int64]) -> Iterator[Embeddings]:
    """The vectors of sounds: that of the whole sound where the library has it, else the mean of the windows.

    Args:
        snapshot: The library.
        sounds: Numbers [n], ascending.

    Yields:
        Blocks [some, dim] float32 of vectors of length 1, in the order of `sounds`.
    """
    for start in range(0, len(sounds), _BLOCK):
        chosen = sounds[start : start + _BLOCK]
        ends = np.append(snapshot.starts[1:], len(snapshot))
        first, counts = snapshot.starts[chosen], (ends - snapshot.starts)[chosen]
        begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
        rows = np.repeat(first - begins, counts) + np.arange(counts.sum())
        vectors = snapshot.read_vectors(rows)
        if len(rows) > len(chosen):
            windows = np.array([facts["window"] for facts in snapshot.facts_of(rows.tolist(), ["window"])])
            whole = windows == WHOLE_SOUND
            has_whole = np.repeat(np.maximum.reduceat(whole, begins), counts)
            vectors[has_whole & ~whole] = 0
            vectors = np.add.reduceat(vectors, begins, axis=0)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        yield (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def sound_vectors(snapshot: Snapshot, sounds: NDArray[np.int64]) -> Embeddings:
    """`iter_sound_vectors` as one array [n, dim] float32."""
    blocks = list(iter_sound_vectors(snapshot, sounds))
    return np.concatenate(blocks) if blocks else np.empty((0, snapshot.state.dim), np.float32)
