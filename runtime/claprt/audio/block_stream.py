"""A sound that arrives in blocks of any size, to the features of its windows: the same as of the sound in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.audio.features import AudioFeatures, FeatureStream
from claprt.audio.levels import MAX_CHANNELS, mix_channels
from claprt.audio.long_audio import LongAudioPolicy
from claprt.audio.preprocess import Recipe, check_resampled, level_samples
from claprt.audio.resample import Samples, SoxrResampler
from claprt.audio.sources import check_rate
from claprt.bundle.manifest import AudioConfig
from claprt.errors import AudioShapeError, OptionError

_GATHER_S = 0.02
"""Seconds of sound that are taken together, where blocks are shorter: a call for every sample would cost more than it."""
_PIECE_S = 0.25
"""Seconds of a long block that are taken in one step: a few milliseconds of one core, but for the windows."""


class BlockStream:
    """One sound in blocks. Its memory is bounded by a window, whatever arrives: about 6 MB."""

    def __init__(self, config: AudioConfig, recipe: Recipe, policy: LongAudioPolicy, sample_rate: float) -> None:
        """Begin a sound.

        Args:
            config: Of the checkpoint.
            recipe: Preprocessing of sounds.
            policy: Of the mode `windows`.
            sample_rate: Rate of the blocks, in Hz.

        Raises:
            OptionError: If the recipe has to know the whole sound before it prepares the first sample.
            SampleRateError: If sounds cannot have this rate.
        """
        if not recipe.streams:
            raise OptionError(
                f'preprocess="{recipe.name}" divides a sound by its peak, which is known at its end; it cannot be '
                'streamed. Load the model with preprocess="laion".'
            )
        self._rate, self._target_rate = check_rate(sample_rate), config.mel.sample_rate
        self._recipe = recipe
        self._features = FeatureStream(config, recipe, policy)
        self._resampler: SoxrResampler | None = None
        self._gathered: Samples = np.empty(0, np.float32)
        self._filled = 0
        self.samples = 0
        """Samples taken so far, at their own rate."""
        self.channels: int | None = None
        """Of the first block; all others must have as many."""

    @property
    def duration_s(self) -> float:
        """Length of the sound so far, in seconds."""
        return self.samples / self._rate

    def push(self, block: NDArray[Any]) -> Iterator[AudioFeatures]:
        """Take the next block; gives the features of the windows that are complete with it, as they are computed.

        The block is checked and taken when the iterator is first asked; all of it must be asked for.

        Args:
            block: [samples] or [samples, channels], of any float or integer dtype. Floats are nominally in [-1, 1];
                integers are taken by the full scale of their dtype. Samples are float64 where the first block is, else
                float32.

        Raises:
            AudioShapeError: If the block has another shape, or another number of channels than the first one.
            NonFiniteAudioError: If it holds NaN or infinity, or levels far beyond full scale.
        """
        return (view for view in self.steps(block) if view is not None)

    def steps(self, block: NDArray[Any]) -> Iterator[AudioFeatures | None]:
        """`push` in steps of a few milliseconds, for callers that do other work in between.

        Args:
            block: [samples] or [samples, channels]; see `push`.

        Returns:
            The features of a window from each step that completes one, None from the others.

        Raises:
            AudioShapeError: See `push`.
            NonFiniteAudioError: See `push`.
        """
        channels = self._channels_of(block)
        step, pieces = max(1, round(_PIECE_S * self._rate)), list[Samples]()
        for start in range(0, len(block), step):
            name = f"a block, from {start / self._rate:g} s on," if start else "a block"
            piece = block[start : start + step]
            pieces.append(mix_channels(name, piece[None] if piece.ndim == 1 else piece.T, trust_levels=True))
            yield None
        self.channels = channels
        if not pieces:
            return
        if self._gathered.size == 0:
            self._gathered = np.empty(max(1, round(_GATHER_S * self._rate)), pieces[0].dtype)
        self.samples += len(block)
        pieces.reverse()
        while pieces:
            for samples in self._gather(pieces.pop().astype(self._gathered.dtype, copy=False)):
                yield from self._take(samples, last=False)
            yield None

    def end(self) -> Iterator[AudioFeatures]:
        """The features of the windows that are complete with the end of the sound."""
        if self.samples:
            yield from self._take(self._gathered[: self._filled], last=True)
            yield from self._features.end()

    def _channels_of(self, block: NDArray[Any]) -> int:
        if not isinstance(block, np.ndarray) or block.ndim not in (1, 2):
            found = f"{block.ndim} axes" if isinstance(block, np.ndarray) else type(block).__name__
            raise AudioShapeError(f"A block of a stream is an array [samples] or [samples, channels]; this one is {found}.")
        channels = block.shape[1] if block.ndim == 2 else 1
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioShapeError(
                f"A block [{block.shape[0]}, {channels}] would be {channels} channels; from 1 to {MAX_CHANNELS} are mixed "
                "to mono. Blocks are [samples, channels]: transpose it (block.T)."
            )
        if self.channels is not None and channels != self.channels:
            raise AudioShapeError(f"The stream began with {self.channels} channels, and this block has {channels}.")
        return channels

    def _gather(self, samples: Samples) -> Iterator[Samples]:
        """What is to be taken now: full gatherings of short blocks, long blocks as they are."""
        if self._filled + samples.size < self._gathered.size:
            self._gathered[self._filled : self._filled + samples.size] = samples
            self._filled += samples.size
            return
        if self._filled:
            yield self._gathered[: self._filled].copy()
            self._filled = 0
        yield samples

    def _take(self, samples: Samples, *, last: bool) -> Iterator[AudioFeatures]:
        if self._rate != self._target_rate:
            self._resampler = self._resampler or SoxrResampler(self._rate, self._target_rate, self._gathered.dtype.name)
            samples = check_resampled("the stream", self._resampler(samples, last=last))
        if samples.size:
            yield from self._features.push(level_samples("the stream", samples, self._recipe))
