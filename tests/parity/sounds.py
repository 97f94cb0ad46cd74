"""Waveforms for parity: every kind of synthesised sound in awkward lengths, and real clips where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from claprt.audio.synthetic import SOUNDS

RATE = 48_000
SHORT_LENGTHS = (4_800, 17_777, 48_000, 159_999, 240_000, 240_001, 350_001, 479_999, 480_000)


def short_waveforms() -> list[NDArray[np.float32]]:
    """Every kind at three lengths of at most ten seconds; every length is used; louder than full scale is among them."""
    waveforms = [
        make(SHORT_LENGTHS[(index + step * 4) % len(SHORT_LENGTHS)], RATE)
        for index, make in enumerate(SOUNDS.values())
        for step in range(3)
    ]
    return [*waveforms, waveforms[3] * 3, waveforms[4] * np.float32(1e-3)]


def real_files(shared: Path) -> list[Path]:
    """Real clips of at most ten seconds: ogg, mp3 and flac; mono and stereo; 44.1 to 192 kHz."""
    clips = sorted((shared / "esc10").glob("*.ogg"))[::40] + sorted((shared / "berklee").glob("*.mp3"))[::120]
    return clips + sorted((shared / "sonicpi").glob("*.flac"))[::16]
