"""Limits on one request, and on all requests together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from claprt.errors import OptionError, TextError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a service; requests beyond them are answered with an error."""

    message_bytes: int = 64 << 20
    """Largest message or request body."""
    windows: int = 60
    """Windows of ten seconds in one sound: ten minutes."""
    timeline_windows: int = 1200
    """Windows in one timeline: ten minutes at a hop of half a second."""
    timeline_labels: int = 100
    """Labels of a timeline or a stream, with those of its background."""
    streams: int = 32
    """Streams that are open at a time, of 6 MB each."""
    stream_block_s: int = 60
    """Seconds of sound in one message of a stream."""
    samples: int = 30_000_000
    """Samples of one sound at its own rate, before it is resampled: ten minutes at 48 kHz, fewer at higher rates."""
    texts: int = 2048
    """Texts, labels or tags in one request."""
    characters: int = 8192
    """Characters of one text, of which the model uses 77 tokens."""
    sounds: int = 64
    """Sounds in one request."""
    hits: int = 1000
    """Sounds that one search of a library gives."""
    filter_characters: int = 1000
    """Characters of a filter of a search; the time to parse one grows with their square."""
    vectors: int = 4096
    """Embeddings in one request for behaviour descriptors."""
    waiting: int = 256
    """Requests that are accepted and not yet answered; further ones get 503."""
    waiting_bytes: int = 1 << 30
    """Bytes of those requests together. One alone is always accepted."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise OptionError(f"{field.name}={getattr(self, field.name)} is not possible; give 1 or more.")


def check_count(count: int, most: int, called: str) -> None:
    """Check a number of items against a limit.

    Raises:
        OptionError: If it is 0, or above `most`.
    """
    if not 1 <= count <= most:
        raise OptionError(f"There may be 1 to {most} {called} in one request; got {count}.")


def check_sentences(words: Sequence[str], template: str | None, limits: Limits) -> None:
    """Check the length of words and of the sentences that a template makes of them, before these are made.

    Raises:
        TextError: If the longest one has more characters than the limit.
    """
    longest = max(map(len, words))
    if template is not None:
        longest = max(longest, len(template) + template.count("{}") * (longest - len("{}")))
    check_length(longest, limits)


def check_length(longest: int, limits: Limits) -> None:
    """Check the length of texts.

    Raises:
        TextError: If the longest one has more characters than the limit.
    """
    if longest > limits.characters:
        raise TextError(f"A text may have up to {limits.characters} characters here; one has {longest}.")
