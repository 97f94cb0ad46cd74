"""From a sound to the windows that a protocol embeds.

Windows of long sounds are drawn from one generator, sound after sound, as the originals draw them from numpy's global one
after `numpy.random.seed(seed)`. So sounds are read one after the other, in the order given, before anything runs in
parallel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from claprt.arrays import Waveform
from claprt.audio.decode import check_finite
from claprt.audio.features import AudioFeatures
from claprt.audio.log_mel import log_mel
from claprt.audio.preprocess import int16_round_trip
from claprt.audio.sound import AudioSource, open_sound, source_name
from claprt.audio.windows import drawn_fusion_starts, pad_to, resize_time
from claprt.bundle.manifest import AudioConfig
from claprt.errors import AudioError, EmptyAudioError
from claprt.evaluation.scores.protocols.resamplers import resample
from claprt.evaluation.scores.protocols.table import Protocol


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The windows of one sound."""

    name: str
    windows: list[tuple[int, Waveform]] = field(default_factory=list[tuple[int, Waveform]])
    """First sample and samples of each window."""
    views: tuple[int, int, int] | None = None
    """First frames of the three views of a long sound, for fused checkpoints; its one window is then the whole sound."""
    error: AudioError | None = None

    def __fspath__(self) -> str:
        return self.name


def prepared(sources: Iterable[AudioSource], protocol: Protocol, config: AudioConfig, *, seed: int) -> Iterator[Prepared]:
    """Read sounds and draw their windows, one sound after the other; a sound that cannot be read keeps its error.

    Args:
        sources: See `claprt.audio.open_sound`.
        protocol: Not the default one, whose windows the model makes.
        config: Of the checkpoint.
        seed: Of the draws.
    """
    random = np.random.RandomState(seed)
    for source in sources:
        name = source_name(source)
        try:
            waveform = _waveform(source, protocol, config.mel.sample_rate)
        except AudioError as error:
            yield Prepared(name, error=error)
            continue
        yield _windows(name, waveform, protocol, config, random)


def _waveform(source: AudioSource, protocol: Protocol, target_rate: int) -> Waveform:
    """A whole sound [samples] at the model's rate, with the levels of the protocol.

    Raises:
        AudioError: If the sound cannot be read.
        EmptyAudioError: If no sample is left of it.
    """
    sound = open_sound(source, None, target_rate, trust_levels=protocol.peak_db is not None)
    blocks = [block.astype(np.float32, copy=False) for block in sound.blocks]
    samples = resample(
        np.concatenate(blocks) if blocks else np.empty(0, np.float32), sound.rate, target_rate, protocol.resampling
    )
    if not samples.size:
        raise EmptyAudioError(f"{sound.name} is too short: no sample is left of it at {target_rate} Hz.")
    samples = check_finite(sound.name, samples).astype(np.float32, copy=False)
    peak = float(np.abs(samples).max())
    if protocol.peak_db is not None and peak > 0:
        samples = samples * np.float32(10 ** (protocol.peak_db / 20) / peak)
    if protocol.wav16:
        stored = np.clip(np.rint(samples.astype(np.float64) * 32768), -32768, 32767) / 32768
        return (
            (np.trunc(np.clip(stored, -1, 1) * 32767) / 32767).astype(np.float32)
            if protocol.int16
            else stored.astype(np.float32)
        )
    return int16_round_trip(samples) if protocol.int16 else samples


def _windows(
    name: str, waveform: Waveform, protocol: Protocol, config: AudioConfig, random: np.random.RandomState
) -> Prepared:
    window = config.window_samples
    if protocol.hop_s is not None:
        hop = round(protocol.hop_s * config.mel.sample_rate)
        starts = range(0, waveform.size, hop)
        return Prepared(name, [(start, pad_to(waveform[start : start + window], window, "pad")) for start in starts])
    if waveform.size <= window:
        return Prepared(name, [(0, pad_to(waveform, window, config.fill))])
    frames = config.mel.frames(waveform.size)
    views = drawn_fusion_starts(frames, config.frames, random) if config.fused and frames > config.frames else None
    start = int(random.randint(0, waveform.size - window + 1))  # laion-clap draws it for fused checkpoints too
    if config.fused:
        return Prepared(name, [(0, waveform)], views)
    return Prepared(name, [(start, waveform[start : start + window])])


def features(sound: Prepared, config: AudioConfig) -> Iterator[AudioFeatures]:
    """Inputs of the audio tower.

    Raises:
        AudioError: The one of the sound.
    """
    if sound.error is not None:
        raise sound.error
    for start, waveform in sound.windows:
        mel = log_mel(waveform, config.mel)
        start_s = start / config.mel.sample_rate
        if sound.views is None:
            yield AudioFeatures(np.broadcast_to(mel, (config.views, *mel.shape)), False, start_s)
        else:
            shrunk = resize_time(mel, config.frames, antialias=True)
            yield AudioFeatures(
                np.stack([shrunk, *(mel[view : view + config.frames] for view in sound.views)]), True, start_s
            )
