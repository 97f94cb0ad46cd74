"""Windows, filling, crops: deterministic, gapless, and LAION's where they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claprt.audio.windows import center_start, cut_windows, fusion_starts, pad_to, random_start, resize_time


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    window=st.integers(1, 20),
    hop=st.integers(1, 20),
    tolerance=st.integers(1, 5),
)
def test_windows_cover_every_sample(sizes: list[int], window: int, hop: int, tolerance: int) -> None:
    hop = min(hop, window)
    clip = np.arange(sum(sizes), dtype=np.float32)
    blocks = np.split(clip, np.cumsum(sizes)[:-1])
    found = list(cut_windows(blocks, window, hop, tolerance))
    seen = np.concatenate([part for _, part in found]) if found else np.empty(0)
    assert set(seen) == set(clip)
    for start, part in found:
        assert np.array_equal(part, clip[start : start + part.size])
        assert part.size == min(clip.size, window) or window < part.size < window + tolerance
    starts = [start for start, _ in found]
    assert starts == sorted(set(starts))
    assert starts[:-1] == [hop * index for index in range(len(starts) - 1)]


@given(samples=st.integers(1, 200), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_windows_do_not_depend_on_blocks(samples: int, cuts: list[int]) -> None:
    clip = np.arange(samples, dtype=np.float32)
    blocks = np.split(clip, sorted(min(cut, samples) for cut in cuts))
    whole, split = list(cut_windows([clip], 17, 9, 3)), list(cut_windows(blocks, 17, 9, 3))
    assert [start for start, _ in whole] == [start for start, _ in split]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(whole, split, strict=True))


@pytest.mark.parametrize(
    ("samples", "starts", "last"),
    [
        (1, [0], 1),
        (479_999, [0], 479_999),
        (480_000, [0], 480_000),
        (480_001, [0], 480_001),
        (480_479, [0], 480_479),
        (480_480, [0, 480], 480_000),
        (960_000, [0, 480_000], 480_000),
        (960_479, [0, 480_000], 480_479),
        (960_480, [0, 480_000, 480_480], 480_000),
    ],
)
def test_windows_of_ten_seconds(samples: int, starts: list[int], last: int) -> None:
    found = list(cut_windows([np.zeros(samples, np.float32)], 480_000, 480_000, tolerance=480))
    assert [start for start, _ in found] == starts
    assert found[-1][1].size == last


def test_no_samples_give_no_window() -> None:
    assert list(cut_windows([np.empty(0, np.float32)], 10, 10)) == []


@pytest.mark.parametrize(
    ("size", "repeatpad", "repeat", "pad"),
    [
        (3, [1, 2, 3], [1, 2, 3], [1, 2, 3]),
        (5, [1, 2, 3, 0, 0], [1, 2, 3, 1, 2], [1, 2, 3, 0, 0]),
        (6, [1, 2, 3, 1, 2, 3], [1, 2, 3, 1, 2, 3], [1, 2, 3, 0, 0, 0]),
        (8, [1, 2, 3, 1, 2, 3, 0, 0], [1, 2, 3, 1, 2, 3, 1, 2], [1, 2, 3, 0, 0, 0, 0, 0]),
    ],
)
def test_fill(size: int, repeatpad: list[int], repeat: list[int], pad: list[int]) -> None:
    clip = np.array([1, 2, 3], np.float32)
    assert pad_to(clip, size, "repeatpad").tolist() == repeatpad
    assert pad_to(clip, size, "repeat").tolist() == repeat
    assert pad_to(clip, size, "pad").tolist() == pad


def test_center() -> None:
    assert [center_start(samples, 10) for samples in (10, 11, 12, 30)] == [0, 0, 1, 10]


def test_random_start_is_the_draw_of_numpys_global_state() -> None:
    for seed in (0, 7, 2**32 - 1):
        np.random.seed(seed)
        expected = np.random.randint(0, 1_000_000 - 480_000 + 1)
        assert random_start(1_000_000, 480_000, seed) == expected


@pytest.mark.parametrize("total", [1002, 1003, 1004, 1301, 5000])
def test_fusion_starts_with_a_seed(total: int) -> None:
    """As LAION's code draws them."""
    for seed in (0, 5):
        np.random.seed(seed)
        thirds = np.array_split(list(range(total - 1001 + 1)), 3)
        thirds = [third if len(third) else [0] for third in thirds]
        assert fusion_starts(total, 1001, seed) == tuple(np.random.choice(third) for third in thirds)


@pytest.mark.parametrize(
    ("total", "starts"),
    [(1002, (0, 1, 0)), (1003, (0, 1, 2)), (1004, (0, 2, 3)), (1301, (50, 150, 250)), (5000, (666, 2000, 3333))],
)
def test_fusion_starts_without_a_seed(total: int, starts: tuple[int, int, int]) -> None:
    """The middles of the thirds."""
    assert fusion_starts(total, 1001, None) == starts


@pytest.mark.parametrize("total", [1002, 1500, 2002, 7777])
def test_shrink_keeps_constants_and_lines(total: int) -> None:
    """Weights sum to one; a straight line stays straight away from the ends."""
    line = np.linspace(-80, 0, total, dtype=np.float32)[:, None].repeat(2, axis=1)
    for antialias in (True, False):
        assert np.allclose(resize_time(np.full((total, 3), -42.0, np.float32), 1001, antialias=antialias), -42.0, atol=1e-4)
        shrunk = resize_time(line, 1001, antialias=antialias)
        assert shrunk.shape == (1001, 2)
        ideal = np.linspace(-80, 0, total)[0] + 80 / (total - 1) * ((np.arange(1001) + 0.5) * total / 1001 - 0.5)
        assert np.abs(shrunk[20:-20, 0] - ideal[20:-20]).max() < 0.01


def test_antialiasing_averages_and_plain_reading_does_not() -> None:
    spike = np.zeros((4004, 1), np.float32)
    spike[2] = 1.0
    assert 0 < resize_time(spike, 1001, antialias=True)[0, 0] < 0.5
    assert resize_time(spike, 1001, antialias=False)[0, 0] == pytest.approx(0.5)
