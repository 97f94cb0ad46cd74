"""What the page draws of a sound: its waveform from afar, and the log-mel of the first window as the model hears it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from claprt.audio.log_mel import hz_to_mel, mel_to_hz
from claprt.audio.long_audio import LongMode
from claprt.bundle.manifest import MelSpec
from claprt.model.clap import Clap
from claprt.serve.scheduling.asked import Heard
from claprt.serve.scheduling.features import Outline

_COLUMNS = 1000
_RANGE_DB = 80.0
"""What is further below the loudest point is drawn as silence."""


def picture(clap: Clap, heard: Heard, outline: Outline) -> dict[str, Any]:
    """Plain values for JSON: `sound`, `waveform` and `log_mel`."""
    seconds = outline.samples / outline.rate
    low, high = outline.columns(_COLUMNS)
    return {
        "sound": {
            "name": heard.sound.source,
            "seconds": seconds,
            "rate": outline.rate,
            "windows": len(heard.sound.windows),
        },
        "waveform": {"low": low.round(4).tolist(), "high": high.round(4).tolist()},
        "log_mel": log_mel_picture(clap, heard, seconds),
    }


def log_mel_picture(clap: Clap, heard: Heard, seconds: float) -> dict[str, Any]:
    """The first window's log-mel [frames, mels] as bytes, 0 for `db[0]` and 255 for `db[1]`, and what its axes mean."""
    facts = clap.manifest.audio
    first = heard.first
    assert first is not None  # sounds that are to be drawn are not looked for in the cache
    mel = first.log_mels[0]
    top = float(mel.max())
    bottom = max(float(mel.min()), top - _RANGE_DB)
    levels = np.clip((mel - bottom) * (255 / max(top - bottom, 1e-6)), 0, 255)
    shrunk = clap.long.mode is LongMode.FUSION and seconds > facts.window_s  # all of it in one picture
    return {
        "data": base64.b64encode(levels.round().astype(np.uint8).tobytes()).decode(),
        "frames": mel.shape[0],
        "mels": mel.shape[1],
        "db": [bottom, top],
        "hz": [round(hz, 1) for hz in centre_frequencies(facts.mel)],
        "start_s": first.start_s,
        "seconds": seconds if shrunk else facts.window_s,
    }


def centre_frequencies(spec: MelSpec) -> list[float]:
    """Where each mel filter peaks, in Hz.

    Example:
        >>> [round(hz) for hz in centre_frequencies(MelSpec())][:2]
        [104, 158]
    """
    low, high = hz_to_mel(spec.f_min, spec.scale), hz_to_mel(spec.f_max, spec.scale)
    return mel_to_hz(np.linspace(low, high, spec.mels + 2), spec.scale)[1:-1].tolist()
