"""Calibration of tags: what labelled sounds say about which cosine makes a tag as likely right as wrong.

A logistic curve over cosines is fitted to all pairs of a sound and a tag (Platt 1999, with his targets, which keep few
right pairs from making the curve a step). What is reported was predicted for sounds that the curve was not fitted on. The
probabilities hold where about as many of the tags that are asked apply as in the labelled set, so that share is kept
beside them, and another can be asked for: log-odds then move by the difference of the shares' log-odds, as after Bayes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from claprt.bundle.manifest import PrecisionRecall, TaggingCalibration
from claprt.errors import DatasetError, OptionError
from claprt.evaluation.dataset import Dataset
from claprt.evaluation.dataset_vectors import dataset_vectors
from claprt.evaluation.progress import Report, no_progress
from claprt.evaluation.zero_shot import DEFAULT_TEMPLATE
from claprt.model.clap import Clap
from claprt.scoring.labels import apply_template, validate_labels
from claprt.scoring.tagging import log_odds

Cosines = NDArray[np.float32]
"""[sounds, tags] float32."""
Truth = NDArray[np.bool_]
"""[sounds, tags] bool, True where a tag applies."""

TEMPLATES = ("{}", DEFAULT_TEMPLATE)
"""Sentences that tags are asked in: people give bare words and sentences, and one curve serves both."""
_PARTS = 5
_LEAST = 10
"""Sounds and right pairs below which nothing is fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Probability of a tag: sigmoid(slope * (cosine - midpoint))."""

    slope: float
    midpoint: float


def calibrate(
    clap: Clap,
    dataset: Dataset,
    *,
    templates: Sequence[str] = TEMPLATES,
    prevalence: float | None = None,
    progress: Report = no_progress,
) -> TaggingCalibration:
    """Ask labelled sounds, and say how cosines become probabilities.

    Args:
        clap: The model.
        dataset: Sounds with labels; captions of a sound are further tags that apply to it.
        templates: Sentences with `{}` for the tag.
        prevalence: Share of right tags among those that will be asked; by default the dataset's.
        progress: Shows progress over the sounds, see `claprt.evaluation.progress`.

    Raises:
        DatasetError: If there are too few sounds or tags, or cosines are no higher for right tags.
        OptionError: If a template has no `{}`, or `prevalence` is not between 0 and 1.
        AudioError: If a sound cannot be embedded.
    """
    names, truth = tags_of(dataset)
    templates = validate_labels(templates, "templates")
    sounds = dataset_vectors(clap, dataset, progress).rows
    text_vectors = [clap.embed_text(apply_template(template, names)) for template in templates]
    cosines = np.concatenate([np.einsum("sd,td->st", sounds, texts) for texts in text_vectors], axis=1)
    truth = np.tile(truth, (1, len(templates)))
    share = float(truth.mean())
    wanted = share if prevalence is None else _checked_share(prevalence)
    moved = _log_odds_of(wanted) - _log_odds_of(share)
    curve = fitted(cosines, truth)
    return TaggingCalibration(
        slope=curve.slope,
        midpoint=float(np.clip(curve.midpoint - moved / curve.slope, -1, 1)),
        prevalence=wanted,
        dataset=dataset.name,
        sounds=len(sounds),
        tags=len(names),
        templates=templates,
        held_out=shares(left_out(cosines, truth) + moved >= 0, truth),
        uncalibrated=shares(cosines * clap.manifest.logit_scale_a >= 0, truth),
    )


def tags_of(dataset: Dataset) -> tuple[tuple[str, ...], Truth]:
    """All labels and captions of a dataset, sorted, and which of them apply to which sound [sounds, tags].

    Raises:
        DatasetError: If there are too few sounds, or fewer than two tags.
    """
    applying = [{*item.captions, *([item.label] if item.label is not None else [])} for item in dataset.items]
    names = tuple(sorted(set[str]().union(*applying)))
    if len(applying) < _LEAST or len(names) < 2:
        raise DatasetError(
            f"{dataset.name} has {len(applying)} sounds with {len(names)} different labels; calibration needs {_LEAST} "
            "sounds and 2 labels at least."
        )
    return names, np.array([[name in of_sound for name in names] for of_sound in applying])


def fitted(cosines: Cosines, truth: Truth) -> Curve:
    """The logistic curve over cosines under which the truth is most likely, by Newton's method.

    Raises:
        DatasetError: If too few pairs are right, or cosines are no higher for right tags than for wrong ones.
    """
    right, wrong = int(truth.sum()), int((~truth).sum())
    if min(right, wrong) < _LEAST:
        raise DatasetError(f"{right} right and {wrong} wrong pairs of a sound and a tag are too few to calibrate on.")
    x = cosines.astype(np.float64).ravel()
    center, spread = float(x.mean()), max(float(x.std()), 1e-9)
    inputs = np.stack([(x - center) / spread, np.ones_like(x)], axis=1)
    targets = np.where(truth.ravel(), (right + 1) / (right + 2), 1 / (wrong + 2))
    slope, offset = _newton(inputs, targets, math.log((right + 1) / (wrong + 1)))
    if not slope > 1e-3:
        raise DatasetError(
            "Right tags have no higher cosines than wrong ones here: these sounds say nothing to this model."
        )
    return Curve(slope=slope / spread, midpoint=center - offset * spread / slope)


def _newton(inputs: NDArray[np.float64], targets: NDArray[np.float64], offset: float) -> tuple[float, float]:
    """Slope and offset of the logistic curve; steps that would make it less likely are halved."""
    weights: NDArray[np.float64] = np.array([0.0, offset], np.float64)
    for _ in range(100):
        shares = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (shares - targets)
        curvature = (inputs * (shares * (1 - shares))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        step: NDArray[np.float64] = np.linalg.solve(curvature, gradient).astype(np.float64)
        while _loss(inputs, targets, weights - step) > _loss(inputs, targets, weights) and np.abs(step).max() > 1e-10:
            step /= 2
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return float(weights[0]), float(weights[1])


def _loss(inputs: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    odds = inputs @ weights
    return float((np.logaddexp(0, odds) - targets * odds).sum())


def left_out(cosines: Cosines, truth: Truth) -> NDArray[np.float32]:
    """Log-odds [sounds, tags] of curves that were fitted without a fifth of the sounds each, for that fifth."""
    found = np.empty_like(cosines)
    for part in range(_PARTS):
        mine = np.arange(len(cosines)) % _PARTS == part
        curve = fitted(cosines[~mine], truth[~mine])
        found[mine] = log_odds(cosines[mine], curve.slope, curve.midpoint)
    return found


def shares(given: Truth, truth: Truth) -> PrecisionRecall:
    """Precision and recall of the tags that were given, over all pairs.

    Example:
        >>> shares(np.array([[True, True, False, False]]), np.array([[True, False, True, False]]))
        PrecisionRecall(precision=0.5, recall=0.5)
    """
    both = int((given & truth).sum())
    return PrecisionRecall(precision=both / max(int(given.sum()), 1), recall=both / max(int(truth.sum()), 1))


def _log_odds_of(share: float) -> float:
    return math.log(share / (1 - share))


def _checked_share(share: object) -> float:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise OptionError(f"prevalence={share!r} is not a share of right tags; give a number between 0 and 1.")
    return float(share)
