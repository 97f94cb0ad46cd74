"""The friendly functions: a question about a sound in one call, an answer with names.

They take a loaded `Clap`, a bundle's folder, or nothing, which means the small model that ships with the package.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.audio import AudioSource, is_one_source
from claprt.bundle import bundle_folder, default_bundle
from claprt.clip import whole_number
from claprt.errors import OptionError, TextError, TextTypeError
from claprt.loading import load
from claprt.model import Clap

Scores: TypeAlias = NDArray[np.float32]
"""[labels] float32."""

Model: TypeAlias = "Clap | str | os.PathLike[str] | None"
"""A loaded model, a bundle's folder, or None for the model that ships with the package."""

_loaded: dict[Path, Clap] = {}
_loading = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classification:
    """How well each label fits a sound: as cosines, as logits and as probabilities, which are three different things."""

    class_names: tuple[str, ...]
    """The labels, as they were given."""
    similarities: NDArray[np.float32]
    """Cosine of the sound and each label, [labels], between -1 and 1."""
    logits: NDArray[np.float32]
    """`similarities` times the checkpoint's own logit scale, [labels]."""
    probabilities: NDArray[np.float32]
    """Softmax of `logits`, [labels]: shares among these labels, not how sure it is that any of them is there."""
    top_k: int
    """How many labels `top_k_classes` names."""
    audio_embedding: Embedding
    """The sound's unit vector, [dim]."""

    @property
    def ranking(self) -> NDArray[np.intp]:
        """Positions of the labels, the best fitting first, [labels]."""
        return np.argsort(-self.similarities, kind="stable")

    @property
    def predicted_class(self) -> str:
        """The label that fits best."""
        return self.class_names[int(self.ranking[0])]

    @property
    def confidence(self) -> float:
        """The probability of the label that fits best."""
        return float(self.probabilities[self.ranking[0]])

    @property
    def top_k_classes(self) -> tuple[str, ...]:
        """The `top_k` labels that fit best, the best first."""
        return tuple(self.class_names[int(position)] for position in self.ranking[: self.top_k])

    @property
    def top_k_probs(self) -> tuple[float, ...]:
        """The probabilities of `top_k_classes`."""
        return tuple(float(self.probabilities[position]) for position in self.ranking[: self.top_k])

    def best_match(self) -> tuple[str, float]:
        """The label that fits best and its probability."""
        return self.predicted_class, self.confidence

    def get_probability(self, label: str | int) -> float:
        """The probability of a label, by its name or its position.

        Raises:
            OptionError: there is no such label.
        """
        if isinstance(label, str):
            if label not in self.class_names:
                raise OptionError(f"{label!r} is not among the labels {', '.join(map(repr, self.class_names))}.")
            return float(self.probabilities[self.class_names.index(label)])
        position = whole_number("label", label)
        if not -len(self.class_names) <= position < len(self.class_names):
            raise OptionError(f"There is no label {position}; there are {len(self.class_names)}.")
        return float(self.probabilities[position])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the best fitting label first."""
        return {
            "predicted_class": self.predicted_class,
            "confidence": self.confidence,
            "classes": [
                {
                    "label": self.class_names[int(position)],
                    "probability": float(self.probabilities[position]),
                    "similarity": float(self.similarities[position]),
                    "logit": float(self.logits[position]),
                }
                for position in self.ranking
            ],
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {share:.3f}" for name, share in zip(self.top_k_classes, self.top_k_probs, strict=True))
        return f"<Classification {shown} (of {len(self.class_names)})>"


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
        labels: any words or sentences.
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
    texts = clap.embed_text(filled_in(template, names))
    if is_one_source(audio):
        return classification(clap, clap.embed_audio(audio, sample_rate), texts, names, top_k)
    return [classification(clap, vector, texts, names, top_k) for vector in clap.embed_audio(audio, sample_rate)]


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
    )


def fits(vector: Embedding, texts: Embeddings, scale: float) -> tuple[Scores, Scores, Scores]:
    """Cosine, logit and probability of each text: `vector` [dim], `texts` [texts, dim], `scale` the factor on cosines."""
    similarities = np.einsum("ld,d->l", texts, vector)
    logits = similarities * np.float32(scale)
    shares = np.exp(logits - logits.max())
    return similarities, logits, shares / shares.sum()


def filled_in(template: str | None, names: Sequence[str]) -> list[str]:
    """Labels as the sentences that are embedded.

    Raises:
        OptionError: the template has no place for a label.

    Example:
        >>> filled_in("This is a sound of {}.", ["rain"])
        ['This is a sound of rain.']
    """
    if template is None:
        return list(names)
    if not isinstance(template, str) or "{}" not in template:
        raise OptionError(f"template={template!r} has no {{}} for the label, as in 'This is a sound of {{}}.'")
    return [template.replace("{}", name) for name in names]


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels, if they can be chosen among.

    Raises:
        TextError: a label is empty or not a string.
        OptionError: no list, none in it, or one twice.
    """
    if isinstance(labels, str | bytes):
        raise OptionError(f"labels={labels!r} is one string; give a list of labels.")
    if not isinstance(labels, Iterable):
        raise OptionError(f"labels={labels!r} is no list; give a list of labels.")
    names = tuple(labels)
    if not names:
        raise OptionError("labels is empty; give at least one label.")
    for name in names:
        if not isinstance(name, str):
            raise TextTypeError(f"A label must be a string; {type(name).__name__} was found.")
        if not name.strip():
            raise TextError("A label is empty; give it a word.")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise OptionError(f"labels names {', '.join(map(repr, sorted(twice)))} more than once.")
    return names


def loaded(model: Model = None) -> Clap:
    """The model that is meant: itself, or loaded from its folder once and kept."""
    if isinstance(model, Clap):
        return model
    path = bundle_folder(default_bundle() if model is None else model)
    key = path.resolve()
    with _loading:
        if key not in _loaded:
            _loaded[key] = load(path)
        return _loaded[key]
