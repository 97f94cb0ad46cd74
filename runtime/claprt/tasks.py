"""The friendly functions: a question about a sound in one call, an answer with names.

They take a loaded `Clap`, a bundle's folder, or nothing, which means the small model that ships with the package. Names,
arguments and attributes of results are those of mlx-audio's functions of the same names, so that `import claprt as ma` is
all that code for those needs; what is different is said where it is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.audio import AudioSource, is_one_source, split_sources
from claprt.bundle import default_bundle
from claprt.clip import whole_number
from claprt.errors import OptionError
from claprt.joint import JointEmbedding, Vectors
from claprt.labels import checked_labels, filled_in
from claprt.loading import load
from claprt.model import Clap
from claprt.scores import Classification, as_cosines, fits
from claprt.tagging import NEUTRAL_PROMPTS, Tagging, checked_threshold, tagging
from claprt.text import split_texts
from claprt.triton.address import is_address
from claprt.vocabulary import warning

Model: TypeAlias = "Clap | str | os.PathLike[str] | None"
"""A loaded model, a bundle's folder, a server's address, or None for the model that ships with the package."""

_loaded: dict[Path | str, Clap] = {}
_loading = threading.Lock()


def embed(
    audio: AudioSource | Iterable[AudioSource] | None = None,
    text: str | Iterable[str] | None = None,
    *,
    model: Model = None,
    sample_rate: int | None = None,
    normalize: bool = True,
    return_similarity: bool = False,
) -> JointEmbedding:
    """Vectors of sounds, of texts, or of both with their cosines.

    Args:
        audio: one sound (a path, bytes, a file object or an array [samples] or [channels, samples]), or a list of them.
        text: one text, or a list of them.
        model: a loaded model, a bundle's folder, or None for the small one that ships with the package.
        sample_rate: rate of arrays in Hz; by default the model's own. Files state theirs.
        normalize: False leaves the mean over a long clip's windows as it is, with a length below 1. Vectors of single
            windows and of texts have length 1 in the graphs themselves.
        return_similarity: says that cosines are wanted, which needs both; where both are given they are there anyway.

    Returns:
        Rows for all sounds and texts, one included: `audio_embedding` [sounds, dim], `text_embedding` [texts, dim],
        `similarity` [sounds, texts].

    Raises:
        AudioError: a sound cannot be embedded.
        TextError: a text is empty or not a string.
        OptionError: neither sounds nor texts, or cosines of only one of them.

    Example:
        >>> claprt.embed(audio="dog.wav", text=["a dog barking", "rain"]).best_match()  # doctest: +SKIP
        'a dog barking'
    """
    if audio is None and text is None:
        raise OptionError("Give audio, text, or both; there is nothing to embed.")
    if return_similarity and (audio is None or text is None):
        raise OptionError("return_similarity=True needs audio and text; only one of them was given.")
    clap = loaded(model)
    texts = None if text is None else tuple(split_texts(text)[1])
    return JointEmbedding(
        audio_embedding=None if audio is None else _sound_rows(clap, audio, sample_rate, normalize=normalize),
        text_embedding=None if texts is None else clap.embed_text(texts).view(Vectors),
        text_labels=texts,
        fingerprint=clap.fingerprint,
        model_name=clap.manifest.name,
    )


def _sound_rows(
    clap: Clap, audio: AudioSource | Iterable[AudioSource], sample_rate: int | None, *, normalize: bool
) -> Vectors:
    rows: list[Embedding] = []
    for sound in clap.iter_audio(audio, sample_rate):
        if sound.error is not None or sound.vector is None:
            raise sound.error or OptionError("a sound without a vector")
        rows.append(sound.vector if normalize else sound.windows.mean(axis=0))
    return np.array(rows, np.float32).reshape(len(rows), clap.dim).view(Vectors)


@overload
def classify(
    audio: AudioSource,
    *,
    labels: Sequence[str],
    model: Model = None,
    top_k: int = 1,
    template: str | None = None,
    sample_rate: int | None = None,
) -> Classification: ...
@overload
def classify(
    audio: Iterable[AudioSource],
    *,
    labels: Sequence[str],
    model: Model = None,
    top_k: int = 1,
    template: str | None = None,
    sample_rate: int | None = None,
) -> list[Classification]: ...
def classify(
    audio: AudioSource | Iterable[AudioSource],
    *,
    labels: Sequence[str],
    model: Model = None,
    top_k: int = 1,
    template: str | None = None,
    sample_rate: int | None = None,
) -> Classification | list[Classification]:
    """Zero-shot classification: which of some labels fits a sound best.

    Args:
        audio: one sound (a path, bytes, a file object or an array), or a list of them.
        labels: any words or sentences. Their vectors are kept for the next time.
        model: a loaded model, a bundle's folder, or None for the small one that ships with the package.
        top_k: how many labels `top_k_classes` names.
        template: a sentence with `{}` where the label goes, such as LAION's `This is a sound of {}.`; by default labels
            are taken as they are.
        sample_rate: rate of arrays in Hz; by default the model's own. Files state theirs.

    Returns:
        One result for one sound, a list for a list.

    Raises:
        AudioError: a sound cannot be embedded.
        TextError: a label is empty or not a string.
        OptionError: no labels, the same label twice, `top_k` below 1, or a template without `{}`.

    Example:
        >>> claprt.classify("dog.wav", labels=["a dog barking", "rain"]).predicted_class  # doctest: +SKIP
        'a dog barking'
    """
    names = checked_labels(labels)
    top_k = whole_number("top_k", top_k)
    if top_k < 1:
        raise OptionError(f"top_k={top_k} is not possible; give 1 or more.")
    clap = loaded(model)
    texts = clap.embed_labels(filled_in(template, names))
    one, sources = split_sources(audio)
    found = [classification(clap, row, texts, names, top_k) for row in clap.embed_audio(sources, sample_rate)]
    return found[0] if one else found


def classification(
    clap: Clap, vector: Embedding, texts: Embeddings, names: tuple[str, ...], top_k: int = 1
) -> Classification:
    """How well labels fit a sound, both already embedded: `vector` [dim], `texts` [labels, dim]."""
    similarities, logits, probabilities = fits(vector, texts, clap.manifest.logit_scale_a)
    return Classification(
        class_names=names,
        similarities=similarities,
        logits=logits,
        probabilities=probabilities,
        top_k=min(top_k, len(names)),
        audio_embedding=vector,
        model_name=clap.manifest.name,
        warning=warning(clap.manifest, names),
    )


@overload
def tag(
    audio: AudioSource,
    *,
    tags: Sequence[str],
    model: Model = None,
    threshold: float = 0.5,
    template: str | None = None,
    sample_rate: int | None = None,
) -> Tagging: ...
@overload
def tag(
    audio: Iterable[AudioSource],
    *,
    tags: Sequence[str],
    model: Model = None,
    threshold: float = 0.5,
    template: str | None = None,
    sample_rate: int | None = None,
) -> list[Tagging]: ...
def tag(
    audio: AudioSource | Iterable[AudioSource],
    *,
    tags: Sequence[str],
    model: Model = None,
    threshold: float = 0.5,
    template: str | None = None,
    sample_rate: int | None = None,
) -> Tagging | list[Tagging]:
    """Multi-label tagging: which of some tags a sound has, each judged by itself.

    Args:
        audio: one sound (a path, bytes, a file object or an array), or a list of them.
        tags: any words or sentences. Their vectors are kept for the next time.
        model: a loaded model, a bundle's folder, or None for the small one that ships with the package.
        threshold: probability from which a tag applies. What 0.5 means depends on whether the bundle is calibrated; see
            `claprt.tagging`.
        template: a sentence with `{}` where the tag goes; by default tags are taken as they are.
        sample_rate: rate of arrays in Hz; by default the model's own. Files state theirs.

    Returns:
        One result for one sound, a list for a list.

    Raises:
        AudioError: a sound cannot be embedded.
        TextError: a tag is empty or not a string.
        OptionError: no tags, the same tag twice, a threshold that is no probability, or a template without `{}`.

    Example:
        >>> claprt.tag("street.wav", tags=["a dog barking", "rain", "a siren"]).active_tags  # doctest: +SKIP
        ['rain', 'a siren']
    """
    names = checked_labels(tags, "tags")
    threshold = checked_threshold(threshold)
    clap = loaded(model)
    texts, neutral = clap.embed_labels(filled_in(template, names)), clap.embed_labels(NEUTRAL_PROMPTS)
    one, sources = split_sources(audio)
    rows = clap.embed_audio(sources, sample_rate)
    found = [tagging(clap.manifest, row, texts, neutral, names, threshold) for row in rows]
    return found[0] if one else found


@overload
def similarity(
    first: AudioSource, second: AudioSource, *, model: Model = None, sample_rate: int | None = None
) -> float: ...
@overload
def similarity(
    first: Iterable[AudioSource],
    second: Iterable[AudioSource],
    *,
    model: Model = None,
    sample_rate: int | None = None,
) -> NDArray[np.float32]: ...
def similarity(
    first: AudioSource | Iterable[AudioSource],
    second: AudioSource | Iterable[AudioSource],
    *,
    model: Model = None,
    sample_rate: int | None = None,
) -> float | NDArray[np.float32]:
    """How alike sounds are: the cosine of two, or for two lists the cosines [first, second] of all pairs.

    Args:
        first: one sound (a path, bytes, a file object or an array), or a list of them.
        second: one sound, or a list of them.
        model: a loaded model, a bundle's folder, or None for the small one that ships with the package.
        sample_rate: rate of arrays in Hz; by default the model's own.

    Raises:
        AudioError: a sound cannot be embedded.
        OptionError: one sound and a list.
    """
    one = is_one_source(first)
    if one is not is_one_source(second):
        raise OptionError("Give two sounds, or two lists of sounds.")
    clap = loaded(model)
    rows = clap.embed_audio(first, sample_rate), clap.embed_audio(second, sample_rate)
    return float(as_cosines(np.einsum("d,d", *rows))) if one else as_cosines(np.einsum("ad,bd->ab", *rows))


def loaded(model: Model = None) -> Clap:
    """The model that is meant: itself, or loaded once, from whatever `claprt.load` takes, and kept."""
    if isinstance(model, Clap):
        return model
    from claprt.checkpoints import find_bundle

    named = default_bundle() if model is None else model
    path = named if is_address(named) else find_bundle(named)
    key = path.resolve() if isinstance(path, Path) else str(path)
    with _loading:
        if key not in _loaded or _loaded[key].closed:
            _loaded[key] = load(path)
        return _loaded[key]
