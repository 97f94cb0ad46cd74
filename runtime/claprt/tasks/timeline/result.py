"""`Timeline`: probabilities of labels over time, and the events among them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.scoring.classification import Scores
from claprt.scoring.events import Event, EventDetector, EventOptions, in_order
from claprt.scoring.label_scores import ScoreMethod
from claprt.scoring.labels import label_index
from claprt.tasks.timeline.files import audacity_labels, check_output, events_tsv, probabilities_csv
from claprt.tasks.timeline.picture import timeline_picture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """What is heard when in one sound."""

    source: str
    """Path or description of the sound."""
    labels: tuple[str, ...]
    """The labels, in the order given."""
    starts_s: NDArray[np.float64]
    """Start of each window in seconds, [windows] float64."""
    probabilities: NDArray[np.float32]
    """Probability of each label in each window, [windows, labels] float32, between 0 and 1."""
    similarities: NDArray[np.float32]
    """Cosines of each window and each label, [windows, labels] float32, between -1 and 1."""
    embeddings: Embeddings
    """Unit vectors of the windows, [windows, dim] float32."""
    events: tuple[Event, ...]
    """All events, by their onset."""
    window_s: float
    """Length of a window in seconds; of the whole sound where that is shorter."""
    hop_s: float
    """Seconds between the starts of two windows; the last window ends with the sound, and may be closer."""
    duration_s: float
    """Length of the sound in seconds."""
    method: ScoreMethod
    """`tag` where each label has a probability of its own, `classify` where they are shares."""
    calibrated: bool
    """Whether probabilities were calibrated on labelled sounds."""
    options: EventOptions
    """Thresholds, gap and duration of the events."""
    fingerprint: str
    """Of the model: windows are comparable with other vectors of the same fingerprint."""
    model_name: str = ""
    """The bundle's name."""
    warning: str | None = None
    """A message if none of the labels is among the words that the model was trained on, if those are known."""

    @property
    def middles_s(self) -> NDArray[np.float64]:
        """Middle of each window in seconds, [windows] float64: where its probabilities are drawn."""
        return self.starts_s + self.window_s / 2

    @property
    def edges_s(self) -> NDArray[np.float64]:
        """Begins of the stretches that windows stand for, and the end of the last, in seconds, [windows + 1] float64."""
        middles = self.middles_s
        return np.concatenate([[0.0], (middles[1:] + middles[:-1]) / 2, [self.duration_s]])

    def curve(self, label: str | int) -> Scores:
        """Probability of one label over time, [windows] float32.

        Raises:
            OptionError: If there is no such label.
        """
        return self.probabilities[:, label_index(label, self.labels)]

    def find_events(
        self, *, on: float = 0.5, off: float | None = None, min_duration_s: float = 0.0, merge_s: float = 0.0
    ) -> tuple[Event, ...]:
        """Events with other thresholds, without computing anything else.

        Args:
            on: Probability that an event reaches.
            off: Probability below which it has ended; None for 0.8 times `on`.
            min_duration_s: Shortest event, in seconds.
            merge_s: Longest gap between two events of a label that are one, in seconds.

        Raises:
            OptionError: If an option is out of range, or `off` is above `on`.
        """
        options = EventOptions(on=on, off=off, min_duration_s=min_duration_s, merge_s=merge_s)
        detector, found = EventDetector(self.labels, options), list[Event]()
        for begin, middle, row in zip(self.edges_s, self.middles_s, self.probabilities, strict=False):
            found += detector.push(float(begin), float(middle), row)
        return in_order(found + detector.finish(self.duration_s), self.labels)

    def to_csv(self) -> str:
        """Probabilities as CSV: a row for each window, a column for each label."""
        return probabilities_csv(self.labels, self.edges_s, self.probabilities)

    def to_tsv(self) -> str:
        """Events as DESED and `sed_eval` have them: `filename`, `onset`, `offset`, `event_label`."""
        return events_tsv(self.source, self.events)

    def to_audacity(self) -> str:
        """Events as a label track of Audacity."""
        return audacity_labels(self.events)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the timeline to a file, whose ending says what (`claprt.tasks.timeline.files`).

        Args:
            path: Ends in `.json` (everything but the vectors), `.csv` (probabilities), `.tsv` (events), `.txt` (a label
                track of Audacity), or `.png`, `.svg`, `.pdf` (a picture).

        Raises:
            OptionError: If the ending is not known, or a picture would have too many labels.
            MissingDependencyError: If a picture is asked for, and matplotlib is not installed.
        """
        file = Path(path)
        check_output(file, len(self.labels))
        match file.suffix.lower():
            case ".json":
                text = json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"
            case ".csv":
                text = self.to_csv()
            case ".tsv":
                text = self.to_tsv()
            case ".txt":
                text = self.to_audacity()
            case _:
                self._save_picture(file)
                return
        file.write_text(text, encoding="utf-8")

    def _save_picture(self, path: Path) -> None:
        timeline_picture(
            path,
            title=Path(self.source).name,
            labels=self.labels,
            edges_s=self.edges_s,
            probabilities=self.probabilities,
            events=self.events,
            measure="probability" if self.method is ScoreMethod.TAG else "share of the labels",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without vectors."""
        return {
            "source": self.source,
            "duration_s": self.duration_s,
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "scores": str(self.method),
            "calibrated": self.calibrated,
            "labels": list(self.labels),
            "starts_s": self.starts_s.tolist(),
            "probabilities": self.probabilities.tolist(),
            "similarities": self.similarities.tolist(),
            "thresholds": {
                "on": self.options.on,
                "off": self.options.off,
                "min_duration_s": self.options.min_duration_s,
                "merge_s": self.options.merge_s,
            },
            "events": [event.to_dict() for event in self.events],
            "fingerprint": self.fingerprint,
            **({} if self.warning is None else {"warning": self.warning}),
        }

    def __repr__(self) -> str:
        return (
            f"<Timeline {len(self.starts_s)} windows of {self.duration_s:g} s, {len(self.labels)} labels, "
            f"{len(self.events)} events>"
        )
