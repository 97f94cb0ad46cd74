"""The confusion matrix of a zero-shot classification as a picture, by matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from claprt.evaluation.zero_shot import ZeroShot
from claprt.tasks.timeline.picture import PICTURES, check_picture

__all__ = ["PICTURES", "check_picture", "confusion_picture"]


def confusion_picture(result: ZeroShot, path: Path, title: str) -> None:
    """Write the confusion matrix as a picture.

    Raises:
        OptionError: If the path ends in none of `PICTURES`.
        MissingDependencyError: If matplotlib is not installed.
    """
    check_picture(path)
    from matplotlib.figure import Figure

    count = len(result.labels)
    side = max(4.0, 0.32 * count + 2.2)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = result.confusion / np.maximum(result.confusion.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), result.labels, rotation=90, parse_math=False)
    axes.set_yticks(range(count), result.labels, parse_math=False)
    axes.set_xlabel("given")
    axes.set_ylabel("actual")
    axes.set_title(f"{title}: top-1 {result.top1:.3f}", parse_math=False)
    for row, column in np.argwhere(result.confusion):
        dark = shares[row, column] > 0.5
        axes.text(
            column, row, str(result.confusion[row, column]), ha="center", va="center", color="white" if dark else "black"
        )
    figure.colorbar(image, label="share of the actual class")
    figure.savefig(path, dpi=120)
