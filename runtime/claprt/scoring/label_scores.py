"""Probabilities of labels for a vector, in one of two ways: those of `tag`, and those of `classify`.

- `tag`: each label by itself, calibrated where the bundle is, else against neutral prompts. Several labels, or none, may be
  heard at a time. This is what events are made of by default.
- `classify`: shares among the labels, which sum to 1. Something is always heard, so labels for everything else go in as
  `background`: they take their share, and have no events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.bundle.manifest import Manifest
from claprt.errors import OptionError
from claprt.scoring.classification import Scores, score_labels
from claprt.scoring.labels import apply_template, validate_labels
from claprt.scoring.tagging import NEUTRAL_PROMPTS, tag_scores
from claprt.scoring.vocabulary import warning


class ScoreMethod(StrEnum):
    """How a label's probability comes about."""

    TAG = "tag"
    """Each label by itself, as `claprt.tag`."""
    CLASSIFY = "classify"
    """Shares among all labels, as `claprt.classify`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """Labels, and how they are scored: checked, and not yet embedded."""

    labels: tuple[str, ...]
    background: tuple[str, ...] = ()
    """Labels that take part in `classify` and have no events."""
    method: ScoreMethod = ScoreMethod.TAG
    template: str | None = None

    @property
    def sentences(self) -> list[str]:
        """All texts to be embedded: labels and background, in the template, then the neutral prompts of `tag`."""
        texts = apply_template(self.template, [*self.labels, *self.background])
        return [*texts, *(NEUTRAL_PROMPTS if self.method is ScoreMethod.TAG else ())]


def label_options(
    labels: Sequence[str],
    background: Sequence[str] = (),
    method: str = ScoreMethod.TAG,
    template: str | None = None,
) -> LabelOptions:
    """Check the options of labels.

    Args:
        labels: Any words or sentences.
        background: Labels for everything else; for `classify` alone.
        method: A `ScoreMethod`.
        template: A sentence with `{}` for the label, or None.

    Raises:
        OptionError: If there are no labels, one occurs twice, the method is not known, there is a background that has no
            use, or the template lacks `{}`.
        TextError: If a label is empty or not a string.
    """
    if method not in tuple(ScoreMethod):
        raise OptionError(f"scores={method!r} is not known; choose one of {', '.join(ScoreMethod)}.")
    names = validate_labels(labels)
    others = validate_labels(background, "background") if len(background) else ()
    if others and method == ScoreMethod.TAG:
        raise OptionError('background has no use with scores="tag", where no label takes from another; use "classify".')
    validate_labels([*names, *others])
    apply_template(template, names)
    return LabelOptions(labels=names, background=others, method=ScoreMethod(method), template=template)


class LabelScorer:
    """Scores of labels, one vector after the other."""

    def __init__(self, manifest: Manifest, options: LabelOptions, texts: Embeddings) -> None:
        """Take the vectors of `options.sentences`, [sentences, dim]."""
        self.options, self._manifest = options, manifest
        count = len(options.labels) + len(options.background)
        self._texts, self._neutral = texts[:count], texts[count:]
        self.calibrated = options.method is ScoreMethod.TAG and manifest.tagging is not None
        """Whether probabilities were calibrated on labelled sounds."""
        self.warning = warning(manifest, [*options.labels, *options.background])
        """A message if none of the labels is among the words that the model was trained on, if those are known."""

    def __call__(self, vector: Embedding) -> tuple[Scores, Scores]:
        """Cosines and probabilities of the labels, each [labels] float32, for a vector [dim]."""
        if self.options.method is ScoreMethod.TAG:
            similarities, _, probabilities = tag_scores(self._manifest, vector, self._texts, self._neutral)
        else:
            similarities, _, probabilities = score_labels(vector, self._texts, self._manifest.logit_scale_a)
        count = len(self.options.labels)
        return similarities[:count].astype(np.float32), probabilities[:count].astype(np.float32)
