"""Embed and score pairs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from claprt.audio.sound import AudioSource
from claprt.evaluation.intervals import CONFIDENCE
from claprt.evaluation.progress import Report, no_progress
from claprt.evaluation.scores.embedding import embed_sounds, provenance_under, sound_name
from claprt.evaluation.scores.pair_scores import PairScores, PairSums
from claprt.evaluation.scores.protocols.table import Protocol
from claprt.model.clap import Clap

_BATCH = 256
"""Pairs between two additions to the sums."""


def score_pairs(
    clap: Clap,
    pairs: Sequence[tuple[AudioSource, str, str | None]],
    protocol: Protocol,
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    progress: Report = no_progress,
) -> PairScores:
    """Embed and score pairs.

    The order of the work depends on the pairs alone, and a sound with several texts is embedded once. Where the protocol
    draws windows, it is the order given, and each pair draws anew.

    Args:
        clap: The model.
        pairs: Sound, text and id of each.
        protocol: From a sound to its vector.
        seed: Of the interval, and of the protocol.
        confidence: Of the interval.
        progress: Shows progress over the sounds.

    Raises:
        AudioError: If a sound cannot be embedded.
        OptionError: If there are no pairs.
    """
    named = [sound_name(source, number) for number, (source, _, _) in enumerate(pairs)]
    order = list(range(len(pairs)))
    if not protocol.draws:
        order.sort(key=lambda position: (named[position], pairs[position][1], position))
    groups = [
        list(group)
        for _, group in itertools.groupby(order, key=lambda place: (named[place], place if protocol.draws else 0))
    ]
    sums = PairSums(clap.dim)
    sources = [pairs[group[0]][0] for group in groups]
    sounds = progress(embed_sounds(clap, sources, protocol, seed=seed), len(groups))
    each = ((position, sound.vector) for group, sound in zip(groups, sounds, strict=True) for position in group)
    while batch := list(itertools.islice(each, _BATCH)):
        texts = sorted({pairs[position][1] for position, _ in batch})
        place = {text: number for number, text in enumerate(texts)}
        vectors = clap.embed_text(texts)[[place[pairs[position][1]] for position, _ in batch]]
        names = [(named[position], pairs[position][1]) for position, _ in batch]
        sums.add(np.stack([vector for _, vector in batch]), vectors, names)
    return sums.result(
        provenance_under(clap, protocol, seed),
        confidence=confidence,
        seed=seed,
        ids=[pairs[position][2] for position in order],
        order=np.argsort(order).tolist(),
    )
