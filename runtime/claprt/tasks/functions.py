"""The friendly functions: a question about a sound in one call, an answer with names.

They take a loaded `Clap`, a bundle's folder, or nothing, which means the small model that ships with the package. Names,
arguments and attributes of results are those of mlx-audio's functions of the same names, so that `import claprt as ma` is
all that code for those needs; what is different is said where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.audio.sound import AudioSource, is_one_source, split_sources
from claprt.errors import OptionError
from claprt.model.clap import Clap
from claprt.scoring.classification import Classification, as_cosines, score_labels
from claprt.scoring.labels import apply_template, validate_labels
from claprt.scoring.tagging import NEUTRAL_PROMPTS, Tagging, tag_embedding, validate_threshold
from claprt.scoring.vocabulary import warning
from claprt.tasks.joint_embedding import JointEmbedding, Vectors
from claprt.tasks.models import Model, resolve_model
from claprt.text.tokenizer import split_texts
from claprt.validation import whole_number


def embed(
    audio: AudioSource | Iterable[AudioSource] | None = None,
    text: str | Iterable[str] | None = None,
    *,
    model: Model = None,
    sample_rate: int | None = None,
    normalize: bool = True,
    return_similarity: bool = False,
) -> JointEmbedding:
    """Embed sounds, texts, or both with their cosines.

    Args:
        audio: One sound (a path, bytes, a file object or an array [samples] or [channels, samples]), or a list of them.
        text: One text, or a list of them.
        model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
        sample_rate: Rate of arrays in Hz; by default the model's own. Files state theirs.
        normalize: Whether the mean over the windows of a long clip is scaled to length 1. Vectors of single windows and of
            texts have length 1 in any case.
        return_similarity: Accepted as in mlx-audio; cosines are computed whenever sounds and texts are given.

    Returns:
        One row for each sound and text: `audio_embedding` [sounds, dim], `text_embedding` [texts, dim], `similarity`
        [sounds, texts], all float32.

    Raises:
        AudioError: If a sound cannot be embedded.
        TextError: If a text is empty or not a string.
        OptionError: If there are neither sounds nor texts, or `return_similarity` is given with only one of them.

    Example:
        >>> claprt.embed(audio="dog.wav", text=["a dog barking", "rain"]).best_match()  # doctest: +SKIP
        'a dog barking'
    """
    if audio is None and text is None:
        raise OptionError("Give audio, text, or both; there is nothing to embed.")
    if return_similarity and (audio is None or text is None):
        raise OptionError("return_similarity=True needs audio and text; only one of them was given.")
    clap = resolve_model(model)
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
    """Classify sounds zero-shot: find the label that fits best.

    Args:
        audio: One sound (a path, bytes, a file object or an array), or a list of them.
        labels: Any words or sentences. Their vectors are kept for the next call.
        model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
        top_k: Number of labels in `top_k_classes`.
        template: A sentence with `{}` for the label, such as `This is a sound of {}.` of LAION's zero-shot evaluation; by
            default labels are used as they are.
        sample_rate: Rate of arrays in Hz; by default the model's own. Files state theirs.

    Returns:
        One result for one sound, a list for a list.

    Raises:
        AudioError: If a sound cannot be embedded.
        TextError: If a label is empty or not a string.
        OptionError: If there are no labels, a label occurs twice, `top_k` is below 1, or the template lacks `{}`.

    Example:
        >>> claprt.classify("dog.wav", labels=["a dog barking", "rain"]).predicted_class  # doctest: +SKIP
        'a dog barking'
    """
    names = validate_labels(labels)
    top_k = whole_number("top_k", top_k)
    if top_k < 1:
        raise OptionError(f"top_k={top_k} is not possible; give 1 or more.")
    clap = resolve_model(model)
    texts = clap.embed_labels(apply_template(template, names))
    one, sources = split_sources(audio)
    found = [classify_embedding(clap, row, texts, names, top_k) for row in clap.embed_audio(sources, sample_rate)]
    return found[0] if one else found


def classify_embedding(
    clap: Clap, vector: Embedding, texts: Embeddings, names: tuple[str, ...], top_k: int = 1
) -> Classification:
    """Classify a sound that has been embedded.

    Args:
        clap: The model.
        vector: Of the sound, [dim] float32.
        texts: Vectors of the labels, [labels, dim] float32.
        names: The labels.
        top_k: Number of labels in `top_k_classes`.
    """
    similarities, logits, probabilities = score_labels(vector, texts, clap.manifest.logit_scale_a)
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
    """Tag sounds: find all tags that apply, each independent of the others.

    Args:
        audio: One sound (a path, bytes, a file object or an array), or a list of them.
        tags: Any words or sentences. Their vectors are kept for the next call.
        model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
        threshold: Probability from which a tag applies. What 0.5 means depends on whether the bundle is calibrated; see
            docs/scores.md.
        template: A sentence with `{}` for the tag; by default tags are used as they are.
        sample_rate: Rate of arrays in Hz; by default the model's own. Files state theirs.

    Returns:
        One result for one sound, a list for a list.

    Raises:
        AudioError: If a sound cannot be embedded.
        TextError: If a tag is empty or not a string.
        OptionError: If there are no tags, a tag occurs twice, the threshold is not between 0 and 1, or the template lacks
            `{}`.

    Example:
        >>> claprt.tag("street.wav", tags=["a dog barking", "rain", "a siren"]).active_tags  # doctest: +SKIP
        ['rain', 'a siren']
    """
    names = validate_labels(tags, "tags")
    threshold = validate_threshold(threshold)
    clap = resolve_model(model)
    texts, neutral = clap.embed_labels(apply_template(template, names)), clap.embed_labels(NEUTRAL_PROMPTS)
    one, sources = split_sources(audio)
    rows = clap.embed_audio(sources, sample_rate)
    found = [tag_embedding(clap.manifest, row, texts, neutral, names, threshold) for row in rows]
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
    """Compute the cosine of two sounds, or of all pairs of two lists.

    Args:
        first: One sound (a path, bytes, a file object or an array), or a list of them.
        second: One sound, or a list of them.
        model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
        sample_rate: Rate of arrays in Hz; by default the model's own.

    Returns:
        A float for two sounds, [first, second] float32 for two lists.

    Raises:
        AudioError: If a sound cannot be embedded.
        OptionError: If one is a sound and the other a list.
    """
    one = is_one_source(first)
    if one is not is_one_source(second):
        raise OptionError("Give two sounds, or two lists of sounds.")
    clap = resolve_model(model)
    rows = clap.embed_audio(first, sample_rate), clap.embed_audio(second, sample_rate)
    return float(as_cosines(np.einsum("d,d", *rows))) if one else as_cosines(np.einsum("ad,bd->ab", *rows))
