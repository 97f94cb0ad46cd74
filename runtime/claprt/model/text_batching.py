"""Many texts in batches of similar length, in steps between which a service can do other work."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

import numpy as np

from claprt.arrays import Embeddings
from claprt.engines.engine import Engine
from claprt.model.embedding_cache import EmbeddingCache
from claprt.text.tokenizer import Pace, batches_by_length, pad, validate_texts

TextSteps: TypeAlias = Generator[None, None, Embeddings]
"""Yields between batches, and ends with the vectors [texts, dim]."""

_BATCH = 32
_TOKENISED = 64
"""Texts that are tokenised in one step."""


def text_steps(
    texts: Sequence[str],
    encode: Callable[[Sequence[str]], list[list[int]]],
    engine: Engine,
    *,
    pad_token_id: int,
    dim: int,
    pace: Pace | None = None,
) -> TextSteps:
    """Embed texts.

    Args:
        texts: To be embedded.
        encode: Gives the token ids of some texts.
        engine: Runs the text tower.
        pad_token_id: Fills a batch up.
        dim: Length of a vector.
        pace: Sets the size of batches; None for the largest.

    Raises:
        TextError: If a text is empty, is not a string, or cannot be encoded.
    """
    ids: list[list[int]] = []
    for start in range(0, len(texts), _TOKENISED):
        ids += encode(texts[start : start + _TOKENISED])
        yield
    rows = np.empty((len(ids), dim), np.float32)
    for positions in batches_by_length(ids, pace.size if pace else _BATCH):
        token_ids, mask = pad([ids[position] for position in positions], pad_token_id)
        began = time.perf_counter()
        rows[positions] = engine.text(token_ids, mask)
        if pace:
            pace.took(mask.size, time.perf_counter() - began)
        yield
    return rows


def cached_steps(
    texts: Sequence[str], cache: EmbeddingCache, embed: Callable[[Sequence[str]], TextSteps], dim: int
) -> TextSteps:
    """Embed the texts whose vectors are not kept yet, and keep them.

    Args:
        texts: To be embedded.
        cache: Keeps the vectors.
        embed: Embeds those that are missing.
        dim: Length of a vector.

    Raises:
        TextError: If a text is empty, is not a string, or cannot be encoded.
    """
    keys = [cache.text_key(text) for text in validate_texts(texts)]
    rows = [cache.find_text(key) for key in keys]
    missing = [position for position, row in enumerate(rows) if row is None]
    yield
    vectors = yield from embed([texts[position] for position in missing])
    for position, vector in zip(missing, vectors, strict=True):
        cache.store_text(keys[position], vector)
        rows[position] = vector
    return np.array(rows, np.float32).reshape(len(rows), dim)


def finished(steps: TextSteps) -> Embeddings:
    """Take all steps at once: the vectors [texts, dim] that they end with."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
