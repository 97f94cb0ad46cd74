"""From whatever a caller has (a path, bytes, an open file, an array) to blocks of mono samples at their own rate.

What callers may hand in is read by `claprt.audio.sources`, files by `claprt.audio.files`, arrays by `claprt.audio.levels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from claprt.audio.levels import MAX_CHANNELS, mono_samples
from claprt.audio.objects import is_decoded_anew
from claprt.audio.resample import Samples
from claprt.audio.sources import (
    MAX_RATE,
    MIN_RATE,
    AudioSource,
    check_rate,
    is_one_source,
    resolve_source,
    source_name,
    split_sources,
)
from claprt.errors import AssumedRateWarning, AudioError, AudioShapeError
from claprt.system.advice import warn_once

if TYPE_CHECKING:
    from claprt.audio.files.containers import Opened

__all__ = [
    "MAX_CHANNELS",
    "MAX_RATE",
    "MIN_RATE",
    "AudioSource",
    "Sound",
    "check_rate",
    "is_decoded_anew",
    "is_one_source",
    "open_sound",
    "resolve_source",
    "source_name",
    "split_sources",
]


@dataclass(frozen=True, slots=True)
class Sound:
    """A source that has been opened: its rate, and its samples as an iterator of mono blocks to be used once."""

    name: str
    rate: int
    blocks: Iterator[Samples]
    again: Callable[[], Iterator[Samples]] | None = None
    """Gives the same blocks once more, where the source can be read twice."""
    channels: int = 1
    """Of a file, before they are mixed to mono."""


def open_sound(source: AudioSource, sample_rate: float | None, default_rate: int, *, trust_levels: bool = False) -> Sound:
    """Open a source; its samples are read, checked and mixed to mono as the blocks are iterated.

    Args:
        source: See `AudioSource`. Arrays are [samples], [channels, samples], or [samples, channels] with two channels
            (with any number up to 16 where the other axis is longer than that). For their full scale see
            `claprt.audio.levels`.
        sample_rate: Rate of an array in Hz. Files state their own.
        default_rate: Rate of an array for which none was given, in Hz; an `AssumedRateWarning` says so once.
        trust_levels: Takes integers by the full scale of their dtype and floats as they are, without looking at them: for
            recipes that divide by the peak anyway, and for services, whose clients were told what to send.

    Raises:
        AudioError: If the source cannot be opened as a sound; the message states why.
        AudioShapeError: If it has too many channels.
    """
    plain = resolve_source(source, sample_rate)
    if isinstance(plain.source, np.ndarray):
        if plain.rate is None:
            _warn_of_the_rate(plain.name, default_rate)
        name, array = plain.name, plain.source

        def blocks() -> Iterator[Samples]:
            yield mono_samples(name, array, trust_levels=trust_levels)

        return Sound(name, default_rate if plain.rate is None else plain.rate, blocks(), blocks)
    again = _reopened(plain.name, plain.source)
    opened = _open_file(plain.name, plain.source)
    try:
        rate = check_rate(opened.rate, f"{plain.name} states")
        if opened.channels > MAX_CHANNELS:
            raise AudioShapeError(f"{plain.name} has {opened.channels} channels; at most {MAX_CHANNELS} are mixed to mono.")
    except AudioError:
        opened.close()
        raise
    return Sound(plain.name, rate, opened.blocks, again, opened.channels)


def _open_file(name: str, source: object) -> Opened:
    from claprt.audio.files.sound_file import open_sound_file  # the knowledge of formats, for those who have files

    return open_sound_file(name, source)


def _reopened(name: str, source: Any) -> Callable[[], Iterator[Samples]] | None:
    """Open a file a second time; None for what can be read only once."""
    if not hasattr(source, "read"):
        return lambda: _open_file(name, source).blocks
    file = cast("IO[bytes]", source)
    try:
        begin = file.tell() if file.seekable() else None
    except Exception:  # noqa: BLE001 - file objects may raise anything; whoever reads it says what is wrong
        return None

    def again() -> Iterator[Samples]:
        file.seek(begin or 0)
        return _open_file(name, file).blocks

    return None if begin is None else again


def _warn_of_the_rate(name: str, rate: int) -> None:
    warn_once(
        "rate",
        f"{name} came without a rate, and {rate} Hz is assumed, the model's own. State the rate of samples: "
        f"embed_audio(samples, sample_rate={rate}); librosa gives 22050 Hz unless told otherwise.",
        AssumedRateWarning,
    )
