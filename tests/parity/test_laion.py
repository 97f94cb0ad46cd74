"""End to end against laion-clap 1.1.7: the same checkpoint file, the same sounds and texts, its own public methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from tests.parity.sounds import RATE, real_files, short_waveforms

TEXTS = [
    "a dog barking",
    "This is a sound of rain.",
    "Glockenspiel, très doucement — 静かに ♪",
    "a" * 200,
    "word " * 300,
    "x",
]


def of_laion(module: Any, waveforms: list[Any]) -> Any:
    """Each waveform by itself, since laion-clap lets neighbours share a path in fused models."""
    return np.concatenate([module.get_audio_embedding_from_data([waveform]) for waveform in waveforms])


@pytest.mark.parametrize("amodel", ["HTSAT-tiny", "HTSAT-base"])
def test_short_sounds(exports: Any, score: Any, amodel: str) -> None:
    made = exports.of_laion(amodel)
    row = score(f"laion-clap {amodel}, sounds ≤ 10 s")
    waveforms = short_waveforms()
    row.compare(claprt.load(made.bundle).embed_audio(waveforms, RATE), of_laion(made.reference, waveforms))
    row.settle(cosine=0.999999, difference=1e-4)


@pytest.mark.parametrize("amodel", ["HTSAT-tiny", "HTSAT-base"])
def test_real_files(exports: Any, score: Any, shared: Path, amodel: str) -> None:
    made = exports.of_laion(amodel)
    row = score(f"laion-clap {amodel}, real files ≤ 10 s")
    files = [file for file in real_files(shared) if soundfile.info(file).duration < 10]
    expected = np.concatenate([made.reference.get_audio_embedding_from_filelist([str(file)]) for file in files])
    row.compare(claprt.load(made.bundle).embed_audio(files), expected)
    row.settle(cosine=0.999999, difference=1e-4)


def test_file_of_ten_seconds_at_44_1_khz(exports: Any, score: Any, tmp_path: Path) -> None:
    """Librosa makes 480001 samples of it, so laion-clap crops at 0 or 1; ours is one window of the whole."""
    made = exports.of_laion("HTSAT-tiny")
    file = tmp_path / "ten.wav"
    soundfile.write(file, SOUNDS["rain"](441_000, 44_100), 44_100)
    row = score("laion-clap HTSAT-tiny, 10 s file at 44.1 kHz")
    sound = next(claprt.load(made.bundle).iter_audio([file]))
    assert sound.starts_s == (0.0,)
    np.random.seed(0)  # randint(0, 2) gives 0
    row.compare(sound.vector, made.reference.get_audio_embedding_from_filelist([str(file)]))
    row.settle(cosine=0.999999, difference=1e-4)


def test_random_crop(exports: Any, score: Any) -> None:
    made = exports.of_laion("HTSAT-tiny")
    row = score("laion-clap HTSAT-tiny, random crop by seed")
    waveform = np.concatenate([SOUNDS["bell"](500_000, RATE), SOUNDS["drums"](377_777, RATE)])
    for seed in (0, 1, 20260, 2**32 - 1):
        np.random.seed(seed)
        expected = made.reference.get_audio_embedding_from_data([waveform])
        row.compare(claprt.load(made.bundle, long="random", seed=seed).embed_audio(waveform, RATE), expected)
    row.settle(cosine=0.999999, difference=1e-4)


def test_fused_short(exports: Any, score: Any) -> None:
    made = exports.of_laion("HTSAT-tiny", fused=True)
    row = score("laion-clap HTSAT-tiny fused, sounds ≤ 10 s")
    waveforms = short_waveforms()
    row.compare(claprt.load(made.bundle).embed_audio(waveforms, RATE), of_laion(made.reference, waveforms))
    row.settle(cosine=0.99999)


def test_fused_long(exports: Any, score: Any) -> None:
    """Lengths just beyond ten seconds, where a third of the positions can be empty, and lengths far beyond."""
    made = exports.of_laion("HTSAT-tiny", fused=True)
    row = score("laion-clap HTSAT-tiny fused, sounds > 10 s, the same crops")
    whole = np.concatenate([make(200_000, RATE) for make in SOUNDS.values()])
    for samples in (480_001, 480_479, 480_480, 480_961, 481_441, 700_000, 1_234_567, 2_000_000):
        for seed in (0, 3):
            np.random.seed(seed)
            expected = made.reference.get_audio_embedding_from_data([whole[:samples]])
            found = claprt.load(made.bundle, seed=seed).embed_audio(whole[:samples], RATE)
            row.compare(found, expected)
    row.settle(cosine=0.99999)


def test_fused_batch_of_short_and_long(exports: Any, score: Any) -> None:
    made = exports.of_laion("HTSAT-tiny", fused=True)
    row = score("laion-clap HTSAT-tiny fused, short and long in one batch")
    waveforms = [SOUNDS["bell"](100_000, RATE), SOUNDS["rain"](600_000, RATE), SOUNDS["tone"](480_000, RATE)]
    np.random.seed(11)
    expected = made.reference.get_audio_embedding_from_data(waveforms)
    row.compare(claprt.load(made.bundle, seed=11).embed_audio(waveforms, RATE), expected)
    row.settle(cosine=0.99999)


def test_kromosynth(exports: Any, score: Any) -> None:
    """The steps of kromosynth-evaluate's `clap_extractor.py`, with the resampy filter that it pins (version 0.2.2)."""
    resampy = pytest.importorskip("resampy")
    made = exports.of_laion("HTSAT-tiny")
    row = score("kromosynth's extractor on laion-clap HTSAT-tiny")
    clap = claprt.load(made.bundle, preprocess="kromosynth")
    half = 64 * 512

    def pinned_filter() -> Any:
        window = lambda length: np.kaiser(length, 14.769656459379492)  # noqa: E731
        return resampy.filters.sinc_window(64, 9, window=window, rolloff=0.9475937167399596)

    assert len(pinned_filter()[0]) == half + 1
    for rate, name, gain in (
        (16_000, "bell", 0.2),
        (44_100, "rain", 1.7),
        (48_000, "chirp", 1e-3),
        (22_050, "silence", 1),
    ):
        audio = SOUNDS[name](rate * 2, rate) * np.float32(gain)
        resampled = audio if rate == RATE else resampy.resample(audio, rate, RATE, filter=pinned_filter)
        peak = np.abs(resampled).max()
        expected = made.reference.get_audio_embedding_from_data([resampled / peak if peak > 0 else resampled])
        row.compare(clap.embed_audio(audio, rate), expected)
    stereo = np.stack([SOUNDS["bell"](RATE, RATE), SOUNDS["tone"](RATE, RATE)])
    mono = stereo.mean(axis=0)
    expected = made.reference.get_audio_embedding_from_data([mono / np.abs(mono).max()])
    row.compare(clap.embed_audio(stereo, RATE), expected)
    row.compare(clap.embed_audio(stereo.T, RATE), expected)
    row.settle(cosine=0.999999, difference=1e-4)


@pytest.mark.parametrize("amodel", ["HTSAT-tiny", "HTSAT-base"])
def test_text(exports: Any, score: Any, roberta: Path | None, amodel: str) -> None:
    if roberta is None:
        pytest.skip("needs the RoBERTa tokenizer of the shared data")
    made = exports.of_laion(amodel)
    clap = claprt.load(made.bundle)
    texts = TEXTS + [" ".join(["sound"] * words) for words in range(1, 90, 4)]
    expected_ids = made.reference.tokenizer(texts)
    found_ids = clap.tokenizer.encode(texts)
    for ids, row_ids, row_mask in zip(found_ids, expected_ids["input_ids"], expected_ids["attention_mask"], strict=True):
        assert ids == row_ids[row_mask.bool()].tolist()
    assert {min(map(len, found_ids)), max(map(len, found_ids))} == {3, 77}
    row = score(f"laion-clap {amodel}, text, ids identical")
    row.compare(clap.embed_text(texts), made.reference.get_text_embedding(texts))
    row.settle(cosine=0.999999)
