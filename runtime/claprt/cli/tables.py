"""Tables of cosines that fit the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from claprt.system.terminal import cells, fit, printable

_HEAD = 24
_NAME = 40
_WIDTH = 100


def cosine_table(
    rows: Sequence[str], names: Sequence[str] | None, cosines: NDArray[np.float32], width: int | None = None
) -> str:
    """Cosines [rows, columns] under the columns' names, or under numbers where these are long.

    Args:
        rows: names of the rows, usually files.
        names: names of the columns; None where they are the rows, which are then numbered.
        cosines: [rows, columns].
        width: columns of the terminal; what does not fit beside each other is put below. None for any width.

    Example:
        >>> print(cosine_table(["a.wav"], ["rain", "dog"], np.float32([[0.5, -0.25]])))
               rain    dog
        a.wav  +0.500  -0.250
    """
    numbered = names is None
    heads = _heads(len(rows) if names is None else names, (width or _WIDTH) // 2)
    places = [max(6, cells(head)) for head in heads]
    labels = [f"{f'[{row}]':{len(heads[-1])}} {name}" if numbered else name for row, name in enumerate(rows, 1)]
    room = min(max(map(cells, map(printable, labels))), _NAME, max(8, (width or 200) // 2))
    first = len(heads[-1]) + 1 if numbered else 0  # a long path is cut behind its number
    shown = [label[:first] + fit(label[first:], max(1, room - first), keep="end") for label in labels]
    lines: list[str] = []
    for start, end in _parts(places, None if width is None else width - room):
        lines += [""] if lines else []
        lines.append(_line(" " * room, [fit(head, place) for head, place in zip(heads, places, strict=True)][start:end]))
        for label, values in zip(shown, cosines, strict=True):
            cosine = [f"{value:<+{place}.3f}" for value, place in zip(values, places, strict=True)]
            lines.append(_line(label, cosine[start:end]))
    if names is not None and heads[0] != printable(names[0]):
        lines += ["", *(f"{head} {printable(name)}" for head, name in zip(heads, names, strict=True))]
    return "\n".join(lines)


def _heads(names: Sequence[str] | int, room: int) -> list[str]:
    """The names themselves if they are short and fit beside each other in half a line, else numbers."""
    if not isinstance(names, int):
        shown = [printable(name) for name in names]
        if max(map(cells, shown)) <= _HEAD and sum(max(6, cells(name)) + 2 for name in shown) <= room:
            return shown
    count = names if isinstance(names, int) else len(names)
    return [f"[{number}]" for number in range(1, count + 1)]


def _line(label: str, values: Sequence[str]) -> str:
    return "  ".join([label, *values]).rstrip()


def _parts(places: Sequence[int], room: int | None) -> list[tuple[int, int]]:
    """Ranges of columns that fit beside each other, at least one each."""
    parts: list[tuple[int, int]] = []
    start, used = 0, 0
    for column, place in enumerate(places):
        if room is not None and column > start and used + place + 2 > room:
            parts.append((start, column))
            start, used = column, 0
        used += place + 2
    return [*parts, (start, len(places))]
