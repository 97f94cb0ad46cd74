"""End to end against transformers' `ClapModel` and `ClapFeatureExtractor`, exported from the folder they save."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from tests.parity.sounds import RATE, short_waveforms


def test_short_sounds(exports: Any, score: Any) -> None:
    made = exports.of_transformers(fused=False)
    row = score("transformers, sounds ≤ 10 s")
    clap = claprt.load(made.bundle, preprocess="transformers")
    waveforms = short_waveforms()
    row.compare(
        clap.embed_audio(waveforms, RATE), np.concatenate([made.reference.audio(waveform) for waveform in waveforms])
    )
    row.settle(cosine=0.99999)


def test_random_crop(exports: Any, score: Any) -> None:
    made = exports.of_transformers(fused=False)
    row = score("transformers, random crop by seed")
    waveform = SOUNDS["speech-like"](800_000, RATE)
    for seed in (0, 5):
        clap = claprt.load(made.bundle, preprocess="transformers", long="random", seed=seed)
        row.compare(clap.embed_audio(waveform, RATE), made.reference.audio(waveform, seed))
    row.settle(cosine=0.99999)


def test_fused_short(exports: Any, score: Any) -> None:
    """A clip by itself: transformers then always marks it as longer."""
    made = exports.of_transformers(fused=True)
    row = score("transformers fused, sounds ≤ 10 s")
    clap = claprt.load(made.bundle, preprocess="transformers")
    waveforms = short_waveforms()
    row.compare(
        clap.embed_audio(waveforms, RATE), np.concatenate([made.reference.audio(waveform) for waveform in waveforms])
    )
    row.settle(cosine=0.99999)


def test_fused_long(exports: Any, score: Any) -> None:
    made = exports.of_transformers(fused=True)
    row = score("transformers fused, sounds > 10 s, the same crops")
    whole = np.concatenate([make(200_000, RATE) for make in SOUNDS.values()])
    for samples in (480_479, 480_480, 480_961, 700_000, 1_234_567):
        clap = claprt.load(made.bundle, preprocess="transformers", seed=samples)
        row.compare(clap.embed_audio(whole[:samples], RATE), made.reference.audio(whole[:samples], samples))
    row.settle(cosine=0.99999)


@pytest.mark.parametrize("fused", [False, True])
def test_text(exports: Any, score: Any, fused: bool) -> None:
    """Every number of tokens from 3 to 77, in one batch."""
    made = exports.of_transformers(fused=fused)
    clap = claprt.load(made.bundle)
    row = score(f"transformers{' fused' if fused else ''}, text")
    texts = [" ".join(["sound"] * words) for words in range(1, 90, 3)]
    ids = clap.tokenizer.encode(texts)
    row.compare(clap.embed_text(texts), np.concatenate([made.reference.text(row_ids) for row_ids in ids]))
    row.settle(cosine=0.999999)
