"""Source, tagging calibration and numeric bounds of a manifest: what no graph depends on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from claprt._moved import restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the weights came from."""

    name: str
    """Variant, or the file's name for a checkpoint given by path."""
    sha256: str
    """Of the checkpoint file; of the seed's description for untrained weights."""
    layout: Literal["laion", "transformers", "seeded"]
    trained: bool
    """False for seeded weights: the vectors mean nothing."""
    repository: str | None = None
    revision: str | None = None
    licence: str | None = None
    trained_on: str | None = None
    """What the weights have heard, where that is known and matters to whoever evaluates them."""
    trained_words: str = ""
    """Words of the captions that the weights were trained on, as `claprt.scoring.vocabulary.stems` gives them, with spaces
    between them; empty where they are not known."""

    __setstate__ = restore


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRecall:
    """How right a set of tags was, pooled over all pairs of a sound and a tag, each from 0 to 1."""

    precision: float
    """Of the tags that were given, the share that was right."""
    recall: float
    """Of the right tags, the share that was given."""

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        together = self.precision + self.recall
        return 2 * self.precision * self.recall / together if together > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggingCalibration:
    """What `claprt calibrate` found: the probability of a tag is sigmoid(slope * (cosine - midpoint))."""

    slope: float
    midpoint: float
    """Cosine at which a tag is as likely right as wrong."""
    prevalence: float
    """Share of right tags among all pairs of a sound and a tag that the probabilities hold for."""
    dataset: str
    """What was asked."""
    sounds: int
    tags: int
    templates: tuple[str, ...]
    """Sentences with {} that the tags were asked in."""
    held_out: PrecisionRecall
    """At a threshold of 0.5, on sounds that were left out of the fit in turn."""
    uncalibrated: PrecisionRecall
    """Of sigmoid(scale * cosine) at 0.5, on the same sounds."""

    def __post_init__(self) -> None:
        if not 0 < self.slope < 1e6 or not -1 <= self.midpoint <= 1 or not 0 < self.prevalence < 1:
            raise ValueError(f"a slope of {self.slope} at a cosine of {self.midpoint} makes no probabilities of tags")


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Check that a number of a manifest is within its bounds, which are far beyond those of any checkpoint.

    Args:
        name: Of the field, for the message.
        value: The number.
        least: Smallest value.
        most: Largest value.

    Raises:
        ValueError: If it is out of bounds.
    """
    if not least <= value <= most:
        shown = f"{value:.6g}" if abs(value) < 1e300 else "far beyond"  # integers of JSON may be larger than any float
        raise ValueError(f"{name} must be {least} to {most}, and is {shown}")


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, line separators, and halves of characters."""


def escape_controls(facts: Any) -> Any:
    """The same facts with control characters in words and keys written as escapes.

    Raises:
        RecursionError: If they are nested too deep.
    """
    if isinstance(facts, str):
        return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), facts)
    if isinstance(facts, dict):
        return {escape_controls(key): escape_controls(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [escape_controls(value) for value in facts]
    return facts
