"""Read, embed and compare sets of sounds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.audio.files.folders import sounds_in
from claprt.audio.sound import AudioSource, split_sources
from claprt.errors import DatasetError, OptionError
from claprt.evaluation.intervals import CONFIDENCE
from claprt.evaluation.library_vectors import is_library
from claprt.evaluation.progress import Report, no_progress
from claprt.evaluation.scores.distances.gaussians import Gaussian, gaussian_of, gaussian_of_sounds
from claprt.evaluation.scores.distances.vector_sets import VectorSet, vector_set
from claprt.evaluation.scores.embedding import embed_sounds, provenance_under, sound_name
from claprt.evaluation.scores.library_sets import vectors_of_library
from claprt.evaluation.scores.protocols.table import Protocol
from claprt.evaluation.scores.set_metrics import compare
from claprt.evaluation.scores.set_scores import SetScores, SoundSet
from claprt.evaluation.scores.statistics_file import read_statistics
from claprt.model.clap import Clap
from claprt.model.results import EmbeddedSound

SoundsOrStatistics: TypeAlias = "str | os.PathLike[str] | Iterable[AudioSource]"
"""A folder of sounds, a library, an .npz file of statistics, or sounds."""


def score_sets(
    clap: Clap,
    reference: SoundsOrStatistics,
    candidate: SoundsOrStatistics,
    metrics: Sequence[str],
    protocol: Protocol,
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    progress: Report = no_progress,
) -> SetScores:
    """Embed two sets and compare them.

    Args:
        clap: The model.
        reference: What the candidates are held against.
        candidate: Sounds.
        metrics: Of `METRICS`.
        protocol: From a sound to its vectors, and details of the metrics.
        seed: Of the protocol, of subsets and intervals.
        confidence: Of the intervals.
        progress: Shows progress over the sounds.

    Raises:
        DatasetError: If a set cannot be read, or has too few sounds.
        FingerprintError: If the reference is statistics of another model or protocol.
        AudioError: If a sound cannot be embedded.
    """
    first, second = read_sets(
        clap, [("reference", reference), ("candidate", candidate)], protocol, seed=seed, progress=progress
    )
    provenance = provenance_under(clap, protocol, seed)
    return compare(first, second, metrics, protocol, provenance, confidence=confidence, seed=seed)


def read_sets(
    clap: Clap,
    sets: Sequence[tuple[str, SoundsOrStatistics]],
    protocol: Protocol,
    *,
    seed: int = 0,
    progress: Report = no_progress,
) -> list[SoundSet]:
    """Embed sets, all in one go: where a protocol draws, it draws for one set after the other.

    Args:
        clap: The model.
        sets: What each is called, and where its sounds are.
        protocol: From a sound to its vectors.
        seed: Of the protocol.
        progress: Shows progress over the sounds.

    Raises:
        DatasetError: If a set cannot be read, or is empty.
        FingerprintError: If one is statistics of another model or protocol.
        AudioError: If a sound cannot be embedded.
    """
    found: list[SoundSet | tuple[str, list[AudioSource]]] = []
    for called, where in sets:
        if isinstance(where, str | os.PathLike) and Path(where).suffix.lower() == ".npz" and Path(where).is_file():
            gaussian = read_statistics(Path(where), provenance_under(clap, protocol, seed))
            found.append(SoundSet(name=str(where), gaussian=gaussian, vectors=None))
        elif isinstance(where, str | os.PathLike) and is_library(Path(where)):
            names, rows = vectors_of_library(clap, Path(where), protocol)
            found.append(in_order(str(where), rows, names))
        else:
            found.append(_sources(called, where))
    sources = [source for part in found if isinstance(part, tuple) for source in part[1]]
    sounds = iter(progress(embed_sounds(clap, sources, protocol, seed=seed), len(sources)))
    return [
        part if isinstance(part, SoundSet) else _embedded(part[0], [next(sounds) for _ in part[1]], part[1], protocol)
        for part in found
    ]


def _sources(called: str, where: SoundsOrStatistics) -> tuple[str, list[AudioSource]]:
    """Name and sounds of a set.

    Raises:
        DatasetError: If there are none.
        OptionError: If one sound was given for a set.
    """
    if not isinstance(where, str | os.PathLike):
        one, sources = split_sources(where)
        if one:
            raise OptionError(f"{called} is one sound; give a list of sounds, a folder or statistics.")
        listed = list(sources)
        if not listed:
            raise DatasetError(f"The {called} holds no sounds.")
        return called, listed
    folder = Path(where)
    if not folder.is_dir():
        there = "a file that is neither a folder nor .npz" if folder.exists() else "not there"
        raise DatasetError(f"{called} {folder} is {there}; name a folder of sounds, a library, or statistics (.npz).")
    files = sorted(entry.path for entry in sounds_in(str(folder)))
    if not files:
        raise DatasetError(f"{called} {folder} is a folder without sound files.")
    return str(folder), [*files]


def _embedded(name: str, sounds: Sequence[EmbeddedSound], sources: Sequence[AudioSource], protocol: Protocol) -> SoundSet:
    names = [sound_name(source, number) for number, source in enumerate(sources)]
    if protocol.is_default:
        return in_order(name, np.stack([_vector(sound) for sound in sounds]), names)
    windows = protocol.hop_s is not None
    rows = np.concatenate([sound.windows if windows else _vector(sound)[None] for sound in sounds])
    owner = np.repeat(np.arange(len(sounds)), [len(sound.windows) if windows else 1 for sound in sounds])
    vectors = vector_set(rows.astype(protocol.storage), names, owner.tolist())
    return SoundSet(name=name, gaussian=_gaussian(vectors, protocol), vectors=vectors)


def in_order(name: str, rows: Embeddings, names: Sequence[str]) -> SoundSet:
    """A set of one vector for each sound, in an order that depends on the vectors alone.

    Args:
        name: Of the set.
        rows: [sounds, dim] float32.
        names: Of the sounds.
    """
    order = sorted(range(len(rows)), key=lambda place: (rows[place].tobytes(), names[place]))
    vectors = vector_set(rows[order], [names[place] for place in order], given=order)
    return SoundSet(name=name, gaussian=gaussian_of(vectors) if len(rows) > 1 else None, vectors=vectors)


def _vector(sound: EmbeddedSound) -> Embedding:
    assert sound.vector is not None
    return sound.vector


def _gaussian(vectors: VectorSet, protocol: Protocol) -> Gaussian | None:
    if len(vectors.rows) < 2:
        return None
    return gaussian_of_sounds(vectors) if protocol.storage == "float16" else gaussian_of(vectors)
