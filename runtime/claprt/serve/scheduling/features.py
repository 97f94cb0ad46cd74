"""From the audio of a request to the inputs of the audio tower, within the service's limits.

This is `Clap.audio_features` with two more limits: samples before resampling, and windows after cutting.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

from claprt.audio.features import AudioFeatures, model_inputs
from claprt.audio.long_audio import LongAudioPolicy, limit_duration
from claprt.audio.preprocess import preprocess_blocks
from claprt.audio.resample import Samples
from claprt.audio.sound import AudioSource, Sound, open_sound
from claprt.bundle.manifest import AudioConfig
from claprt.errors import AudioShapeError
from claprt.model.clap import Clap
from claprt.serve.limits import Limits
from claprt.serve.scheduling.audio_input import AudioInput

_COUNT_AFTER_S = 30
"""Seconds of a file after which its remaining samples are counted before they are resampled."""


def open_limited(
    clap: Clap,
    audio: AudioInput,
    limits: Limits,
    pause: Callable[[], None] = lambda: None,
    policy: LongAudioPolicy | None = None,
) -> Sound:
    """Open decoded audio; its blocks raise an error where they exceed the limits.

    A file is decoded to its end once to count its samples: of a timeline before its first window is complete, since one of
    a few seconds may have too many windows; else once it is longer than half a minute.

    Args:
        clap: The model, whose windows are counted.
        audio: The audio, decoded.
        limits: Limits of the service.
        pause: Called for every quarter of a second of the audio; may wait, or raise to stop.
        policy: The windows of a timeline; None for the model's.

    Raises:
        AudioError: If it cannot be decoded, or exceeds the limits.
    """
    opened = open_sound(audio.content, audio.sample_rate, clap.sample_rate, trust_levels=True)
    again, size = opened.again, max(1, opened.rate // 64) * 16  # a multiple of 16, for envelopes
    config = clap.manifest.audio
    count_after_s = _COUNT_AFTER_S if policy is None else policy.window_s or config.window_s

    def limited(blocks: Iterator[Samples]) -> Iterator[Samples]:
        within = limit_duration(limits.windows, blocks, opened.rate, config)
        if policy is not None:
            within = _limit_windows(within, opened.rate, limits, policy, config)
        return _split_blocks(_limit_samples(within, limits.samples), size, pause)

    def counted() -> Iterator[Samples]:
        passed = 0
        for block in limited(opened.blocks):
            if passed <= count_after_s * opened.rate < passed + block.size and (file := _file_bytes(audio.content)):
                for _ in limited(open_sound(file, audio.sample_rate, clap.sample_rate).blocks):
                    pass  # refuses audio that is too long before more of it is resampled
            passed += block.size
            yield block

    return replace(opened, blocks=counted(), again=None if again is None else lambda: limited(again()))


def extract(clap: Clap, sound: Sound, limits: Limits, policy: LongAudioPolicy | None = None) -> Iterator[AudioFeatures]:
    """Compute the model inputs of audio that `open_limited` opened, one for each window, in order.

    Args:
        clap: The model.
        sound: The audio.
        limits: Limits of the service.
        policy: The windows of a timeline; None for the model's.

    Raises:
        AudioShapeError: If it has more windows than the limit.
        AudioError: If it cannot be decoded, or exceeds another limit.
    """
    blocks = preprocess_blocks(sound, clap.recipe, clap.sample_rate)
    most = limits.windows if policy is None else limits.timeline_windows
    for number, view in enumerate(model_inputs(blocks, clap.manifest.audio, clap.recipe, policy or clap.long)):
        if number == most:
            raise AudioShapeError(_too_many_windows(most, policy))
        yield view


def _too_many_windows(most: int, policy: LongAudioPolicy | None) -> str:
    advice = "Cut it." if policy is None else "Cut it, or widen hop_s."
    return f"A sound may have up to {most} windows here, and this one has more. {advice}"


def _file_bytes(source: AudioSource) -> bytes | None:
    """The bytes of a file in memory, to be opened once more; None for arrays, whose length is known."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()
    return source if isinstance(source, bytes) else None


def _split_blocks(blocks: Iterator[Samples], size: int, pause: Callable[[], None]) -> Iterator[Samples]:
    """Split blocks to pieces of up to `size` samples, with a pause before each."""
    for block in blocks:
        for start in range(0, max(1, block.size), size):
            pause()
            yield block[start : start + size]


def _limit_windows(
    blocks: Iterator[Samples], rate: int, limits: Limits, policy: LongAudioPolicy, config: AudioConfig
) -> Iterator[Samples]:
    """Pass blocks through until a timeline is certain to have too many windows.

    Resampling rounds lengths, and windows begin at whole samples: one that is too long by less than a hop of the log-mel
    is left to `extract`, which counts windows.

    Raises:
        AudioShapeError: If it is.
    """
    model_rate, most = config.mel.sample_rate, limits.timeline_windows
    hop = max(1, round(policy.hop_s * model_rate))
    window = round((policy.window_s or config.window_s) * model_rate)
    left = (window + (most - 1) * hop + config.mel.hop) * rate / model_rate
    for block in blocks:
        left -= block.size
        if left < 0:
            raise AudioShapeError(_too_many_windows(most, policy))
        yield block


def _limit_samples(blocks: Iterator[Samples], samples: int) -> Iterator[Samples]:
    left = samples
    for block in blocks:
        left -= block.size
        if left < 0:
            raise AudioShapeError(
                f"A sound may have up to {samples} samples here, and this one has more. Cut it, or send it at a lower rate."
            )
        yield block
