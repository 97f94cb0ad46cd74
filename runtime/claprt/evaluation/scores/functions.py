"""`claprt.score`: the CLAP score of pairs, and distances between sets of sounds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeAlias, overload

from claprt.audio.sound import AudioSource
from claprt.errors import OptionError
from claprt.evaluation.intervals import CONFIDENCE, validate_confidence
from claprt.evaluation.progress import Report, no_progress
from claprt.evaluation.scores.of_pairs import score_pairs
from claprt.evaluation.scores.of_sets import SoundsOrStatistics, score_sets
from claprt.evaluation.scores.pair_scores import PairScores
from claprt.evaluation.scores.pairs_file import Pair, read_pairs
from claprt.evaluation.scores.protocols.table import DEFAULT, find_protocol
from claprt.evaluation.scores.set_scores import SetScores, metrics_of
from claprt.tasks.models import Model, resolve_model
from claprt.text.tokenizer import validate_texts
from claprt.validation import validate_seed

Pairs: TypeAlias = "str | os.PathLike[str] | Iterable[Pair | tuple[AudioSource, str]]"
"""A CSV or JSONL file, or sounds with their texts."""


@overload
def score(
    pairs: Pairs,
    *,
    model: Model = None,
    protocol: str = DEFAULT,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    progress: Report = no_progress,
) -> PairScores: ...
@overload
def score(
    pairs: None = None,
    *,
    reference: SoundsOrStatistics,
    candidate: SoundsOrStatistics,
    metric: str | Sequence[str] = "fad",
    model: Model = None,
    protocol: str = DEFAULT,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    progress: Report = no_progress,
) -> SetScores: ...
def score(
    pairs: Pairs | None = None,
    *,
    reference: SoundsOrStatistics | None = None,
    candidate: SoundsOrStatistics | None = None,
    metric: str | Sequence[str] = "fad",
    model: Model = None,
    protocol: str = DEFAULT,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    progress: Report = no_progress,
) -> PairScores | SetScores:
    """Score pairs of a sound and a text, or sounds against a reference.

    Args:
        pairs: A CSV or JSONL file with the columns `path` and `text`, or sounds with their texts. A relative path in a file
            is looked for in the file's folder, then in the working folder.
        reference: In place of pairs: a folder of sounds, a library of them, sounds, or statistics that were saved (.npz).
        candidate: A folder of sounds, a library, or sounds.
        metric: Of sets: one or more of `fad`, `fad-inf`, `kad` and `precision-recall-density-coverage`.
        model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
        protocol: Whose steps lead from a sound to its vector (docs/scores-report.md); by default those of `embed_audio`.
        seed: Of the intervals, of subsets, and of the windows that a protocol draws.
        confidence: Share of samples whose interval holds the true value.
        progress: Shows progress over the sounds, see `claprt.evaluation.progress`.

    Returns:
        Of pairs, the mean cosine with its interval, what shuffled pairs score, every pair's cosine, and a line to cite it
        by. Of sets, the metrics by name, with intervals, warnings, and each candidate's part. The same input gives the
        same result, in any order.

    Raises:
        DatasetError: If a file or folder cannot be read, names sounds that are not there, or holds too few sounds.
        FingerprintError: If statistics are of another model or protocol.
        AudioError: If a sound cannot be embedded.
        TextError: If a text is empty or not a string.
        OptionError: If there is nothing to score, or an option has no such value.

    Example:
        >>> claprt.score([("dog.wav", "a dog barking")]).mean  # doctest: +SKIP
        0.41
        >>> claprt.score(reference="recordings", candidate="generated")["fad"]  # doctest: +SKIP
        0.23
    """
    seed, confidence = validate_seed(seed), validate_confidence(confidence)
    if pairs is not None:
        if reference is not None or candidate is not None:
            raise OptionError("Give pairs, or reference and candidate; both were given.")
        row, listed = find_protocol(protocol, pairs=True), _listed(pairs)
        return score_pairs(resolve_model(model), listed, row, seed=seed, confidence=confidence, progress=progress)
    if reference is None or candidate is None:
        raise OptionError("Give pairs, or reference and candidate; there is nothing to score.")
    row, metrics = find_protocol(protocol, sets=True), metrics_of(metric)
    return score_sets(
        resolve_model(model), reference, candidate, metrics, row, seed=seed, confidence=confidence, progress=progress
    )


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
