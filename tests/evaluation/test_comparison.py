"""Two models on the same sounds."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from claprt.errors import DatasetError
from claprt.evaluation.comparison import compare, exact_p_value
from claprt.evaluation.intervals import share_interval


def answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_newcombes_own_example() -> None:
    """36, 12, 2 and 0 of 50 pairs: 0.2, from 0.0569 to 0.3404 (Newcombe 1998, method 10)."""
    found = compare(*answers(36, 12, 2, 0))
    assert (found.asked, found.only_first, found.only_second) == (50, 12, 2)
    assert found.difference == pytest.approx(0.2)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.0569, 0.3404), abs=5e-5)
    assert json.loads(json.dumps(found.to_dict()))["interval"]["method"] == "Newcombe, paired"


def test_exchanged_models_have_the_opposite_difference() -> None:
    first, second = answers(40, 9, 4, 7)
    one, two = compare(first, second), compare(second, first)
    assert (one.difference, one.p_value) == (-two.difference, two.p_value)
    assert (one.interval.low, one.interval.high) == pytest.approx((-two.interval.high, -two.interval.low))


@pytest.mark.parametrize(("more", "less"), [(0, 0), (1, 0), (7, 2), (2, 7), (30, 41), (400, 320)])
def test_exact_p_value_by_counting(more: int, less: int) -> None:
    total = more + less
    ways = sum(math.comb(total, k) for k in range(total + 1) if abs(2 * k - total) >= abs(more - less))
    assert exact_p_value(more, less) == pytest.approx(ways / 2**total, rel=1e-9)


@pytest.mark.parametrize("shares", [(0.7, 0.12, 0.06, 0.12), (0.9, 0.02, 0.02, 0.06)])
def test_coverage_of_the_interval(shares: tuple[float, ...]) -> None:
    random = np.random.RandomState(0)
    true = shares[1] - shares[2]
    intervals = [compare(*answers(*random.multinomial(300, shares))).interval for _ in range(600)]
    assert 0.93 <= np.mean([found.low <= true <= found.high for found in intervals]) <= 0.98


def test_equal_answers() -> None:
    right = np.arange(60) < 45
    found = compare(right, right)
    assert (found.difference, found.p_value) == (0, 1)
    assert found.interval.low < 0 < found.interval.high
    always = compare(np.ones(60, np.bool_), np.ones(60, np.bool_))
    assert always.interval.high == pytest.approx(1 - share_interval(np.ones(60, np.bool_)).low)


def test_answers_that_cannot_be_compared() -> None:
    for first, second in ((np.ones(3, np.bool_), np.ones(4, np.bool_)), (np.ones(0, np.bool_), np.ones(0, np.bool_))):
        with pytest.raises(DatasetError, match="must be asked the same"):
            compare(first, second)
