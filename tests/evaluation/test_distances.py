"""Distances of sets against values by hand, scipy's square root of matrices, brute force, and what theory says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from claprt.errors import ArrayError, DatasetError
from claprt.evaluation.intervals import normal_interval, share_interval
from claprt.evaluation.scores.distances.extrapolation import extrapolate
from claprt.evaluation.scores.distances.frechet import frechet
from claprt.evaluation.scores.distances.gaussians import Gaussian, gaussian_of, gaussian_of_rows, gaussian_of_sounds
from claprt.evaluation.scores.distances.kernel import kernel_distance, median_distance
from claprt.evaluation.scores.distances.neighbours import neighbours
from claprt.evaluation.scores.distances.vector_sets import VectorSet, vector_set

Rows = NDArray[np.float64]


def rows_of(count: int, dim: int, seed: int, *, scale: float = 1.0, shift: float = 0.0) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, dim)) * scale + shift


def set_of(rows: Rows, owner: list[int] | None = None) -> VectorSet:
    sounds = len(rows) if owner is None else owner[-1] + 1
    return vector_set(rows, [f"sound {number}" for number in range(sounds)], owner)


def gaussian(mean: Any, covariance: Any) -> Gaussian:
    return Gaussian(mean=np.array(mean, np.float64), covariance=np.array(covariance, np.float64))


# Fréchet


def test_two_gaussians_of_known_distance() -> None:
    """Diagonal covariances: |3, 4|² + (2 − 1)² + (3 − 3)² = 26."""
    found = frechet(gaussian([3, 4], np.diag([4, 9])), gaussian([0, 0], np.diag([1, 9])))
    assert found.distance == pytest.approx(26, abs=1e-12)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = [gaussian(turn @ side.mean, turn @ side.covariance @ turn.T) for side in (found.candidate, found.reference)]
    assert frechet(*turned).distance == pytest.approx(26, abs=1e-12)


def test_scipys_square_root() -> None:
    """And a distance that is the same both ways, and larger by the square of a common factor."""
    linalg = pytest.importorskip("scipy.linalg", reason="needs scipy, which comes with scikit-learn")
    for seed in range(5):
        first = rows_of(90, 24, seed, scale=0.3) * np.linspace(0.1, 2, 24)
        second = rows_of(70, 24, seed + 9, scale=0.4, shift=0.1) @ np.linalg.qr(rows_of(24, 24, seed + 20))[0]
        one, two = gaussian_of_rows(first), gaussian_of_rows(second)
        root = linalg.sqrtm(one.covariance @ two.covariance).real
        expected = ((one.mean - two.mean) ** 2).sum() + np.trace(one.covariance + two.covariance - 2 * root)
        assert frechet(one, two).distance == pytest.approx(expected, rel=1e-10)
        assert frechet(two, one).distance == pytest.approx(expected, rel=1e-10)
        scaled = frechet(gaussian_of_rows(3 * first), gaussian_of_rows(3 * second)).distance
        assert scaled == pytest.approx(9 * expected, rel=1e-10)


@pytest.mark.parametrize("count", [2, 20, 200])
def test_a_set_has_no_distance_from_itself(count: int) -> None:
    """Whether it has fewer vectors than dimensions or more."""
    one = gaussian_of_rows(rows_of(count, 64, 3, shift=0.2))
    assert frechet(one, one).distance == pytest.approx(0, abs=1e-9)


def test_fewer_vectors_than_dimensions() -> None:
    """Sets in planes that are at right angles: nothing is shared, so the spreads add up."""
    first, second = np.zeros((5, 8)), np.zeros((6, 8))
    first[:, :2], second[:, 2:4] = rows_of(5, 2, 0), rows_of(6, 2, 1)
    one, two = gaussian_of_rows(first), gaussian_of_rows(second)
    expected = ((one.mean - two.mean) ** 2).sum() + np.trace(one.covariance) + np.trace(two.covariance)
    assert frechet(one, two).distance == pytest.approx(expected, rel=1e-12)


def test_shares_add_up_to_the_distance() -> None:
    reference = gaussian_of_rows(rows_of(300, 12, 1))
    candidates = rows_of(120, 12, 2, scale=1.4, shift=0.3)
    candidates[7] += 9
    vectors = set_of(candidates)
    found = frechet(gaussian_of(vectors), reference)
    shares = found.shares(vectors)
    assert shares.sum() == pytest.approx(found.distance, rel=1e-9)
    assert shares.argmax() == 7
    windows = set_of(candidates, np.repeat(np.arange(40), 3).tolist())
    assert found.shares(windows) == pytest.approx(shares.reshape(40, 3).sum(1))
    few = set_of(candidates[:5])
    lacking = frechet(gaussian_of(few), reference)
    assert 0 < few.per_sound(lacking.shares(few)).sum() < lacking.distance


@pytest.mark.seconds
def test_intervals_of_a_distance_hold_it_as_often_as_they_state() -> None:
    """Two Gaussians whose distance is known; 400 samples, so the share has a standard error of 1.1 %."""
    dim, held = 4, 0
    truth = dim * (0.2 - 0.1) ** 2 + dim * 0.05**2
    for seed in range(400):
        first, second = (
            set_of(rows_of(400, dim, seed, scale=0.2)),
            set_of(rows_of(400, dim, seed + 999, scale=0.1, shift=0.05)),
        )
        found = frechet(gaussian_of(first), gaussian_of(second))
        interval = normal_interval(found.distance, found.standard_error(first, second), "")
        held += interval.low <= truth <= interval.high
    assert 0.92 <= held / 400 <= 0.98


def test_the_distance_of_infinitely_many() -> None:
    """Drawn without replacement it loses the excess of few sounds; with replacement, as fadtk draws, it keeps it."""
    reference = gaussian(np.zeros(16), np.eye(16) * 0.01)
    truth = 16 * (0.2 - 0.1) ** 2
    plain, without, having = (np.mean(column) for column in zip(*[
        (
            frechet(gaussian_of_rows(rows), reference).distance,
            extrapolate(rows, reference, seed=seed).distance,
            extrapolate(np.repeat(rows, 6, axis=0), reference, seed=seed, with_replacement=True).distance,
        )
        for seed in range(30)
        for rows in [rows_of(100, 16, seed, scale=0.2)]
    ], strict=True))  # fmt: skip
    assert plain - truth > 0.015
    assert abs(without - truth) < 0.007
    assert having - truth > 0.012


def test_the_line_of_infinitely_many() -> None:
    rows, reference = rows_of(80, 6, 0), gaussian(np.zeros(6), np.eye(6))
    line = extrapolate(rows, reference, seed=3)
    assert line == extrapolate(rows, reference, seed=3)
    assert line != extrapolate(rows, reference, seed=4)
    sizes, distances = zip(*line.points, strict=True)
    assert (sizes[0], sizes[-1], len(sizes)) == (20, 80, 25)
    assert distances[-1] == pytest.approx(frechet(gaussian_of_rows(rows), reference).distance, rel=1e-9)
    slope, distance = np.polyfit(1 / np.array(sizes), np.array(distances), 1)
    assert (line.slope, line.distance) == pytest.approx((slope, distance), rel=1e-6)


def test_means_that_are_rounded_like_fadtks() -> None:
    """Against its definition: mean and scatter of each file, merged; on 16-bit vectors."""
    rows = rows_of(12, 5, 0, scale=0.1).astype(np.float16)
    vectors = set_of(rows.astype(np.float64), [0] * 4 + [1] * 2 + [2] * 6)
    found = gaussian_of_sounds(vectors)
    parts = [rows[:4], rows[4:6], rows[6:]]
    means = np.array([part.mean(axis=0) for part in parts], np.float64)
    weights = np.array([4, 2, 6])
    assert found.mean == pytest.approx((weights[:, None] * means).sum(0) / 12, abs=1e-12)
    scatter = sum(np.cov(part.astype(np.float64), rowvar=False) * (len(part) - 1) for part in parts)
    apart = means - found.mean
    scatter = scatter + (weights[:, None, None] * apart[:, :, None] * apart[:, None, :]).sum(0)
    assert found.covariance == pytest.approx(scatter / 11, abs=1e-12)
    with pytest.raises(DatasetError, match="sound 1 has one window, for which fadtk's statistics are NaN"):
        gaussian_of_sounds(set_of(rows[:4].astype(np.float64), [0, 0, 0, 1]))


# kernel


def brute_force_kernel(first: Rows, second: Rows, bandwidth: float) -> float:
    def mean(one: Rows, two: Rows, *, same: bool) -> float:
        values = [
            np.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2 + 1e-8))
            for i, a in enumerate(one)
            for j, b in enumerate(two)
            if not (same and i == j)
        ]
        return float(np.mean(values))

    return 100 * (mean(first, first, same=True) + mean(second, second, same=True) - 2 * mean(first, second, same=False))


@pytest.mark.parametrize("own", [False, True])
def test_kernel_distance_by_brute_force(*, own: bool) -> None:
    first, second = rows_of(14, 3, 0), rows_of(11, 3, 1, shift=0.5)
    found = kernel_distance(set_of(first), set_of(second), bandwidth_of_candidate=own)
    chosen = second if own else first
    distances = sorted(np.linalg.norm(a - b) for i, a in enumerate(chosen) for b in chosen[:i])
    assert found.bandwidth == pytest.approx(distances[(len(distances) - 1) // 2])
    assert found.distance == pytest.approx(brute_force_kernel(first, second, found.bandwidth), rel=1e-9)
    left = brute_force_kernel(first, np.delete(second, 4, axis=0), found.bandwidth)
    assert found.shares[4] == pytest.approx(found.distance - left, rel=1e-6)
    windows = set_of(second[:9], [0, 0, 0, 1, 1, 1, 1, 2, 2])
    of_sounds = kernel_distance(set_of(first), windows)
    left = brute_force_kernel(first, np.delete(second[:9], range(3, 7), axis=0), of_sounds.bandwidth)
    assert of_sounds.shares[1] == pytest.approx(of_sounds.distance - left, rel=1e-6)


def test_kernel_distance_is_unbiased() -> None:
    """Of samples of one distribution it is 0 in the mean, and as often below as above."""
    found = np.array(
        [kernel_distance(set_of(rows_of(20, 4, s)), set_of(rows_of(30, 4, s + 500))).distance for s in range(200)]
    )
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(200)
    assert 0.3 < (found < 0).mean() < 0.8


def test_the_median_of_many_distances() -> None:
    for count in (2, 3, 50, 700):
        rows = rows_of(count, 3, count)
        distances = np.sort(np.linalg.norm(rows[:, None] - rows, axis=2)[np.triu_indices(count, 1)])
        assert median_distance(rows) == pytest.approx(distances[(len(distances) - 1) // 2], rel=1e-9)
    same = np.ones((9, 4))
    assert median_distance(same) == 0
    with pytest.raises(DatasetError, match="have the same vector"):
        kernel_distance(set_of(same), set_of(rows_of(5, 4, 0)))


# neighbours


def test_neighbours_by_brute_force() -> None:
    first, second, nearest = rows_of(40, 3, 0), rows_of(35, 3, 1, scale=1.3, shift=0.4), 3
    found = neighbours(first, second, nearest=nearest)

    def radius(rows: Rows, place: int) -> float:
        return float(sorted(np.linalg.norm(rows - rows[place], axis=1))[nearest])

    def inside(rows: Rows, place: int, point: Rows) -> bool:
        return float(np.linalg.norm(rows[place] - point)) < radius(rows, place)

    balls = [[inside(first, place, point) for place in range(40)] for point in second]
    assert found.precision == np.mean([any(row) for row in balls])
    assert found.density == pytest.approx(np.mean([sum(row) for row in balls]) / nearest)
    assert found.coverage == np.mean([any(row[place] for row in balls) for place in range(40)])
    assert found.recall == np.mean([any(inside(second, place, point) for place in range(35)) for point in first])
    same = neighbours(first, first)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    far = neighbours(first, first + 100)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_wilsons_interval() -> None:
    """8 of 10: 0.490 to 0.943 (Brown, Cai and DasGupta 2001 have the formula)."""
    interval = share_interval(np.arange(10) < 8)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share_interval(np.ones(10, np.bool_)).high == pytest.approx(1, abs=1e-12)


# sets that cannot be compared


def test_too_few_vectors() -> None:
    one = set_of(rows_of(1, 4, 0))
    with pytest.raises(DatasetError, match="needs two sounds at least"):
        gaussian_of(one)
    with pytest.raises(DatasetError, match="candidates are 1 vectors; a kernel distance needs two"):
        kernel_distance(set_of(rows_of(3, 4, 0)), one)
    with pytest.raises(DatasetError, match="reference are 5 vectors; precision and recall with 5 neighbours need 6"):
        neighbours(rows_of(5, 4, 0), rows_of(9, 4, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_no_numbers(value: float) -> None:
    rows = rows_of(4, 3, 0)
    rows[2, 1] = value
    with pytest.raises(ArrayError, match="1 of 4 vectors hold NaN or infinity, the first of sound 2"):
        set_of(rows)
    with pytest.raises(ArrayError, match=r"\[3, dim\]; \[4, 3\] was given"):
        vector_set(rows, ["a", "b", "c"])
    with pytest.raises(ArrayError, match="vectors of 3 numbers, the reference of 4"):
        frechet(gaussian_of_rows(rows_of(5, 3, 0)), gaussian_of_rows(rows_of(5, 4, 0)))
