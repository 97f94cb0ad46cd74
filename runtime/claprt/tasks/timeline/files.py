"""Probabilities and events as text, for other programs; and the endings of the files that a timeline can be written to.

| ending                 | holds                                                                                    |
|------------------------|------------------------------------------------------------------------------------------|
| `.json`                | everything but the vectors                                                               |
| `.csv`                 | a row for each window: begin and end of what it stands for, and the probabilities        |
| `.tsv`                 | a row for each event: `filename`, `onset`, `offset`, `event_label`, as `sed_eval` has it |
| `.txt`                 | a label track of Audacity (File, Import, Labels)                                         |
| `.png`, `.svg`, `.pdf` | a picture, by matplotlib                                                                 |
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from claprt.errors import OptionError
from claprt.scoring.events import Event
from claprt.tasks.timeline.picture import PICTURES, check_picture

TEXTS = (".json", ".csv", ".tsv", ".txt")
"""Endings of texts that a timeline can be written to."""


def probabilities_csv(labels: Sequence[str], edges_s: NDArray[np.float64], probabilities: NDArray[np.float32]) -> str:
    """A header, and a row for each window.

    Args:
        labels: Names of the columns.
        edges_s: Begins of the stretches in seconds, and the end of the last, [windows + 1].
        probabilities: [windows, labels].
    """
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["begin_s", "end_s", *labels])
    edges = edges_s.tolist()
    for begin, end, row in zip(edges[:-1], edges[1:], probabilities.tolist(), strict=True):
        rows.writerow([f"{begin:.3f}", f"{end:.3f}", *(f"{probability:.6f}" for probability in row)])
    return out.getvalue()


def events_tsv(source: str, events: Iterable[Event]) -> str:
    """A header, and a row for each event; `source` is the path of the sound."""
    name = _one_line(Path(source).name)
    rows = ["filename\tonset\toffset\tevent_label"]
    rows += [f"{name}\t{event.onset_s:.3f}\t{event.offset_s:.3f}\t{_one_line(event.label)}" for event in events]
    return "\n".join(rows) + "\n"


def audacity_labels(events: Iterable[Event]) -> str:
    r"""Onset, offset and label of each event, with tabs between them.

    Example:
        >>> audacity_labels([Event(label="a dog", onset_s=0.5, offset_s=2, peak=0.9, peak_s=1)])
        '0.500000\t2.000000\ta dog\n'
    """
    return "".join(f"{event.onset_s:.6f}\t{event.offset_s:.6f}\t{_one_line(event.label)}\n" for event in events)


def check_output(path: Path, labels: int) -> None:
    """Whether a timeline with so many labels could be written there, before it is computed.

    Raises:
        OptionError: If the ending is not known, or a picture would have too many labels.
        MissingDependencyError: If it is a picture's, and matplotlib is not installed.
    """
    if path.suffix.lower() in PICTURES:
        check_picture(path, labels)
    elif path.suffix.lower() not in TEXTS or path.is_dir():
        raise OptionError(f"{path} is not a name for a timeline; let it end in {', '.join((*TEXTS, *PICTURES))}.")


def _one_line(text: str) -> str:
    return " ".join(text.split())
