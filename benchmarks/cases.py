"""What the benchmark asks of every engine: the same sounds, files and labels, made from seeds in both environments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from claprt.audio.synthetic import SOUNDS

RATE = 48_000
Waveform = NDArray[np.float32]

FORMATS = (
    ("WAV", "PCM_16", 44_100, 2),
    ("FLAC", "PCM_16", 48_000, 1),
    ("OGG", "VORBIS", 44_100, 1),
    ("WAV", "FLOAT", 22_050, 1),
)
"""Of the files of the folder, one after the other: format, coding, rate and channels."""

CASES = {
    "1 s": "one 1 s sound at 16 kHz, resampled",
    "10 s": "one 10 s sound at 48 kHz",
    "batch 10": "10 sounds of 10 s in one call",
    "batch 64": "64 sounds of 10 s in one call",
    "files": "a folder of mixed files of 1 to 10 s",
    "1 label": "one text of about 9 tokens",
    "64 labels": "64 texts of about 9 tokens",
}


def sounds(count: int, seconds: float, rate: int = RATE) -> list[Waveform]:
    """Synthesised sounds of all kinds, no two alike."""
    makers = list(SOUNDS.values())[1:]
    random = np.random.default_rng(count)
    return [
        (makers[index % len(makers)](round(seconds * rate), rate) + random.normal(0, 0.01, round(seconds * rate))).astype(
            np.float32
        )
        for index in range(count)
    ]


def write_files(folder: Path, count: int) -> list[Path]:
    """Files of 1 to 10 s in changing formats; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for index in range(count):
        kind, subtype, rate, channels = FORMATS[index % len(FORMATS)]
        path = folder / f"{index:03}.{kind.lower()}"
        paths.append(path)
        if not path.exists():
            (waveform,) = sounds(1, 1 + index % 10, rate)
            samples = np.stack([waveform, waveform[::-1]], axis=1) if channels == 2 else waveform
            soundfile.write(path, np.clip(samples, -1, 1), rate, format=kind, subtype=subtype)
    return paths


def labels(count: int, *, words: bool) -> list[str]:
    """Texts of about nine tokens: words for RoBERTa's tokenizer, fewer letters for a tokenizer of bytes."""
    makers = ("dog", "bell", "rain", "train", "guitar", "engine", "bird", "crowd")
    places = ("a street", "the forest", "a kitchen", "the sea", "a church", "a station", "the wind", "a garden")
    texts = [f"sound of a {maker} in {place}" for maker in makers for place in places][:count]
    return texts if words else [f"{text[11:15]}{text[-3:]}" for text in texts]
