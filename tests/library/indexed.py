"""What tests of indexing share: sounds, runs, and what they leave."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.library.create import index

RATE = 16_000
KINDS = tuple(SOUNDS)


def write_sound(path: Path, number: int, *, seconds: float = 0.3, channels: int = 1) -> Path:
    """A sound of its own for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = SOUNDS[KINDS[1 + number % (len(KINDS) - 1)]](round(seconds * RATE), RATE)
    noise = np.random.default_rng(number).uniform(-0.1, 0.1, samples.size).astype(np.float32)
    soundfile.write(path, np.repeat((0.5 * samples + noise)[:, None], channels, axis=1), RATE)
    return path


def rows_of(library: Path, *columns: str) -> list[dict[str, Any]]:
    """Rows in the order of paths and windows."""
    table = claprt.open_library(library).to_arrow(columns or None)
    return sorted(table.to_pylist(), key=lambda row: (row.get("path", ""), row.get("window", 0)))


def failures_of(library: Path) -> list[dict[str, Any]]:
    return sorted(claprt.open_library(library).failures().to_pylist(), key=lambda row: row["path"])


def run(*sources: Path | str, out: Path, clap: claprt.Clap, **options: Any) -> Any:
    return index([str(one) for one in sources], out, clap, **options)


def tar_of(folder: Path, archive: Path, mode: str = "w") -> Path:
    with tarfile.open(archive, mode) as tar:  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownVariableType]
        for path in sorted(folder.rglob("*.*")):
            tar.add(path, path.relative_to(folder))
    return archive


class CountedEngine:
    """Counts the windows that go through the audio tower."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clap: claprt.Clap) -> None:
        self.windows = 0
        engine = clap.engine.batch_engine()
        audio = engine.audio

        def counted(log_mels: Any, is_longer: Any) -> Any:
            self.windows += len(log_mels)
            return audio(log_mels, is_longer)

        monkeypatch.setattr(engine, "audio", counted)
