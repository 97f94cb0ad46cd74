"""Sounds and models for every adapter: two hundred short sounds, and two models that differ."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import claprt
from claprt.arrays import Embeddings
from tests.tiny import write_tiny_bundle

os.environ.update({  # before any of the libraries is imported: none reports its use, none looks for a network
    "ANONYMIZED_TELEMETRY": "False", "DO_NOT_TRACK": "1", "HAYSTACK_TELEMETRY_ENABLED": "False", "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
})  # fmt: skip

QUERY = "a tone that is low"
SOUNDS = 200


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Paths of tones of a tenth of a second, from 100 Hz to 10 kHz."""
    folder = tmp_path_factory.mktemp("many")
    paths = [folder / f"{number:03}.wav" for number in range(SOUNDS)]
    time = np.arange(4800) / 48_000
    for path, frequency in zip(paths, np.geomspace(100, 10_000, SOUNDS), strict=True):
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * frequency * time), 48_000)
    return [str(path) for path in paths]


@pytest.fixture(scope="session")
def few(many: list[str]) -> list[str]:
    """Five of them."""
    return many[::40]


@pytest.fixture(scope="session")
def vectors(clap: claprt.Clap, many: list[str]) -> Embeddings:
    """Of all of them, by `embed_audio` itself."""
    return clap.embed_audio(many)


@pytest.fixture(scope="session")
def nearest(clap: claprt.Clap, many: list[str], vectors: Embeddings) -> list[str]:
    """The paths of the ten sounds whose cosines with the query are largest."""
    return [many[at] for at in np.argsort(-(vectors @ clap.embed_text(QUERY)))[:10]]


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    """The toy bundle at a place of its own, where another model can take its place."""
    return write_tiny_bundle(tmp_path / "model")


@pytest.fixture
def replace_model(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Puts another model where the copied one is, as for a process that begins anew; returns its fingerprint."""

    def replace() -> str:
        for file in copied.iterdir():
            file.unlink()
        copied.rmdir()
        write_tiny_bundle(copied, name="another")
        monkeypatch.setattr("claprt.integrations.models._loaded", {})
        with claprt.load(copied) as other:
            return other.fingerprint

    return replace
