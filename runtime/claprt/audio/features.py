"""One prepared sound to what the audio tower takes: log-mels with their start, window by window.

What a clip longer than a window becomes is the caller's choice (`LongClips`); what a shorter one becomes is the
checkpoint's. Either way the result depends on this clip alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from claprt.arrays import LogMel, LogMels, Waveform
from claprt.audio.log_mel import log_mel, log_mel_of_blocks
from claprt.audio.preprocess import Recipe
from claprt.audio.resample import Samples
from claprt.audio.windows import center_start, cut_windows, fill, fusion_starts, random_start, shrink
from claprt.bundle.manifest import AudioFacts
from claprt.errors import AudioShapeError, NonFiniteAudioError, OptionError


class LongMode(StrEnum):
    """What happens to clips longer than a window."""

    WINDOWS = "windows"
    """Windows that cover the clip; their vectors are averaged and the mean is brought back to length 1."""
    CENTER = "center"
    """The window in the middle."""
    HEAD = "head"
    """The first window; the rest is not even decoded."""
    RANDOM = "random"
    """The window that LAION draws for a seed."""
    FUSION = "fusion"
    """Four views for a fused checkpoint: the whole shrunk, and three crops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongClips:
    """The choice for clips longer than a window.

    `hop_s` is for `windows` (seconds between window starts), `seed` for `random` and `fusion`. Without a seed, `fusion`
    takes the middle of each third.
    """

    mode: LongMode
    hop_s: float = 10.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.mode is LongMode.RANDOM and self.seed is None:
            raise OptionError('long="random" needs a seed, so that the same sound gives the same vector: seed=0.')
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise OptionError(f"seed={self.seed!r} is not a whole number from 0 to 2^32 - 1.")
        if self.seed is not None and self.mode not in (LongMode.RANDOM, LongMode.FUSION):
            raise OptionError(f'seed={self.seed} has no use with long="{self.mode}"; it is for "random" and "fusion".')

    @property
    def label(self) -> str:
        """The choice in one word, as it stands in fingerprints.

        Example:
            >>> LongClips(mode=LongMode.WINDOWS, hop_s=5.0).label
            'windows-5s'
        """
        if self.mode is LongMode.WINDOWS:
            return f"windows-{self.hop_s:g}s"
        return self.mode if self.seed is None else f"{self.mode}-{self.seed}"


def long_clips(mode: str | None, facts: AudioFacts, hop_s: float | None, seed: int | None) -> LongClips:
    """The choice from its parts; `None` for the mode means the checkpoint's own way.

    Raises:
        OptionError: no such mode, or the checkpoint cannot do it, or the hop leaves gaps.
    """
    seed = None if seed is None else whole_number("seed", seed)
    if mode is None:
        mode = LongMode.FUSION if facts.fused else LongMode.WINDOWS
    if mode not in tuple(LongMode):
        raise OptionError(f"long={mode!r} is not known; choose one of {', '.join(LongMode)}.")
    if mode == LongMode.FUSION and not facts.fused:
        raise OptionError('long="fusion" needs a fused checkpoint, and this bundle is not one; "windows" is its way.')
    if hop_s is not None and mode != LongMode.WINDOWS:
        raise OptionError(f'hop_s={hop_s} has no use with long="{mode}"; it is for "windows".')
    hop_s = facts.window_s if hop_s is None else hop_s
    if isinstance(hop_s, bool) or not isinstance(hop_s, int | float | np.integer | np.floating):
        raise OptionError(f"hop_s={hop_s!r} is not a number of seconds.")
    if not 1 / facts.mel.sample_rate <= hop_s <= facts.window_s:
        raise OptionError(f"hop_s={hop_s} must be more than 0 and at most a window of {facts.window_s:g} s.")
    return LongClips(mode=LongMode(mode), hop_s=float(hop_s), seed=seed)


