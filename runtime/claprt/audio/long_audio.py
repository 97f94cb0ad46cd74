"""Windows of one clip: what is done with clips longer than a window, and with shorter ones.

Longer clips are treated as the caller chooses (`LongAudioPolicy`), shorter ones as the checkpoint was trained
(`AudioConfig.fill`). The result depends on the clip alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from claprt.arrays import Waveform
from claprt.audio.resample import Samples
from claprt.audio.windows import center_start, cut_windows, pad_to, random_start
from claprt.bundle.manifest import AudioConfig
from claprt.errors import AudioShapeError, OptionError
from claprt.validation import validate_seed, whole_number

MIN_WINDOW_S = 0.1
"""Shortest window of a timeline, and shortest distance between two."""


class LongMode(StrEnum):
    """What is done with clips longer than a window."""

    WINDOWS = "windows"
    """Windows that cover the clip; the embedding is their mean, normalised to length 1."""
    CENTER = "center"
    """The window in the middle."""
    HEAD = "head"
    """The first window; the rest is not decoded."""
    RANDOM = "random"
    """The window that LAION draws for a seed."""
    FUSION = "fusion"
    """For fused checkpoints: the whole clip resized to a window, and three crops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongAudioPolicy:
    """A mode with its options.

    `hop_s` is for `windows` (seconds between window starts), `seed` for `random` and `fusion`. Without a seed, `fusion`
    takes the middle of each third. `window_s` is for `windows` that are shorter than the model's, each of them filled up as
    a clip of that length is; None for the model's.
    """

    mode: LongMode
    hop_s: float = 10.0
    seed: int | None = None
    window_s: float | None = None

    def __post_init__(self) -> None:
        if self.mode is LongMode.RANDOM and self.seed is None:
            raise OptionError('long="random" needs a seed, so that the same sound gives the same vector: seed=0.')
        if self.seed is not None:
            validate_seed(self.seed)
        if self.seed is not None and self.mode not in (LongMode.RANDOM, LongMode.FUSION):
            raise OptionError(f'seed={self.seed} has no use with long="{self.mode}"; it is for "random" and "fusion".')

    @property
    def label(self) -> str:
        """Mode and options in one word, part of fingerprints.

        Example:
            >>> LongAudioPolicy(mode=LongMode.WINDOWS, hop_s=5.0).label
            'windows-5s'
        """
        if self.mode is LongMode.WINDOWS:
            return f"windows-{self.hop_s:g}s"
        return self.mode if self.seed is None else f"{self.mode}-{self.seed}"


def long_audio_policy(mode: str | None, config: AudioConfig, hop_s: float | None, seed: int | None) -> LongAudioPolicy:
    """Validate the options of `claprt.load` for long audio.

    Args:
        mode: A `LongMode`; None for `fusion` with fused checkpoints, else `windows`.
        config: Of the checkpoint.
        hop_s: Seconds between window starts, more than 0 and at most a window; None for a window.
        seed: 0 to 2^32 - 1, or None.

    Raises:
        OptionError: If the mode is unknown or not for this checkpoint, or an option is out of range or not for this mode.
    """
    seed = None if seed is None else whole_number("seed", seed)
    if mode is None:
        mode = LongMode.FUSION if config.fused else LongMode.WINDOWS
    if mode not in tuple(LongMode):
        raise OptionError(f"long={mode!r} is not known; choose one of {', '.join(LongMode)}.")
    if mode == LongMode.FUSION and not config.fused:
        raise OptionError('long="fusion" needs a fused checkpoint, and this one is unfused; use "windows".')
    if hop_s is not None and mode != LongMode.WINDOWS:
        raise OptionError(f'hop_s={hop_s} has no use with long="{mode}"; it is for "windows".')
    hop_s = config.window_s if hop_s is None else hop_s
    if isinstance(hop_s, bool) or not isinstance(hop_s, int | float | np.integer | np.floating):
        raise OptionError(f"hop_s={hop_s!r} is not a number of seconds.")
    if not 1 / config.mel.sample_rate <= hop_s <= config.window_s:
        raise OptionError(f"hop_s={hop_s} must be more than 0 and at most a window of {config.window_s:g} s.")
    return LongAudioPolicy(mode=LongMode(mode), hop_s=float(hop_s), seed=seed)


