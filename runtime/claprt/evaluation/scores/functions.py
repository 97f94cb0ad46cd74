"""`claprt.score`: the CLAP score of pairs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from claprt.audio.sound import AudioSource, source_name
from claprt.errors import OptionError
from claprt.evaluation.scores.embedding import sound_vectors
from claprt.evaluation.scores.intervals import CONFIDENCE, checked_confidence, checked_seed
from claprt.evaluation.scores.pair_scores import PairScores, PairSums
from claprt.evaluation.scores.pairs_file import Pair, read_pairs
from claprt.evaluation.scores.provenance import provenance_of
from claprt.evaluation.zero_shot import Report, no_progress
from claprt.model.clap import Clap
from claprt.tasks.functions import Model, resolve_model
from claprt.text.tokenizer import validate_texts

Pairs: TypeAlias = "str | os.PathLike[str] | Iterable[Pair | tuple[AudioSource, str]]"
"""A CSV or JSONL file, or sounds with their texts."""

_BATCH = 256
"""Pairs between two additions to the sums."""


def score(
    pairs: Pairs,
    *,
    model: Model = None,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    progress: Report = no_progress,
) -> PairScores:
    """Compute the CLAP score: the mean over pairs of the cosine of the sound's and the text's vector.

    Args:
        pairs: A CSV or JSONL file with the columns `path` and `text`, or sounds with their texts. A relative path in a file
            is looked for in the file's folder, then in the working folder.
        model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
        seed: Of the interval.
        confidence: Share of samples whose interval holds the true mean.
        progress: Shows progress over the sounds, as in `claprt.evaluation.zero_shot.evaluate`.

    Returns:
        The mean with its interval, what shuffled pairs score, every pair's cosine, and a line to cite it by. The same
        pairs give the same result in any order.

    Raises:
        DatasetError: If the file cannot be read, or names sounds that are not there.
        AudioError: If a sound cannot be embedded.
        TextError: If a text is empty or not a string.
        OptionError: If there are no pairs, or an option has no such value.

    Example:
        >>> claprt.score([("dog.wav", "a dog barking")]).mean  # doctest: +SKIP
        0.41
    """
    seed, confidence = checked_seed(seed), checked_confidence(confidence)
    listed = _listed(pairs)
    clap = resolve_model(model)
    return score_pairs(clap, listed, seed=seed, confidence=confidence, progress=progress)


def _listed(pairs: Pairs) -> list[tuple[AudioSource, str, str | None]]:
    """Sounds, texts and ids.

    Raises:
        OptionError: If this is no list of pairs.
    """
    if isinstance(pairs, str | os.PathLike):
        return [(pair.path, pair.text, pair.id) for pair in read_pairs(pairs)]
    listed: list[tuple[AudioSource, str, str | None]] = []
    for number, pair in enumerate(pairs):
        if isinstance(pair, Pair):
            listed.append((pair.path, pair.text, pair.id))
            continue
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise OptionError(f"Pair {number} is {pair!r:.60}; a sound and its text were expected, as a tuple of two.")
        listed.append((pair[0], pair[1], None))
    validate_texts([text for _, text, _ in listed])
    return listed


def score_pairs(
    clap: Clap,
    pairs: Sequence[tuple[AudioSource, str, str | None]],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    progress: Report = no_progress,
) -> PairScores:
    """Embed and score pairs, in an order that depends on the pairs alone; see `score`.

    Args:
        clap: The model.
        pairs: Sound, text and id of each.
        seed: Of the interval.
        confidence: Of the interval.
        progress: Shows progress over the sounds.

    Raises:
        AudioError: If a sound cannot be embedded.
        OptionError: If there are no pairs.
    """
    named = [
        source_name(source) if isinstance(source, str | os.PathLike) else f"sound {number}"
        for number, (source, _, _) in enumerate(pairs)
    ]
    order = sorted(range(len(pairs)), key=lambda position: (named[position], pairs[position][1], position))
    groups = [list(group) for _, group in itertools.groupby(order, key=lambda position: named[position])]
    sums = PairSums(clap.dim)
    sounds = progress(sound_vectors(clap, [pairs[group[0]][0] for group in groups]), len(groups))
    each = ((position, vector) for group, vector in zip(groups, sounds, strict=True) for position in group)
    while batch := list(itertools.islice(each, _BATCH)):
        texts = sorted({pairs[position][1] for position, _ in batch})
        place = {text: number for number, text in enumerate(texts)}
        vectors = clap.embed_text(texts)[[place[pairs[position][1]] for position, _ in batch]]
        names = [(named[position], pairs[position][1]) for position, _ in batch]
        sums.add(np.stack([vector for _, vector in batch]), vectors, names)
    return sums.result(
        provenance_of(clap),
        confidence=confidence,
        seed=seed,
        ids=[pairs[position][2] for position in order],
        order=np.argsort(order).tolist(),
    )
