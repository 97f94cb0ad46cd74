"""Log-mel features of a source: inputs of the audio tower, window by window.

The one path from a source to the audio tower, for `claprt.Clap`, services, the Triton repository and the exporter:
`open_sound` (decoding), `preprocess_blocks` (resampling and levels), `audio_windows` or fusion, `log_mel`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from claprt.arrays import LogMel, LogMels, Waveform
from claprt.audio.dense_windows import DenseWindows
from claprt.audio.log_mel import log_mel, log_mel_of_blocks
from claprt.audio.long_audio import LongAudioPolicy, LongMode, audio_windows, fit_window, limit_duration, take_samples
from claprt.audio.preprocess import Recipe, preprocess_blocks
from claprt.audio.resample import Samples
from claprt.audio.sound import Sound, open_sound
from claprt.audio.sources import AudioSource
from claprt.audio.windows import fusion_starts, resize_time
from claprt.bundle.manifest import AudioConfig
from claprt.errors import NonFiniteAudioError


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """One input of the audio tower: log-mels [views, frames, mels] float32 in dB."""

    log_mels: LogMels
    is_longer: bool
    """Whether a fused checkpoint uses the three local views."""
    start_s: float
    """Start of the window in the clip, in seconds."""


@dataclass(slots=True)
class SoundFacts:
    """What became known of a file while it was read."""

    rate: int = 0
    """[Hz]"""
    channels: int = 0
    samples: int = 0
    """Per channel, read so far."""
    complete: bool = False
    """Whether it was read to its end."""

    @property
    def duration_s(self) -> float | None:
        """Length in seconds; None where it was not read to its end."""
        return self.samples / self.rate if self.complete else None


def audio_features(
    source: AudioSource,
    config: AudioConfig,
    preprocessing: Recipe,
    policy: LongAudioPolicy,
    *,
    sample_rate: float | None = None,
    max_windows: int | None = None,
    progress: Callable[[float], None] | None = None,
    facts: SoundFacts | None = None,
    threads: int = 1,
) -> Iterator[AudioFeatures]:
    """Open a source and compute its features, window by window.

    Args:
        source: See `claprt.audio.open_sound`.
        config: Of the checkpoint.
        preprocessing: How the sound is resampled and levelled.
        policy: What is done with a clip longer than a window.
        sample_rate: Rate of an array in Hz; None for the model's.
        max_windows: Largest number of windows; None for any.
        progress: Called with the seconds of each block as it is read.
        facts: Filled in while the source is read.
        threads: Most of them to compute a log-mel on; more than one where nothing else runs at the same time.

    Raises:
        AudioError: If the source cannot be read, or is longer than `max_windows`.
    """
    trusted = preprocessing.peak_normalised  # dividing by the peak makes the original scale irrelevant
    sound = open_sound(source, sample_rate, config.mel.sample_rate, trust_levels=trusted)
    if max_windows is not None:
        sound = replace(sound, blocks=limit_duration(max_windows, sound.blocks, sound.rate, config))
    if progress is not None:
        sound = replace(sound, blocks=_with_progress(sound, progress))
    if facts is not None:
        sound = replace(sound, blocks=_with_facts(sound, facts))
    blocks = preprocess_blocks(sound, preprocessing, config.mel.sample_rate)
    return model_inputs(blocks, config, preprocessing, policy, threads=threads)


def _with_progress(sound: Sound, progress: Callable[[float], None]) -> Iterator[Samples]:
    for block in sound.blocks:
        progress(block.size / sound.rate)
        yield block


def _with_facts(sound: Sound, facts: SoundFacts) -> Iterator[Samples]:
    facts.rate, facts.channels = sound.rate, sound.channels
    for block in sound.blocks:
        facts.samples += block.size
        yield block
    facts.complete = True


def model_inputs(
    blocks: Iterator[Waveform], config: AudioConfig, preprocessing: Recipe, policy: LongAudioPolicy, *, threads: int = 1
) -> Iterator[AudioFeatures]:
    """Compute the features of one clip, window by window.

    Args:
        blocks: The clip as `preprocess_blocks` yields it, each [samples] float32 at the model's rate.
        config: Of the checkpoint.
        preprocessing: The same as of the blocks.
        policy: What is done with a clip longer than a window.
        threads: Most of them to compute a log-mel on.

    Raises:
        NonFiniteAudioError: If the power of a log-mel is beyond float32.
    """
    if policy.mode is LongMode.FUSION:
        yield _fusion_features(blocks, config, preprocessing, policy.seed, threads)
        return
    if policy.mode is LongMode.WINDOWS and (policy.hop_s < config.window_s or policy.window_s is not None):
        stream = FeatureStream(config, preprocessing, policy)
        for block in blocks:
            yield from stream.push(block)
        yield from stream.end()
        return
    for start, waveform in audio_windows(blocks, config, policy):
        mel = log_mel(waveform, config.mel, threads=threads)
        yield _unfused_features(mel, config, preprocessing, start / config.mel.sample_rate)


class FeatureStream:
    """Features of the windows of a clip that arrives in blocks: what `model_inputs` gives for the mode `windows`."""

    def __init__(self, config: AudioConfig, preprocessing: Recipe, policy: LongAudioPolicy) -> None:
        """Take the arguments of `model_inputs`."""
        self._config, self._recipe = config, preprocessing
        self._windows = DenseWindows(config, policy)

    def push(self, block: Waveform) -> Iterator[AudioFeatures]:
        """Features of the windows that are complete with this block [samples] at the model's rate.

        Raises:
            NonFiniteAudioError: If the power of a log-mel is beyond float32.
        """
        return map(self._features, self._windows.push(block))

    def end(self) -> Iterator[AudioFeatures]:
        """Features of the window that ends with the clip, unless one has been given that does.

        Raises:
            NonFiniteAudioError: If the power of its log-mel is beyond float32.
        """
        return map(self._features, self._windows.end())

    def _features(self, window: tuple[int, LogMel]) -> AudioFeatures:
        start, mel = window
        return _unfused_features(mel, self._config, self._recipe, start / self._config.mel.sample_rate)


def _unfused_features(mel: LogMel, config: AudioConfig, preprocessing: Recipe, start_s: float) -> AudioFeatures:
    mel = _check_finite(mel)
    copies = np.broadcast_to(mel, (config.views, *mel.shape))
    return AudioFeatures(copies, config.fused and preprocessing.short_is_longer, start_s)


def _fusion_features(
    blocks: Iterator[Waveform], config: AudioConfig, preprocessing: Recipe, seed: int | None, threads: int
) -> AudioFeatures:
    head = np.concatenate(list(take_samples(blocks, config.window_samples + 1)))
    if head.size <= config.window_samples:
        mel = log_mel(fit_window(head, config), config.mel, threads=threads)
        return _unfused_features(mel, config, preprocessing, 0.0)
    mel = _check_finite(log_mel_of_blocks(itertools.chain([head], blocks), config.mel))
    if len(mel) == config.frames:  # longer than a window by less than one hop
        return _unfused_features(mel, config, preprocessing, 0.0)
    crops = [mel[start : start + config.frames] for start in fusion_starts(len(mel), config.frames, seed)]
    shrunk = resize_time(mel, config.frames, antialias=preprocessing.antialiased_shrink)
    return AudioFeatures(np.stack([shrunk, *crops]), True, 0.0)


def _check_finite(mel: LogMel) -> LogMel:
    if not np.isfinite(mel).all():
        raise NonFiniteAudioError("The levels of this sound are far beyond full scale; scale it to [-1, 1] first.")
    return mel
