"""Events with onset and offset, from probabilities that come window by window: two thresholds, a gap and a duration.

An event of a label lasts as long as its probability stays at or above `off`, and counts if it reaches `on` at least once.
One threshold alone would cut a sound whose probability wavers around it into pieces. Events of a label with a gap of at
most `merge_s` between them are one, and what is then shorter than `min_duration_s` is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from claprt.errors import OptionError
from claprt.scoring.classification import Scores
from claprt.scoring.tagging import validate_threshold

_OFF_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One label, heard from an onset to an offset."""

    label: str
    onset_s: float
    """Begin in seconds from the begin of the sound."""
    offset_s: float
    """End in seconds."""
    peak: float
    """Highest probability within."""
    peak_s: float
    """Middle of the window with that probability, in seconds."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "label": self.label,
            "onset_s": round(self.onset_s, 6),
            "offset_s": round(self.offset_s, 6),
            "peak": self.peak,
            "peak_s": round(self.peak_s, 6),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOptions:
    """When an event begins and ends."""

    on: float = 0.5
    """Probability that an event reaches."""
    off: float | None = None
    """Probability below which it has ended; None for 0.8 times `on`."""
    min_duration_s: float = 0.0
    """Shortest event, in seconds."""
    merge_s: float = 0.0
    """Longest gap between two events of a label that are one, in seconds."""

    def __post_init__(self) -> None:
        on = validate_threshold(self.on, "on")
        off = _OFF_SHARE * on if self.off is None else validate_threshold(self.off, "off")
        if off > on:
            raise OptionError(f"off={self.off} is above on={self.on}; an event ends below the probability that begins it.")
        object.__setattr__(self, "off", off)
        for name in ("min_duration_s", "merge_s"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
            if not (is_number and value >= 0):
                raise OptionError(f"{name}={value!r} is not possible; give a number of seconds, 0 or more.")


@dataclass(slots=True)
class _LabelState:
    """Where the detection of one label stands."""

    open: Event | None = None
    """The stretch at or above `off` that has not ended; its offset means nothing yet."""
    confirmed: bool = False
    """Whether it has reached `on`."""
    waiting: Event | None = None
    """An event that has ended, and may yet be merged with the next."""


@dataclass(slots=True)
class EventDetector:
    """Finds events of several labels as probabilities come, in bounded memory."""

    labels: tuple[str, ...]
    options: EventOptions
    _states: dict[str, _LabelState] = field(default_factory=dict[str, _LabelState])

    @property
    def active(self) -> tuple[str, ...]:
        """Labels whose event has reached `on` and goes on."""
        return tuple(label for label in self.labels if (state := self._states.get(label)) and state.confirmed)

    def push(self, begin_s: float, middle_s: float, probabilities: Scores) -> list[Event]:
        """Take the probabilities [labels] that hold from `begin_s` on; gives the events that are finished.

        Args:
            begin_s: In seconds; not before that of the last call.
            middle_s: Middle of the window that they are of, in seconds.
            probabilities: [labels] float32.
        """
        found: list[Event] = []
        for label, probability in zip(self.labels, probabilities.tolist(), strict=True):
            state = self._states.setdefault(label, _LabelState())
            if probability < (self.options.off or 0.0):
                self._close(state, begin_s)
            elif state.open is None:
                state.open = Event(label=label, onset_s=begin_s, offset_s=begin_s, peak=probability, peak_s=middle_s)
            elif probability > state.open.peak:
                state.open = replace(state.open, peak=probability, peak_s=middle_s)
            state.confirmed = state.confirmed or (state.open is not None and probability >= self.options.on)
            if state.waiting is not None:
                following = begin_s if state.open is None else state.open.onset_s
                if following - state.waiting.offset_s > self.options.merge_s:
                    found += self._finished(state)
        return found

    def replace_labels(self, labels: Sequence[str], begin_s: float) -> list[Event]:
        """Go on with other labels from `begin_s` on; events of labels that are no more among them end there."""
        found = [event for label in self.labels if label not in labels for event in self._end(label, begin_s)]
        self.labels = tuple(labels)
        return found

    def finish(self, end_s: float) -> list[Event]:
        """The sound ends: gives all events that are left."""
        return [event for label in self.labels for event in self._end(label, end_s)]

    def _end(self, label: str, end_s: float) -> list[Event]:
        state = self._states.pop(label, _LabelState())
        self._close(state, end_s)
        return self._finished(state)

    def _close(self, state: _LabelState, end_s: float) -> None:
        """End the open stretch; it waits, merged with the event that waits, if it has reached `on`."""
        ended, before = state.open, state.waiting
        if ended is not None and state.confirmed:
            ended = replace(ended, offset_s=end_s)
            if before is not None:
                louder = max(before, ended, key=lambda event: event.peak)
                ended = replace(ended, onset_s=before.onset_s, peak=louder.peak, peak_s=louder.peak_s)
            state.waiting = ended
        state.open, state.confirmed = None, False

    def _finished(self, state: _LabelState) -> list[Event]:
        event, state.waiting = state.waiting, None
        if event is None or event.offset_s - event.onset_s < self.options.min_duration_s:
            return []
        return [event]


def in_order(events: Sequence[Event], labels: Sequence[str]) -> tuple[Event, ...]:
    """Events by their onset; those that begin together in the order of the labels."""
    place = {label: position for position, label in enumerate(labels)}
    return tuple(sorted(events, key=lambda event: (event.onset_s, place.get(event.label, len(place)))))
