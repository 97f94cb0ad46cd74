"""One sound of a request to what the audio tower takes, within the service's limits.

`Clap.audio_features` with two more bounds (samples before resampling, windows after cutting), and with an observer of the
samples as they pass.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from claprt.audio.features import AudioFeatures, model_inputs
from claprt.audio.long_audio import limit_duration
from claprt.audio.preprocess import prepared_blocks
from claprt.audio.resample import Samples
from claprt.audio.sound import AudioSource, Sound, open_sound
from claprt.errors import AudioShapeError
from claprt.model.clap import Clap
from claprt.serve.limits import Limits

_STRETCH = 16
_COUNTED_S = 30
"""Seconds of a file after which the rest is counted before it is resampled."""


@dataclass(frozen=True, slots=True)
class Given:
    """A sound as a request brought it; `sample_rate` in Hz is for arrays, files state their own."""

    source: AudioSource
    sample_rate: int | None = None


Load = Callable[[], Given]
"""Gets the sound out of a message. Called by a reader, so that decoding a large one does not hold up the event loop."""


@dataclass(slots=True)
class Outline:
    """What a waveform looks like from afar: the lowest and highest sample of each short stretch, in bounded memory."""

    rate: int = 0
    """Of the sound, in Hz."""
    samples: int = 0
    """Of the sound."""
    _lows: list[Samples] = field(default_factory=list[Samples])
    _highs: list[Samples] = field(default_factory=list[Samples])

    def clear(self) -> None:
        """Forgets what it has seen: the sound begins once more."""
        self.samples = 0
        self._lows.clear()
        self._highs.clear()

    def watched(self, sound: Sound) -> Iterator[Samples]:
        """The sound's blocks themselves."""
        self.rate = sound.rate
        for block in sound.blocks:
            self.samples += block.size
            starts = np.arange(0, block.size, _STRETCH)
            if block.size:
                self._lows.append(np.minimum.reduceat(block, starts))
                self._highs.append(np.maximum.reduceat(block, starts))
            yield block

    def columns(self, most: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lowest and highest sample of up to `most` stretches of nearly one length.

        Example:
            >>> outline = Outline()
            >>> blocks = list(outline.watched(Sound("", 4, iter([np.float32([0.5] * 16 + [-1] * 16)]))))
            >>> [row.tolist() for row in outline.columns(9)]
            [[0.5, -1.0], [0.5, -1.0]]
        """
        lows, highs = np.concatenate(self._lows), np.concatenate(self._highs)
        starts = np.linspace(0, lows.size, min(most, lows.size), endpoint=False).astype(np.int64)
        return (
            np.minimum.reduceat(lows, starts).astype(np.float32),
            np.maximum.reduceat(highs, starts).astype(np.float32),
        )


def read(
    clap: Clap,
    given: Given,
    limits: Limits,
    outline: Outline | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Iterator[AudioFeatures]:
    """The windows of a sound, in order.

    Args:
        clap: what they are for.
        given: the sound.
        limits: of the service.
        outline: sees the samples before they are resampled.
        pause: called for every quarter of a second of the sound; may wait, or end it by raising.

    Raises:
        AudioError: it is no sound, or larger than the limits.
    """
    opened = open_sound(given.source, given.sample_rate, clap.sample_rate, trust_levels=True)
    facts = clap.manifest.audio
    again, piece = opened.again, max(1, opened.rate // 4 // _STRETCH) * _STRETCH

    def bounded(blocks: Iterator[Samples]) -> Iterator[Samples]:
        within = _bounded(limit_duration(limits.windows, blocks, opened.rate, facts), limits.samples)
        return _in_pieces(within, piece, pause)

    def counted() -> Iterator[Samples]:
        passed = 0
        for block in bounded(opened.blocks):
            if passed <= _COUNTED_S * opened.rate < passed + block.size and (copy := _copy(given.source)) is not None:
                for _ in bounded(open_sound(copy, given.sample_rate, clap.sample_rate).blocks):
                    pass  # what is too long is refused before more of it is resampled
            passed += block.size
            yield block

    sound = replace(opened, blocks=counted(), again=None if again is None else lambda: bounded(again()))
    if outline is not None:
        outline.clear()
        sound = replace(sound, blocks=outline.watched(sound))
    blocks = prepared_blocks(sound, clap.recipe, clap.sample_rate)
    for number, view in enumerate(model_inputs(blocks, facts, clap.recipe, clap.long)):
        if number == limits.windows:
            raise AudioShapeError(f"A sound may have up to {limits.windows} windows here, and this one has more. Cut it.")
        yield view


def _copy(source: AudioSource) -> bytes | None:
    """The bytes of a file in memory, to be opened once more; None for arrays, whose length is known."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()
    return source if isinstance(source, bytes) else None


def _in_pieces(blocks: Iterator[Samples], size: int, pause: Callable[[], None]) -> Iterator[Samples]:
    """The blocks in pieces of up to `size` samples, with a pause before each."""
    for block in blocks:
        for start in range(0, max(1, block.size), size):
            pause()
            yield block[start : start + size]


def _bounded(blocks: Iterator[Samples], samples: int) -> Iterator[Samples]:
    left = samples
    for block in blocks:
        left -= block.size
        if left < 0:
            raise AudioShapeError(
                f"A sound may have up to {samples} samples here, and this one has more. Cut it, or send it at a lower rate."
            )
        yield block
