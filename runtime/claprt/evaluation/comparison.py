"""Two models on the same sounds: how many more the one gets right, and whether that may be chance.

Sources: the exact test of McNemar (1947), two-sided; the interval of a difference of paired shares is Newcombe's method 10
(Statistics in Medicine 17, 1998), from two intervals of Wilson and the correlation of the pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.errors import DatasetError
from claprt.evaluation.intervals import CONFIDENCE, Interval, share_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The difference between two models, from the answers to the same questions."""

    asked: int
    only_first: int
    """Answers that only the first model got right."""
    only_second: int
    difference: float
    """Share of right answers of the first model less that of the second."""
    interval: Interval
    p_value: float
    """How probable at least so uneven a split of the answers on which they differ is, if both are equally good."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "asked": self.asked,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "difference": self.difference,
            "interval": self.interval.to_dict(),
            "p_value": self.p_value,
        }


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_], *, confidence: float = CONFIDENCE) -> Comparison:
    """Compare two models.

    Args:
        first: Whether the first model's answers are right, [n] bool.
        second: The same of the second, to the same questions.
        confidence: Of the interval.

    Raises:
        DatasetError: If there are no answers, or not as many of both.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise DatasetError(
            f"Answers {list(first.shape)} and {list(second.shape)} cannot be compared; both models must be asked the same, "
            "and something."
        )
    more, less = int((first & ~second).sum()), int((second & ~first).sum())
    return Comparison(
        asked=len(first),
        only_first=more,
        only_second=less,
        difference=(more - less) / len(first),
        interval=_interval(first, second, confidence),
        p_value=exact_p_value(more, less),
    )


def exact_p_value(more: int, less: int) -> float:
    """The two-sided probability of a split at least as uneven as this one, where both sides are equally probable.

    Example:
        >>> exact_p_value(5, 0), exact_p_value(3, 3)
        (0.0625, 1.0)
    """
    differing = more + less
    logarithms = [
        math.lgamma(differing + 1) - math.lgamma(k + 1) - math.lgamma(differing - k + 1) - differing * math.log(2)
        for k in range(min(more, less) + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logarithms)))


def _interval(first: NDArray[np.bool_], second: NDArray[np.bool_], confidence: float) -> Interval:
    one, two = (share_interval(answers, confidence=confidence) for answers in (first, second))
    p, q = float(first.mean()), float(second.mean())
    related = _correlation(first, second)

    def reach(down: float, up: float) -> float:
        return math.sqrt(max(0.0, down**2 - 2 * related * down * up + up**2))

    return Interval(
        low=p - q - reach(p - one.low, two.high - q),
        high=p - q + reach(one.high - p, q - two.low),
        confidence=confidence,
        method="Newcombe, paired",
    )


def _correlation(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Phi of the two answers, with Newcombe's correction for continuity; 0 where one model is always right or wrong."""
    n = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    more, less = int((first & ~second).sum()), int((second & ~first).sum())
    margins = (both + more) * (less + neither) * (both + less) * (more + neither)
    if margins == 0:
        return 0.0
    product = both * neither - more * less
    return (max(product - n / 2, 0) if product > 0 else product) / math.sqrt(margins)