def dense_policy(config: AudioConfig, hop_s: float = 1.0, window_s: float | None = None) -> LongAudioPolicy:
    """Windows of `window_s` seconds every `hop_s` seconds.

    Args:
        config: Of the checkpoint.
        hop_s: From a tenth of a second to a window.
        window_s: From a tenth of a second to the model's window; None for the model's.

    Raises:
        OptionError: If an option is not a number, or out of range.
    """
    longest = config.window_s
    if window_s is not None:
        longest = _seconds("window_s", window_s, config.window_s, "the model's window")
    hop = _seconds("hop_s", hop_s, longest, "a window")
    shorter = None if longest == config.window_s else longest
    return LongAudioPolicy(mode=LongMode.WINDOWS, hop_s=hop, window_s=shorter)


def _seconds(name: str, value: object, most: float, called: str) -> float:
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        seconds = float(value)
    else:
        seconds = np.nan
    if not MIN_WINDOW_S <= seconds <= most:
        raise OptionError(f"{name}={value!r} is not possible; give {MIN_WINDOW_S:g} to {most:g} seconds, {called}.")
    return seconds


def audio_windows(
    blocks: Iterator[Waveform], config: AudioConfig, policy: LongAudioPolicy
) -> Iterator[tuple[int, Waveform]]:
    """Windows of one clip with their first samples' positions, for every mode but `fusion`.

    Args:
        blocks: The clip at the model's rate, each [samples] float32.
        config: Of the checkpoint.
        policy: What is done with a clip longer than a window.

    Returns:
        Pairs of position and [samples] float32: a window's samples, or up to a log-mel hop more.
    """
    window = config.window_samples
    if policy.mode is LongMode.WINDOWS:
        hop = max(1, round(policy.hop_s * config.mel.sample_rate))
        for start, waveform in cut_windows(blocks, window, hop, tolerance=config.mel.hop):
            yield start, fit_window(waveform, config)
    elif policy.mode is LongMode.HEAD:
        yield 0, fit_window(np.concatenate(list(take_samples(blocks, window)))[:window], config)
    else:
        held = list(blocks)
        samples = sum(block.size for block in held)
        start = 0
        if samples > window:
            drawn = policy.mode is LongMode.RANDOM and policy.seed is not None
            start = random_start(samples, window, policy.seed or 0) if drawn else center_start(samples, window)
        yield start, fit_window(_slice_blocks(held, start, window), config)


def fit_window(waveform: Waveform, config: AudioConfig) -> Waveform:
    """Pad a short window [samples], and drop the last sample of one that is one sample too long.

    One sample more than a window is the zero that librosa's rounding appends to ten seconds at 44.1 kHz.
    """
    if waveform.size == config.window_samples + 1:
        return waveform[:-1]
    if waveform.size < config.window_samples:
        return pad_to(waveform, config.window_samples, config.fill)
    return waveform


_ADVICE_OF_SERVICES = "Cut it, send it in parts, or have the service started with more (claprt serve --max-windows)."


def limit_duration(
    windows: int, blocks: Iterable[Samples], rate: int, config: AudioConfig, advice: str = _ADVICE_OF_SERVICES
) -> Iterator[Samples]:
    """Pass blocks through until they exceed a number of windows: before they are resampled.

    Args:
        windows: Largest number of windows.
        blocks: Of one sound, each [samples].
        rate: Of the blocks, in Hz.
        config: Of the checkpoint.
        advice: End of the message: what the caller can do.

    Raises:
        AudioShapeError: If the sound is longer.
    """
    left = (windows * config.window_samples + config.mel.hop - 1) * rate / config.mel.sample_rate if windows > 0 else 0
    for block in blocks:
        left -= block.size
        if left < 0:
            raise AudioShapeError(
                f"There is more sound in this request than this server takes: {windows * config.window_s:g} s were left "
                f"for this one. {advice}"
            )
        yield block


def take_samples(blocks: Iterator[Waveform], samples: int) -> Iterator[Waveform]:
    """Blocks [samples] until they hold at least this many samples."""
    while samples > 0 and (block := next(blocks, None)) is not None:
        yield block
        samples -= block.size


def _slice_blocks(blocks: list[Waveform], start: int, samples: int) -> Waveform:
    """`np.concatenate(blocks)[start : start + samples]` without a second copy of the rest."""
    parts: list[Waveform] = []
    for block in blocks:
        parts.append(block[max(0, start) : max(0, start + samples)])
        start -= block.size
    return np.concatenate(parts)
