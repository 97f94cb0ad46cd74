"""Zero-shot classification of what has been embedded: cosine, logit and probability, which are three different things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from claprt._moved import restore
from claprt.arrays import Embedding, Embeddings
from claprt.scoring.labels import label_index

Scores: TypeAlias = NDArray[np.float32]
"""[labels] float32."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classification:
    """Scores of labels for one sound: cosines, logits and probabilities."""

    class_names: tuple[str, ...]
    """The labels, in the order given."""
    similarities: Scores
    """Cosines of the sound and each label, [labels] float32, between -1 and 1."""
    logits: Scores
    """`similarities` times the checkpoint's logit scale, [labels] float32."""
    probabilities: Scores
    """Softmax of `logits`, [labels] float32: shares among these labels, which sum to 1 even if none of them applies."""
    top_k: int
    """Number of labels in `top_k_classes`."""
    audio_embedding: Embedding
    """Unit vector of the sound, [dim] float32."""
    model_name: str = ""
    """The bundle's name."""
    warning: str | None = None
    """A message if none of the labels is among the words that the model was trained on, if those are known."""

    __setstate__ = restore

    @property
    def ranking(self) -> NDArray[np.intp]:
        """Positions of the labels, the best first, [labels]."""
        return np.argsort(-self.similarities, kind="stable")

    @property
    def predicted_class(self) -> str:
        """The best label."""
        return self.class_names[int(self.ranking[0])]

    @property
    def confidence(self) -> float:
        """The probability of the best label."""
        return float(self.probabilities[self.ranking[0]])

    @property
    def top_k_classes(self) -> tuple[str, ...]:
        """The `top_k` best labels, the best first."""
        return tuple(self.class_names[int(position)] for position in self.ranking[: self.top_k])

    @property
    def top_k_probs(self) -> tuple[float, ...]:
        """The probabilities of `top_k_classes`."""
        return tuple(float(self.probabilities[position]) for position in self.ranking[: self.top_k])

    @property
    def metadata(self) -> dict[str, Any]:
        """How the result was computed, under mlx-audio's name."""
        return {"method": "zero_shot"}

    def best_match(self) -> tuple[str, float]:
        """The best label and its probability."""
        return self.predicted_class, self.confidence

    def get_probability(self, label: str | int) -> float:
        """Look up the probability of a label by name or position.

        Raises:
            OptionError: If there is no such label.
        """
        return float(self.probabilities[label_index(label, self.class_names)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the best label first."""
        return {
            "predicted_class": self.predicted_class,
            "confidence": self.confidence,
            "top_k_classes": list(self.top_k_classes),
            "top_k_probs": list(self.top_k_probs),
            "class_names": list(self.class_names),
            "classes": [
                {
                    "label": self.class_names[int(position)],
                    "probability": float(self.probabilities[position]),
                    "similarity": float(self.similarities[position]),
                    "logit": float(self.logits[position]),
                }
                for position in self.ranking
            ],
            **({} if self.warning is None else {"warning": self.warning}),
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {share:.3f}" for name, share in zip(self.top_k_classes, self.top_k_probs, strict=True))
        return f"<Classification {shown} (of {len(self.class_names)})>"


def score_labels(vector: Embedding, texts: Embeddings, scale: float) -> tuple[Scores, Scores, Scores]:
    """Cosine, logit and probability of each text: `vector` [dim], `texts` [texts, dim], `scale` the factor on cosines."""
    similarities = as_cosines(np.einsum("ld,d->l", texts, vector))
    logits = similarities * np.float32(scale)
    shares = np.exp(logits - logits.max())
    return similarities, logits, shares / shares.sum()


def as_cosines(products: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products of unit vectors as cosines, any shape: rounding leaves some just outside -1 to 1, where `arccos` is NaN.

    Example:
        >>> as_cosines(np.float32([1.0000002, 0.5])).tolist()
        [1.0, 0.5]
    """
    return np.clip(products, np.float32(-1), np.float32(1))
