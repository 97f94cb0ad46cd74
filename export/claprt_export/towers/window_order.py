"""Token orders of the HTSAT towers, as constant index arrays.

The spectrogram image is cut into a grid of tokens, (rows, columns); square for ten seconds, and with fewer rows for the
shorter images that a tower can also be trained on. Swin attends inside windows of 8 x 8 tokens, so this project
keeps the tokens of a stage in *window order* (window by window, row by row inside each) instead of row order: a block
without shift then needs no partitioning at all, a shifted block is one gather in and one gather out, and patch merging
is one gather and a reshape. Everything here is index arithmetic on numpy integers: no weights, no torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
"""Positions to gather from, one for each output token."""

Grid = tuple[int, int]
"""Rows and columns of a token grid."""

# Added to the attention score of two tokens that the cyclic shift has put into one window although they are not
# neighbours. Any value that underflows to exactly 0 in the softmax gives the same result; the -100 of the original
# code leaves exp(-100), a subnormal number in float32, which makes CPUs many times slower in the product that follows.
MASKED_SCORE = -1e4


def window_of(grid: Grid, window: int) -> Grid:
    """Rows and columns of an attention window: the window's side, or the whole axis where that is shorter."""
    return min(window, grid[0]), min(window, grid[1])


def shift_of(grid: Grid, window: int) -> Grid:
    """Rows and columns that a shifted block rolls by: half a window, and nothing along an axis of one window."""
    rows, columns = (window // 2 if length > window else 0 for length in grid)
    return rows, columns


def window_order(grid: Grid, window: int) -> Indices:
    """Row-order position of every token of a grid, listed in window order.

    Example:
        >>> window_order((4, 4), 2).tolist()
        [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    """
    (rows, columns), (height, width) = grid, window_of(grid, window)
    tokens = np.arange(rows * columns).reshape(rows // height, height, columns // width, width)
    return tokens.transpose(0, 2, 1, 3).reshape(-1)


def shift_order(grid: Grid, window: int) -> Indices:
    """Window-order position of every token after the cyclic shift of `shift_of`, listed in window order.

    Gathering with it turns tokens in window order into the shifted windows; gathering the result with its inverse
    (`np.argsort`) turns them back.
    """
    order = window_order(grid, window)
    position = np.argsort(order)
    down, right = shift_of(grid, window)
    rolled = np.roll(np.arange(grid[0] * grid[1]).reshape(grid), (-down, -right), axis=(0, 1)).reshape(-1)
    return position[rolled[order]]


def shift_mask(grid: Grid, window: int) -> NDArray[np.float32]:
    """Scores to add inside each shifted window, [windows, tokens, tokens]: 0 for neighbours, `MASKED_SCORE` otherwise.

    Source: the region numbering of Swin Transformer (Liu et al. 2021, arXiv:2103.14030, figure 4).
    """
    rows, columns = (_regions(length, window, shift) for length, shift in zip(grid, shift_of(grid, window), strict=True))
    height, width = window_of(grid, window)
    region = (rows[:, None] * 3 + columns[None, :]).reshape(-1)[window_order(grid, window)].reshape(-1, height * width)
    different = region[:, :, None] != region[:, None, :]
    return np.where(different, np.float32(MASKED_SCORE), np.float32(0))


def _regions(length: int, window: int, shift: int) -> Indices:
    region = np.zeros(length, dtype=np.int64)
    if shift:
        region[length - window :] = 1
        region[length - shift :] = 2
    return region


def merge_order(grid: Grid, window: int) -> Indices:
    """Window-order positions of the 2 x 2 neighbours that patch merging joins, four for each token of the next stage.

    The four are listed as the published weights expect them: (even row, even column), (odd, even), (even, odd),
    (odd, odd). The tokens of the next stage are in window order again.
    """
    position = np.argsort(window_order(grid, window)).reshape(grid)
    joined = np.stack([position[0::2, 0::2], position[1::2, 0::2], position[0::2, 1::2], position[1::2, 1::2]], axis=-1)
    half = grid[0] // 2, grid[1] // 2
    return joined.reshape(-1, 4)[window_order(half, window)].reshape(-1)


def relative_position_index(window: int, extent: Grid | None = None) -> Indices:
    """Row of the relative-position-bias table for every pair of tokens in a window, [tokens, tokens].

    Args:
        window: side of the window that the table was made for.
        extent: rows and columns of the windows that are used, where they are smaller.
    """
    height, width = extent or (window, window)
    rows, columns = np.divmod(np.arange(height * width), width)
    down = rows[:, None] - rows[None, :] + window - 1
    right = columns[:, None] - columns[None, :] + window - 1
    return down * (2 * window - 1) + right
