"""Tags: for each of some words by itself, how probable it is that a sound has it.

A probability needs a measure. Cosines of fitting and of unfitting words lie where a checkpoint happens to put them, and
`sigmoid(scale * cosine)` passes 0.5 for whatever has a cosine above 0, which is nearly everything. So there are two ways:

- **calibrated**: `claprt calibrate` has asked labelled sounds and found the cosine at which a tag is as likely right as
  wrong, and how fast that changes around it (Platt, "Probabilistic outputs for support vector machines", 1999). Both
  numbers stand in the manifest (`Manifest.tagging`), with the share of right tags that they hold for.
- **against neutral prompts**, where nobody has calibrated: the probability that the tag, and not the best of a few prompts
  that say nothing, is what was said of the sound, by the checkpoint's own scale. 0.5 then means: it fits as well as saying
  nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt._moved import restore
from claprt.arrays import Embedding, Embeddings
from claprt.bundle.manifest import Manifest
from claprt.errors import OptionError
from claprt.scoring.classification import Scores, as_cosines
from claprt.scoring.labels import label_index
from claprt.scoring.vocabulary import warning

NEUTRAL_PROMPTS = (
    "a sound",
    "an audio recording",
    "some sound or other",
    "an unknown sound",
    "this is a recording",
    "something that can be heard",
)
"""What a tag is held against where the bundle is not calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tagging:
    """Scores of tags for one sound, each independent of the others."""

    tags: tuple[str, ...]
    """All tags, in the order given; `active_tags` are those that apply."""
    similarities: Scores
    """Cosines of the sound and each tag, [tags] float32, between -1 and 1."""
    logits: Scores
    """Log-odds of each tag, [tags] float32; `probabilities` is their sigmoid."""
    probabilities: Scores
    """Probability of each tag, [tags] float32, between 0 and 1; they do not sum to 1."""
    threshold: float
    """Probability from which a tag applies."""
    calibrated: bool
    """Whether probabilities were calibrated on labelled sounds; otherwise tags were compared with neutral prompts."""
    audio_embedding: Embedding
    """Unit vector of the sound, [dim] float32."""
    model_name: str = ""
    """The bundle's name."""
    warning: str | None = None
    """A message if none of the tags is among the words that the model was trained on, if those are known."""

    __setstate__ = restore

    @property
    def metadata(self) -> dict[str, Any]:
        """How the result was computed, under mlx-audio's name."""
        return {"method": "zero_shot", "calibrated": self.calibrated}

    @property
    def tag_names(self) -> tuple[str, ...]:
        """Alias of `tags`, as in mlx-audio."""
        return self.tags

    @property
    def ranking(self) -> NDArray[np.intp]:
        """Positions of the tags, the most probable first, [tags]."""
        return np.argsort(-self.logits, kind="stable")

    @property
    def active_tags(self) -> list[str]:
        """The tags that apply, the most probable first."""
        return [tag for tag, _ in self.above_threshold()]

    def above_threshold(self, threshold: float | None = None) -> list[tuple[str, float]]:
        """Tags whose probability reaches a threshold, by default the result's own, with it; the most probable first."""
        least = self.threshold if threshold is None else validate_threshold(threshold)
        return [(tag, share) for tag, share in self.top_k(len(self.tags)) if share >= least]

    def top_k(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable tags with their probabilities, active or not."""
        return [(self.tags[int(position)], float(self.probabilities[position])) for position in self.ranking[:k]]

    def get_probability(self, tag: str | int) -> float:
        """Look up the probability of a tag by name or position.

        Raises:
            OptionError: If there is no such tag.
        """
        return float(self.probabilities[label_index(tag, self.tags, "tag")])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the most probable tag first."""
        return {
            "active_tags": self.active_tags,
            "threshold": self.threshold,
            "calibrated": self.calibrated,
            "tag_names": list(self.tags),
            "top_5": self.top_k(5),
            "tags": [
                {
                    "tag": self.tags[int(position)],
                    "probability": float(self.probabilities[position]),
                    "active": bool(self.probabilities[position] >= self.threshold),
                    "similarity": float(self.similarities[position]),
                    "logit": float(self.logits[position]),
                }
                for position in self.ranking
            ],
            **({} if self.warning is None else {"warning": self.warning}),
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{tag}: {share:.3f}" for tag, share in self.above_threshold()) or "none"
        return f"<Tagging {shown} (of {len(self.tags)}, from {self.threshold:g})>"


def tag_embedding(
    manifest: Manifest,
    vector: Embedding,
    texts: Embeddings,
    neutral: Embeddings,
    names: tuple[str, ...],
    threshold: float = 0.5,
) -> Tagging:
    """How probable each tag is of a sound, all of them already embedded.

    Args:
        manifest: The bundle's; its `tagging` says how probabilities come about.
        vector: The sound, [dim].
        texts: The tags as they were embedded, [tags, dim].
        neutral: `NEUTRAL_PROMPTS`, [prompts, dim]; looked at only where the bundle is not calibrated.
        names: The tags as they were given.
        threshold: Probability from which a tag applies.

    Raises:
        OptionError: If the threshold is not a number from 0 to 1.
    """
    similarities, logits, probabilities = tag_scores(manifest, vector, texts, neutral)
    return Tagging(
        tags=names,
        similarities=similarities,
        logits=logits,
        probabilities=probabilities,
        threshold=validate_threshold(threshold),
        calibrated=manifest.tagging is not None,
        audio_embedding=vector,
        model_name=manifest.name,
        warning=warning(manifest, names),
    )


def tag_scores(
    manifest: Manifest, vector: Embedding, texts: Embeddings, neutral: Embeddings
) -> tuple[Scores, Scores, Scores]:
    """Cosine, log-odds and probability of each tag, each [tags] float32.

    Args:
        manifest: The bundle's; its `tagging` says how probabilities come about.
        vector: The sound, [dim].
        texts: The tags, [tags, dim].
        neutral: `NEUTRAL_PROMPTS`, [prompts, dim]; looked at only where the bundle is not calibrated.
    """
    similarities = as_cosines(np.einsum("td,d->t", texts, vector))
    if manifest.tagging is not None:
        logits = log_odds(similarities, manifest.tagging.slope, manifest.tagging.midpoint)
    else:
        against = float(np.einsum("nd,d->n", neutral, vector).max())
        logits = log_odds(similarities, manifest.logit_scale_a, against)
    return similarities, logits, sigmoid(logits)


def log_odds(similarities: NDArray[np.float32], slope: float, midpoint: float) -> NDArray[np.float32]:
    """Log-odds of tags from their cosines, any shape: 0 at the midpoint.

    Example:
        >>> log_odds(np.float32([0.3, 0.5]), slope=20.0, midpoint=0.3).round(3).tolist()
        [0.0, 4.0]
    """
    return ((similarities.astype(np.float64) - midpoint) * slope).astype(np.float32)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of log-odds, any shape, without overflow.

    Example:
        >>> sigmoid(np.float32([-1000, 0, 1000])).tolist()
        [0.0, 0.5, 1.0]
    """
    return (0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))).astype(np.float32)


def validate_threshold(threshold: object, name: str = "threshold") -> float:
    """The threshold, if it is a probability; `name` is the argument's in messages.

    Raises:
        OptionError: If it is not a number from 0 to 1.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.integer | np.floating):
        raise OptionError(f"{name}={threshold!r} is not a probability; give a number from 0 to 1.")
    if not 0 <= threshold <= 1:
        raise OptionError(f"{name}={threshold} is not a probability; give a number from 0 to 1.")
    return float(threshold)
