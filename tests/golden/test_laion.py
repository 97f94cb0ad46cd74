"""The shipped model and the front end give what laion-clap gives, on every clone: no reference is installed for it."""

from __future__ import annotations

import numpy as np
import pytest

import claprt
from claprt.audio.log_mel import log_mel
from claprt.audio.preprocess import int16_round_trip
from claprt.audio.windows import pad_to
from claprt.bundle.manifest import MelSpec
from tests.golden.compare import assert_same_vectors, embedded, laion
from tests.golden.inputs import FRAMES, SEED, TEXTS, WINDOW, sounds


@pytest.mark.parametrize("spec", [MelSpec(), MelSpec(scale="htk", norm="none")], ids=lambda spec: spec.scale)
def test_log_mels(spec: MelSpec) -> None:
    short = [sound for sound in sounds().values() if not isinstance(sound, bytes) and len(sound) <= WINDOW]
    for sound, expected in zip(short, laion()[f"log-mel/{spec.scale}"], strict=True):
        found = log_mel(pad_to(int16_round_trip(sound), WINDOW), spec)
        assert found.shape == (1001, 64)
        mean = found.mean(axis=0, dtype=np.float64)
        assert np.abs(np.vstack([found[list(FRAMES)], mean]) - expected).max() <= 5e-3  # dB


def test_sounds() -> None:
    """Shorter than a window, exactly one, resampled, and the crop of a longer one that laion-clap draws."""
    clap = claprt.load("mini", long="random", seed=SEED)
    assert_same_vectors(embedded(clap, sounds()), laion()["mini/audio"])


def test_windows() -> None:
    """The mean of laion-clap's vectors of windows whose positions were written down by hand."""
    assert_same_vectors(embedded(claprt.load("mini"), ["long"]), laion()["mini/windows"])


def test_texts() -> None:
    assert_same_vectors(claprt.load("mini").embed_text(TEXTS), laion()["mini/text"])


def test_vectors_tell_the_sounds_and_texts_apart() -> None:
    """The limits mean something: no two of the recorded vectors are near each other."""
    for name in ("mini/audio", "mini/text"):
        cosines = laion()[name] @ laion()[name].T
        assert cosines[~np.eye(len(cosines), dtype=bool)].max() < 0.95
