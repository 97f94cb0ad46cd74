"""One vector for each sound of a library: of many in blocks, of some by their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.errors import OptionError
from claprt.library.schema import WHOLE_SOUND, arrow
from claprt.library.search.snapshot import Snapshot
from claprt.model.results import mean_pool

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


class SoundsById:
    """Sounds of the library by their ids, and which were looked up."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.looked_up: list[int] = []

    def vectors(self, ids: Sequence[str]) -> Embeddings:
        """The vector [dim] of each sound: its own, or the mean of its windows scaled to length 1.

        Raises:
            OptionError: If there is no sound of an id.
        """
        return np.stack([self._vector(each) for each in ids])

    def _vector(self, id: str) -> Embedding:  # noqa: A002 - the column's name
        snapshot = self._snapshot
        rows = rows_of_id(snapshot, id)
        if not rows:
            raise OptionError(
                f"No sound of the library has the id {id!r}. Hits state their ids, and so does its column `id`."
            )
        self.looked_up += sorted({int(snapshot.sounds[row]) for row in rows})
        kinds = [facts["window"] for facts in snapshot.facts_of(rows, ["window"])]
        own = [row for row, window in zip(rows, kinds, strict=True) if window == WHOLE_SOUND]
        return mean_pool(snapshot.read_vectors(np.array(own or rows, np.int64)))


def rows_of_id(snapshot: Snapshot, id: str) -> list[int]:  # noqa: A002 - the column's name
    """Rows of the sound with this id; none if there is no such sound."""
    compute = arrow("compute").compute
    found: list[int] = []
    row = 0
    for part, info in enumerate(snapshot.state.parts):
        facts = snapshot.facts(part)
        indices = compute.indices_nonzero(compute.equal(facts["id"], id)).to_numpy()
        found += [row + int(index) for index in indices]
        row += info.rows
    return found
