"""Labels along a sound: windows in, scores and events out. A finished sound and a stream take the same steps.

A window's probabilities are taken to hold around its middle: from halfway to the middle of the window before, or from the
begin of the sound, to halfway to that of the window after, or to the end of the sound.
"""

from __future__ import annotations

from dataclasses import dataclass

from claprt.arrays import Embedding
from claprt.scoring.classification import Scores
from claprt.scoring.events import Event, EventDetector, EventOptions
from claprt.scoring.label_scores import LabelScorer


@dataclass(frozen=True, slots=True, eq=False)
class ScoredWindow:
    """Scores of one window, and the events that it finished."""

    labels: tuple[str, ...]
    similarities: Scores
    probabilities: Scores
    active: tuple[str, ...]
    events: list[Event]


class LabelTrack:
    """Scores windows in order, and finds events."""

    def __init__(self, scorer: LabelScorer, options: EventOptions) -> None:
        """Take the labels, and when an event begins and ends."""
        self._scorer = self._next_scorer = scorer
        self._options = options
        self._detector = EventDetector(scorer.options.labels, options)
        self._middle_s: float | None = None

    @property
    def scorer(self) -> LabelScorer:
        """The labels of the next window."""
        return self._next_scorer

    def set_scorer(self, scorer: LabelScorer) -> None:
        """Take other labels from the next window on; events of those that stay go on."""
        self._next_scorer = scorer

    def push(self, middle_s: float, vector: Embedding) -> ScoredWindow:
        """Take the next window: its middle in seconds and its vector [dim]."""
        begin = 0.0 if self._middle_s is None else (self._middle_s + middle_s) / 2
        self._middle_s = middle_s
        ended: list[Event] = []
        if self._next_scorer is not self._scorer:
            self._scorer = self._next_scorer
            ended = self._detector.replace_labels(self._scorer.options.labels, begin)
        similarities, probabilities = self._scorer(vector)
        events = ended + self._detector.push(begin, middle_s, probabilities)
        return ScoredWindow(self._detector.labels, similarities, probabilities, self._detector.active, events)

    def finish(self, end_s: float) -> list[Event]:
        """The sound ends here, in seconds: gives the events that are left, and begins anew."""
        events = self._detector.finish(end_s)
        self.reset()
        return events

    def reset(self) -> None:
        """Forget all windows; the labels stay."""
        self._scorer, self._middle_s = self._next_scorer, None
        self._detector = EventDetector(self._scorer.options.labels, self._options)
