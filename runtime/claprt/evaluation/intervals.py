"""Confidence intervals that are the same on every machine: seeded, and independent of the order of the values.

`RandomState` rather than `Generator`: its streams are frozen (NEP 19), so a report can be reproduced with any numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from claprt.errors import OptionError
from claprt.validation import validate_seed

CONFIDENCE = 0.95
RESAMPLES = 2000
LEAST = 8
"""Values from which a bootstrap interval is given; fewer have too few different resamples."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An interval that holds the true value with a probability of `confidence`, over repeated samples."""

    low: float
    high: float
    confidence: float
    method: str

    def __str__(self) -> str:
        return f"{self.low:.4f} to {self.high:.4f}"

    @property
    def cited(self) -> str:
        """With its confidence, as it stands behind a value in a paper."""
        return f"({self.confidence:.0%} CI {self})"

    def to_dict(self) -> dict[str, float | str]:
        """Plain values for JSON."""
        return {"low": self.low, "high": self.high, "confidence": self.confidence, "method": self.method}


def exact_mean(values: NDArray[np.float64]) -> float:
    """Mean of [n] float64, rounded once, whatever the order."""
    return math.fsum(values) / len(values)


def exact_std(values: NDArray[np.float64], mean: float) -> float:
    """Standard deviation of [n] float64 about their mean, divided by n."""
    return math.sqrt(math.fsum((values - mean) ** 2) / len(values))


def mean_interval(
    values: NDArray[np.float64], *, confidence: float = CONFIDENCE, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Interval of a mean by the studentised bootstrap (Efron and Tibshirani 1993, chapter 12).

    Percentiles of resampled means are too narrow for few values; dividing by each resample's own standard error repairs
    that, and keeps the skewness.

    Args:
        values: [n] float64.
        confidence: Share of samples whose interval holds the true mean.
        seed: Of the resamples.
        resamples: How many.

    Returns:
        None for fewer than 8 values.
    """
    confidence, seed = validate_confidence(confidence), validate_seed(seed)
    method = f"studentised bootstrap, {resamples} resamples"
    n = len(values)
    if n < LEAST:
        return None
    mean = exact_mean(values)
    apart = np.sort(values) - mean
    error = math.sqrt(math.fsum(apart**2) / (n - 1) / n)
    if error == 0:
        return Interval(low=mean, high=mean, confidence=confidence, method=method)
    random = np.random.RandomState(seed)
    ratios: list[NDArray[np.float64]] = []
    rows = max(1, _BLOCK // n)
    for start in range(0, resamples, rows):
        drawn = apart[random.randint(0, n, (min(rows, resamples - start), n))]
        errors = drawn.std(axis=1, ddof=1) / math.sqrt(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios.append(drawn.mean(axis=1) / errors)
    ratio = np.concatenate(ratios)
    lower, upper = np.quantile(ratio[np.isfinite(ratio)], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(low=mean - float(upper) * error, high=mean - float(lower) * error, confidence=confidence, method=method)


def normal_interval(
    value: float, error: float, method: str, confidence: float = CONFIDENCE, low: float = -math.inf
) -> Interval:
    """Interval of a value that is normally distributed.

    Args:
        value: The middle.
        error: Its standard error.
        method: Where that comes from.
        confidence: Of the interval.
        low: What the value cannot be below.
    """
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return Interval(low=max(low, value - half), high=value + half, confidence=confidence, method=method)


def share_interval(hits: NDArray[np.bool_], *, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's interval of a share of independent hits [n]."""
    n, share = len(hits), float(hits.mean())
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5 / (1 + z * z / n)
    return Interval(low=max(0.0, middle - half), high=min(1.0, middle + half), confidence=confidence, method="Wilson")


def validate_confidence(confidence: object) -> float:
    """A confidence as it was given.

    Raises:
        OptionError: If it is not a number between 0 and 1.
    """
    if isinstance(confidence, bool) or not isinstance(confidence, int | float | np.floating) or not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r} is not between 0 and 1; 0.95 is usual.")
    return float(confidence)
