"""Token orders of the HTSAT towers, as constant index arrays.

The spectrogram image is cut into a square grid of tokens. Swin attends inside windows of 8 x 8 tokens, so this project
keeps the tokens of a stage in *window order* (window by window, row by row inside each) instead of row order: a block
without shift then needs no partitioning at all, a shifted block is one gather in and one gather out, and patch merging
is one gather and a reshape. Everything here is index arithmetic on numpy integers: no weights, no torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
"""Positions to gather from, one for each output token."""

# Added to the attention score of two tokens that the cyclic shift has put into one window although they are not
# neighbours. Any value that underflows to exactly 0 in the softmax gives the same result; the -100 of the original
# code leaves exp(-100), a subnormal number in float32, which makes CPUs many times slower in the product that follows.
MASKED_SCORE = -1e4


def window_order(side: int, window: int) -> Indices:
    """Row-order position of every token of a `side` x `side` grid, listed in window order.

    Example:
        >>> window_order(4, 2).tolist()
        [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    """
    windows = side // window
    grid = np.arange(side * side).reshape(windows, window, windows, window)
    return grid.transpose(0, 2, 1, 3).reshape(-1)


def shift_order(side: int, window: int, shift: int) -> Indices:
    """Window-order position of every token after a cyclic shift by `shift` rows and columns, listed in window order.

    Gathering with it turns tokens in window order into the shifted windows; gathering the result with its inverse
    (`np.argsort`) turns them back.
    """
    order = window_order(side, window)
    position = np.argsort(order)
    rolled = np.roll(np.arange(side * side).reshape(side, side), (-shift, -shift), axis=(0, 1)).reshape(-1)
    return position[rolled[order]]


def shift_mask(side: int, window: int, shift: int) -> NDArray[np.float32]:
    """Scores to add inside each shifted window, [windows, tokens, tokens]: 0 for neighbours, `MASKED_SCORE` otherwise.

    Source: the region numbering of Swin Transformer (Liu et al. 2021, arXiv:2103.14030, figure 4).
    """
    border = np.zeros(side, dtype=np.int64)
    border[side - window :] = 1
    border[side - shift :] = 2
    region = (border[:, None] * 3 + border[None, :]).reshape(-1)[window_order(side, window)]
    region = region.reshape(-1, window * window)
    different = region[:, :, None] != region[:, None, :]
    return np.where(different, np.float32(MASKED_SCORE), np.float32(0))


def merge_order(side: int, window: int) -> Indices:
    """Window-order positions of the 2 x 2 neighbours that patch merging joins, four for each token of the next stage.

    The four are listed as the published weights expect them: (even row, even column), (odd, even), (even, odd),
    (odd, odd). The tokens of the next stage are in window order again (with that stage's own window, which is never
    larger than its grid).
    """
    position = np.argsort(window_order(side, window)).reshape(side, side)
    half = side // 2
    joined = np.stack([position[0::2, 0::2], position[1::2, 0::2], position[0::2, 1::2], position[1::2, 1::2]], axis=-1)
    return joined.reshape(half * half, 4)[window_order(half, min(window, half))].reshape(-1)


def relative_position_index(window: int) -> Indices:
    """Row of the relative-position-bias table for every pair of tokens in a window, [tokens, tokens]."""
    rows, columns = np.divmod(np.arange(window * window), window)
    down = rows[:, None] - rows[None, :] + window - 1
    right = columns[:, None] - columns[None, :] + window - 1
    return down * (2 * window - 1) + right