def whole_number(name: str, value: object) -> int:
    """The value of an option as an int.

    Raises:
        OptionError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise OptionError(f"{name}={value!r} is not a whole number.")
    return int(value)


@dataclass(frozen=True, slots=True)
class View:
    """One input of the audio tower: log-mels [views, frames, mels] in dB."""

    log_mels: LogMels
    is_longer: bool
    start_s: float
    """Where in the clip it begins."""


def views(blocks: Iterator[Waveform], facts: AudioFacts, recipe: Recipe, long: LongClips) -> Iterator[View]:
    """The inputs of the audio tower for one clip, in order.

    Args:
        blocks: the clip at the model's rate, prepared by the recipe.
        facts: what the checkpoint expects.
        recipe: the recipe the blocks were prepared by.
        long: what to do if the clip is longer than a window.
    """
    if long.mode is LongMode.FUSION:
        yield _fusion_view(blocks, facts, recipe, long.seed)
        return
    for start, waveform in waveforms(blocks, facts, long):
        yield _plain_view(log_mel(as_heard(waveform, facts), facts.mel), facts, recipe, start / facts.mel.sample_rate)


def waveforms(blocks: Iterator[Waveform], facts: AudioFacts, long: LongClips) -> Iterator[tuple[int, Waveform]]:
    """The windows of one clip with the samples that they begin at; the last may be short, or longer by less than a hop."""
    window = facts.window_samples
    if long.mode is LongMode.WINDOWS:
        yield from cut_windows(blocks, window, max(1, round(long.hop_s * facts.mel.sample_rate)), slack=facts.mel.hop)
    elif long.mode is LongMode.HEAD:
        yield 0, np.concatenate(list(_take(blocks, window)))[:window]
    else:
        held = list(blocks)
        samples = sum(block.size for block in held)
        start = 0
        if samples > window:
            drawn = long.mode is LongMode.RANDOM and long.seed is not None
            start = random_start(samples, window, long.seed or 0) if drawn else center_start(samples, window)
        yield start, _cut_out(held, start, window)


_OF_SERVICES = "Cut it, send it in parts, or have the service started with more (claprt serve --max-windows)."


def at_most(
    windows: int, blocks: Iterable[Samples], rate: int, facts: AudioFacts, advice: str = _OF_SERVICES
) -> Iterator[Samples]:
    """Pass blocks through, and refuse what does not fit into so many windows before it is resampled.

    Args:
        windows: how many there may be.
        blocks: of one sound, each [samples].
        rate: of the blocks, in Hz.
        facts: what the checkpoint expects.
        advice: ends the message: what whoever asked can do.

    Raises:
        AudioShapeError: if the sound is longer.
    """
    left = (windows * facts.window_samples + facts.mel.hop - 1) * rate / facts.mel.sample_rate if windows > 0 else 0
    for block in blocks:
        left -= block.size
        if left < 0:
            raise AudioShapeError(
                f"There is more sound in this request than this server takes: {windows * facts.window_s:g} s were left "
                f"for this one. {advice}"
            )
        yield block


def reported(blocks: Iterator[Samples], rate: int, progress: Callable[[float], None]) -> Iterator[Samples]:
    """Pass blocks through and call `progress` with the seconds of each; `rate` is theirs, in Hz."""
    for block in blocks:
        progress(block.size / rate)
        yield block


def as_heard(waveform: Waveform, facts: AudioFacts) -> Waveform:
    """One window as the log-mel takes it: filled up if short; without the last sample if longer by only that.

    One sample more than a window is the zero that librosa's rounding appends to ten seconds at 44.1 kHz.
    """
    if waveform.size == facts.window_samples + 1:
        return waveform[:-1]
    if waveform.size < facts.window_samples:
        return fill(waveform, facts.window_samples, facts.fill)
    return waveform


def _heard(mel: LogMel) -> LogMel:
    """The log-mel itself, unless the sound was so loud that its power is beyond float32."""
    if not np.isfinite(mel).all():
        raise NonFiniteAudioError("The levels of this sound are far beyond full scale; scale it to [-1, 1] first.")
    return mel


def _plain_view(mel: LogMel, facts: AudioFacts, recipe: Recipe, start_s: float) -> View:
    mel = _heard(mel)
    copies = np.broadcast_to(mel, (facts.views, *mel.shape))
    return View(copies, facts.fused and recipe.short_is_longer, start_s)


def _cut_out(blocks: list[Waveform], start: int, samples: int) -> Waveform:
    """`np.concatenate(blocks)[start : start + samples]` without a second copy of the rest."""
    parts: list[Waveform] = []
    for block in blocks:
        parts.append(block[max(0, start) : max(0, start + samples)])
        start -= block.size
    return np.concatenate(parts)


def _take(blocks: Iterator[Waveform], samples: int) -> Iterator[Waveform]:
    """Blocks until they hold at least this many samples."""
    while samples > 0 and (block := next(blocks, None)) is not None:
        yield block
        samples -= block.size


def _fusion_view(blocks: Iterator[Waveform], facts: AudioFacts, recipe: Recipe, seed: int | None) -> View:
    head = np.concatenate(list(_take(blocks, facts.window_samples + 1)))
    if head.size <= facts.window_samples:
        return _plain_view(log_mel(fill(head, facts.window_samples, facts.fill), facts.mel), facts, recipe, 0.0)
    mel = _heard(log_mel_of_blocks(itertools.chain([head], blocks), facts.mel))
    if len(mel) == facts.frames:  # longer than a window by less than one hop
        return _plain_view(mel, facts, recipe, 0.0)
    crops = [mel[start : start + facts.frames] for start in fusion_starts(len(mel), facts.frames, seed)]
    shrunk = shrink(mel, facts.frames, antialias=recipe.antialiased_shrink)
    return View(np.stack([shrunk, *crops]), True, 0.0)
