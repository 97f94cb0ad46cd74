"""A timeline as a picture, by matplotlib: probabilities by colour, and the events under them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from claprt.errors import MissingDependencyError, OptionError
from claprt.scoring.events import Event
from claprt.system.extras import install_hint

PICTURES = (".png", ".svg", ".pdf")
"""Endings of pictures that can be written."""
_MOST_ROWS = 200
"""Labels that a picture shows; more would be no more readable."""


def check_picture(path: Path, labels: int = 0) -> None:
    """Whether a picture with so many labels could be written there, before the work that it would show is done.

    Raises:
        OptionError: If the path ends in none of `PICTURES`, or there are more labels than a timeline shows.
        MissingDependencyError: If matplotlib is not installed.
    """
    if path.suffix.lower() not in PICTURES or path.is_dir():
        raise OptionError(f"{path} is not a name for a picture; let it end in {', '.join(PICTURES)}.")
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(f"A picture needs matplotlib: {install_hint('evaluate')}.")
    if labels > _MOST_ROWS:
        raise OptionError(f"A picture shows up to {_MOST_ROWS} labels; this timeline has {labels}. Write it as .csv.")


def timeline_picture(
    path: Path,
    *,
    title: str,
    labels: Sequence[str],
    edges_s: NDArray[np.float64],
    probabilities: NDArray[np.float32],
    events: Sequence[Event],
    measure: str = "probability",
) -> None:
    """Write a timeline as a picture: a row for each label, time in seconds along it, events as bars.

    Args:
        path: Where to.
        title: Above the picture.
        labels: Names of the rows.
        edges_s: Begins of the stretches in seconds, and the end of the last, [windows + 1].
        probabilities: [windows, labels].
        events: Of these labels.
        measure: What the colours stand for.

    Raises:
        OptionError: If the path ends in none of `PICTURES`, or there are too many labels.
        MissingDependencyError: If matplotlib is not installed.
    """
    count = len(labels)
    check_picture(path, count)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, max(2.4, 0.42 * count + 1.6)), layout="constrained")
    axes = figure.subplots()
    images = [  # each label has a row of height 1: probabilities in its upper part, events in its lower part
        axes.pcolormesh(edges_s, [row - 0.4, row + 0.2], curve[None], vmin=0, vmax=1, cmap="Blues")
        for row, curve in enumerate(probabilities.T)
    ]
    places = {label: row for row, label in enumerate(labels)}
    for event in events:
        duration = event.offset_s - event.onset_s
        axes.broken_barh([(event.onset_s, duration)], (places[event.label] + 0.22, 0.18), color="tab:red")
    axes.set_yticks(range(count), labels, parse_math=False)
    axes.set_xlim(0, float(edges_s[-1]))
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlabel("seconds")
    axes.set_title(title, parse_math=False)
    figure.colorbar(images[0], label=measure)
    figure.savefig(path, dpi=120)
