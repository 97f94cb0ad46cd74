"""What the page draws of a file: its waveform as an envelope, and the log-mel of the first window as the model gets it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.audio.features import AudioFeatures
from claprt.audio.log_mel import hz_to_mel, mel_to_hz
from claprt.audio.long_audio import LongMode
from claprt.audio.resample import Samples
from claprt.bundle.manifest import MelSpec
from claprt.model.clap import Clap
from claprt.serve.limits import Limits
from claprt.serve.scheduling.audio_input import AudioInput, decode
from claprt.serve.scheduling.features import extract, open_limited

_COLUMNS = 1000
_STRETCH = 16
_RANGE_DB = 80.0
"""Levels that are further below the maximum are drawn as silence."""


@dataclass(slots=True)
class WaveformEnvelope:
    """Lowest and highest sample of each short stretch of a waveform, in bounded memory."""

    samples: int = 0
    """Samples seen so far."""
    _lows: list[Samples] = field(default_factory=list[Samples])
    _highs: list[Samples] = field(default_factory=list[Samples])

    def watch(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Yield the blocks [samples] unchanged, and add them to the envelope."""
        for block in blocks:
            self.samples += block.size
            starts = np.arange(0, block.size, _STRETCH)
            if block.size:
                self._lows.append(np.minimum.reduceat(block, starts))
                self._highs.append(np.maximum.reduceat(block, starts))
            yield block

    def columns(self, most: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lowest and highest sample of up to `most` stretches of nearly equal length, each [columns].

        Example:
            >>> envelope = WaveformEnvelope()
            >>> blocks = list(envelope.watch([np.float32([0.5] * 16 + [-1] * 16)]))
            >>> [row.tolist() for row in envelope.columns(9)]
            [[0.5, -1.0], [0.5, -1.0]]
        """
        lows, highs = np.concatenate(self._lows), np.concatenate(self._highs)
        starts = np.linspace(0, lows.size, min(most, lows.size), endpoint=False).astype(np.int64)
        return (
            np.minimum.reduceat(lows, starts).astype(np.float32),
            np.maximum.reduceat(highs, starts).astype(np.float32),
        )


def page_data(clap: Clap, audio: AudioInput, limits: Limits, pause: Callable[[], None]) -> dict[str, Any]:
    """Decode a file and compute what the page draws of it.

    Args:
        clap: The model.
        audio: The file.
        limits: Limits of the service.
        pause: Called for every quarter of a second of the file; may wait, or raise to stop.

    Returns:
        `sound`, `waveform` and `log_mel`, as plain values for JSON.
    """
    opened, envelope = open_limited(clap, decode(audio), limits, pause), WaveformEnvelope()
    blocks = envelope.watch(opened.blocks)
    first = next(extract(clap, replace(opened, blocks=blocks), limits))
    for _ in blocks:  # those that the first window does not need
        pass
    low, high = envelope.columns(_COLUMNS)
    seconds = envelope.samples / opened.rate
    return {
        "sound": {"name": opened.name, "seconds": seconds, "rate": opened.rate},
        "waveform": {"low": low.round(4).tolist(), "high": high.round(4).tolist()},
        "log_mel": log_mel_picture(clap, first, seconds),
    }


def log_mel_picture(clap: Clap, view: AudioFeatures, seconds: float) -> dict[str, Any]:
    """Convert the log-mel of a window [frames, mels] to bytes, 0 for `db[0]` and 255 for `db[1]`, with its axes.

    Args:
        clap: The model.
        view: The input of the model for the window.
        seconds: Duration of the whole file.
    """
    facts = clap.manifest.audio
    mel = view.log_mels[0]
    top = float(mel.max())
    bottom = max(float(mel.min()), top - _RANGE_DB)
    levels = np.clip((mel - bottom) * (255 / max(top - bottom, 1e-6)), 0, 255)
    shrunk = clap.long.mode is LongMode.FUSION and seconds > facts.window_s  # the whole file in one picture
    return {
        "data": base64.b64encode(levels.round().astype(np.uint8).tobytes()).decode(),
        "frames": mel.shape[0],
        "mels": mel.shape[1],
        "db": [bottom, top],
        "hz": [round(hz, 1) for hz in centre_frequencies(facts.mel)],
        "start_s": view.start_s,
        "seconds": seconds if shrunk else facts.window_s,
    }


def centre_frequencies(spec: MelSpec) -> list[float]:
    """Centre frequency of each mel filter, in Hz.

    Example:
        >>> [round(hz) for hz in centre_frequencies(MelSpec())][:2]
        [104, 158]
    """
    low, high = hz_to_mel(spec.f_min, spec.scale), hz_to_mel(spec.f_max, spec.scale)
    return mel_to_hz(np.linspace(low, high, spec.mels + 2), spec.scale)[1:-1].tolist()
