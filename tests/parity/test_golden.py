"""Numbers that other implementations published, from the shared data: no reference needs to be installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from claprt.audio.log_mel import log_mel
from claprt.audio.windows import pad_to
from claprt.bundle.manifest import MelSpec, TextConfig
from claprt.text.tokenizer import Tokenizer

SLANEY = MelSpec(f_min=0)
HTK = MelSpec(f_min=0, scale="htk", norm="none")
FILLS = {"repeat": "repeat", "repeatpad": "repeatpad", "None(=repeatpad)": "repeatpad", "pad": "pad"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_mel_of_transformers(shared: Path, record: Any, dtype: str) -> None:
    golden = json.loads((shared / "golden" / "hf_mel_golden.json").read_bytes())
    clip = np.asarray(soundfile.read(shared / "golden" / "librispeech-1272-128104-0000.flac")[0], np.float32)
    worst, cases = 0.0, 0
    for case, spec in (("short_fusion", HTK), ("short_rand_trunc", SLANEY)):
        for padding, frames, expected in zip(
            *(golden[case][key] for key in ("paddings", "frames", "expected")), strict=True
        ):
            mel = log_mel(pad_to(clip, 480_000, FILLS[padding]), spec, dtype)
            worst = max(worst, float(np.abs(mel[frames] - np.array(expected)).max()))
            cases += len(frames)
    bar = 5e-3 if dtype == "float32" else 1e-4
    record(f"log-mel against transformers' golden rows, {dtype}", f"≤ {bar:g} dB", f"{worst:.2e} dB ({cases} rows)")
    assert worst <= bar


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sine_440_5s", "white_noise_10s"])
def test_log_mel_of_viperplayer(shared: Path, record: Any, name: str, dtype: str) -> None:
    folder = shared / "golden" / "viperplayer"
    waveform = np.fromfile(folder / f"{name}.pcm_f32le.bin", "<f4")
    expected = np.fromfile(folder / f"{name}.mel_f32le.bin", "<f4").reshape(1001, 64)
    worst = float(np.abs(log_mel(pad_to(waveform, 480_000), MelSpec(), dtype) - expected).max())
    bar = 5e-3 if dtype == "float32" else 1e-4
    record(f"log-mel against viperplayer's {name}, {dtype}", f"≤ {bar:g} dB", f"{worst:.2e} dB")
    assert worst <= bar


def test_token_ids_of_transformers(shared: Path, record: Any) -> None:
    golden = json.loads((shared / "golden" / "roberta_token_golden.json").read_bytes())
    facts = TextConfig(architecture="RoBERTa-base", max_tokens=512)
    tokenizer = Tokenizer(shared / "roberta-base" / "tokenizer.json", facts)
    assert tokenizer.encode([golden["text"], "Hello world!"]) == [
        [0, *golden["ids_no_special"], 2],
        [0, 31414, 232, 328, 2],
    ]
    record("token ids against transformers' golden text", "identical", "identical")
