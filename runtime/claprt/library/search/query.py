"""The vector of a query: texts, sounds and vectors together, less what is not wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.audio.sound import AudioSource
from claprt.errors import ArrayError, OptionError
from claprt.model.clap import Clap

MINUS_WEIGHT = 0.5
"""How much of the unwanted direction is subtracted: enough to reorder hits, too little to become the query itself."""
_SHORTEST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for."""

    text: str | Iterable[str] | None = None
    audio: AudioSource | Iterable[AudioSource] | None = None
    vector: NDArray[np.floating] | Sequence[float] | Sequence[NDArray[np.floating]] | None = None
    like: str | Iterable[str] | None = None
    minus: str | Iterable[str] | None = None
    unlike: str | Iterable[str] | None = None
    sample_rate: int | None = None


def query_vector(
    query: Query, dim: int, model: Callable[[], Clap], of_ids: Callable[[Sequence[str]], Embeddings]
) -> Embedding:
    """The unit vector of a query.

    The vectors of all that is wanted, each of length 1, are added up and scaled to length 1: p. The same of what is not
    wanted gives m. The query is p, or p − 0.5 m scaled to length 1.

    Args:
        query: What is looked for.
        dim: Length of the library's vectors.
        model: Gives the library's model, where words or sounds are to be embedded.
        of_ids: Vectors [n, dim] of sounds of the library.

    Returns:
        [dim] float32.

    Raises:
        OptionError: If nothing is looked for, or what is wanted and what is not cancel each other out.
        ArrayError: If `vector` has another shape, or holds NaN or infinity.
        TextError: If a text is empty or not a string.
        AudioError: If a sound cannot be embedded.
    """
    wanted: list[NDArray[np.floating]] = []
    if texts := _listed(query.text):
        wanted.append(model().embed_text(texts))
    if query.audio is not None:
        wanted.append(np.atleast_2d(model().embed_audio(query.audio, query.sample_rate)))
    if query.vector is not None:
        wanted.append(_checked(query.vector, dim))
    if ids := _listed(query.like):
        wanted.append(of_ids(ids))
    if not sum(map(len, wanted)):
        raise OptionError("There is nothing to look for: give text, audio, vector or like, and at least one of it.")
    unwanted: list[NDArray[np.floating]] = []
    if texts := _listed(query.minus):
        unwanted.append(model().embed_text(texts))
    if ids := _listed(query.unlike):
        unwanted.append(of_ids(ids))
    total = _direction(wanted, "What is looked for")
    if unwanted:
        total = _direction([(total - MINUS_WEIGHT * _direction(unwanted, "What is not wanted"))[None]], "The query")
    return total.astype(np.float32)


def _direction(vectors: Sequence[NDArray[np.floating]], name: str) -> NDArray[np.float64]:
    """The sum of vectors [n, dim], each scaled to length 1 before, and the sum after.

    Raises:
        OptionError: If the sum has no direction.
    """
    rows = np.concatenate([np.asarray(each, np.float64) for each in vectors])
    total = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).sum(axis=0)
    length = np.linalg.norm(total)
    if not length > _SHORTEST:
        raise OptionError(f"{name} cancels itself out: its {len(rows)} vectors add up to nothing.")
    return total / length


def _checked(
    vector: NDArray[np.floating] | Sequence[float] | Sequence[NDArray[np.floating]], dim: int
) -> NDArray[np.float64]:
    """A vector or several as [n, dim].

    Raises:
        ArrayError: If it has another shape, holds NaN or infinity, or has no direction.
    """
    try:
        given = np.asarray(vector)
        rows = np.atleast_2d(given.astype(np.float64, casting="same_kind" if given.dtype.kind == "c" else "unsafe"))
    except (TypeError, ValueError) as error:
        raise ArrayError(f"vector={vector!r:.60} is not an array of numbers [{dim}] or [n, {dim}].") from error
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise ArrayError(
            f"vector has the shape {list(np.shape(vector))}, and the library's vectors are [{dim}]; or give [n, {dim}]."
        )
    if not np.isfinite(rows).all():
        raise ArrayError("vector holds NaN or infinity, as the vector of a sound that was skipped does; leave that out.")
    if not (np.linalg.norm(rows, axis=1) > _SHORTEST).all():
        raise ArrayError("vector is all zeros, which is no direction to look in.")
    return rows


def _listed(given: str | Iterable[str] | None) -> list[str]:
    """Words or ids as a list; what is no list either is in it as it is, for who takes it to refuse."""
    return [] if given is None else list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
