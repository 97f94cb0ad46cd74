"""Statistics of the quality gate: how many right answers may have been lost, and whether there was anything to lose.

The lowered graph and fp32 answer the same sounds, so they are compared in pairs: only sounds on which the two differ count.
The test is one of non-inferiority: a precision passes if a loss above the limit is excluded, not if no loss was found.
The second would accept whatever is measured on few sounds.

Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
design", Statistics in Medicine 17 (1998), 891-908. Where a sound is asked about several times, the mean square of its
change stands for the share of changed sounds; with one question for each sound the two are the same.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from claprt.arrays import Array

CONFIDENCE = 0.95
"""Of the bound on a loss, one-sided."""
POWER = 0.9
"""Probability that a precision without any loss passes, with `sounds_needed`."""
CHANCE_LIMIT = 0.01
"""Largest p at which right answers are taken for more than chance."""
_PERMUTATIONS = 999


def largest_loss(change: float, changed: float, sounds: int) -> float:
    """Compute the upper confidence bound of a loss (Tango's score bound).

    Args:
        change: mean over the sounds of lowered minus fp32, where 1 is a right answer and 0 a wrong one.
        changed: mean square of the same differences.
        sounds: number of sounds.

    Returns:
        The largest share of right answers that may have been lost, at least `-change`.

    Example:
        >>> round(largest_loss(0, 0, 201), 4)  # no answer changed: z² / (n + z²)
        0.0133
    """
    changed = max(changed, abs(change))
    lost, gained = (changed - change) / 2, (changed + change) / 2
    quantile = NormalDist().inv_cdf(CONFIDENCE)
    low, high = -change, 1.0
    while high - low > 1e-9:
        loss = (low + high) / 2
        if _score(lost, gained, sounds, loss) <= -quantile:
            high = loss
        else:
            low = loss
    return high


def _score(lost: float, gained: float, sounds: int, loss: float) -> float:
    """Compute the standard score of what was observed if `loss` is the true loss."""
    variance = _variance(lost, gained, loss)
    return (lost - gained - loss) * math.sqrt(sounds / variance) if variance > 0 else 0.0


def _variance(lost: float, gained: float, loss: float) -> float:
    """Compute the likeliest variance of one sound's change, if `loss` is the true loss."""
    linear = (2 - lost + gained) * loss - lost - gained
    share_gained = (math.sqrt(linear**2 + 8 * gained * loss * (1 - loss)) - linear) / 4
    return 2 * share_gained + loss * (1 - loss)


def sounds_needed(limit: float, changed: float) -> int:
    """Compute the number of sounds with which a precision without any loss passes with probability `POWER`.

    Args:
        limit: largest share of right answers that may be lost.
        changed: as for `largest_loss`.

    Example:
        >>> [sounds_needed(0.02, changed) for changed in (0, 0.01, 0.02)]
        [133, 378, 563]
    """
    bound, power = NormalDist().inv_cdf(CONFIDENCE), NormalDist().inv_cdf(POWER)
    at_limit = _variance(changed / 2, changed / 2, limit)
    return math.ceil(((bound * math.sqrt(at_limit) + power * math.sqrt(changed)) / limit) ** 2)


def p_of_chance(answers: Array) -> float:
    """Compute the p-value of the right answers if answers had nothing to do with the questions (a permutation test).

    Classes are permuted, not sounds. Vectors of one class are alike, so a tower without any knowledge of the texts is right
    with most sounds of a class or with none; a binomial test over sounds finds that significant too often.

    Args:
        answers: [classes, classes] how often the row's class was answered by the column's; the diagonal is right.

    Returns:
        From 0.001 to 1. Fewer than five classes have too few permutations for `CHANCE_LIMIT`.
    """
    count = len(answers)
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(count), (_PERMUTATIONS, 1)), axis=1)
    as_many = (answers[np.arange(count), orders].sum(1) >= np.trace(answers) - 1e-9).sum()
    return float(1 + as_many) / (1 + _PERMUTATIONS)
