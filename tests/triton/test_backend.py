"""Python models of the Triton repository on arrays, without a server."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.long_audio import long_audio_policy
from claprt.audio.preprocess import recipe
from claprt.audio.synthetic import SOUNDS
from claprt.errors import ArrayError, AudioDecodeError, AudioShapeError, ClaprtError
from claprt.triton.backend.adapter import check_distinct

RATE = 16_000
REPOSITORY = Path(__file__).parents[2] / "triton_repo"


def step(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An instance of a step's model, not initialised."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", SimpleNamespace())
    spec = importlib.util.spec_from_file_location(f"step_{name}", REPOSITORY / name / "1" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TritonPythonModel()


@pytest.fixture
def decode(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> Any:
    model = step("decode", monkeypatch)
    facts = clap.manifest.audio
    model.facts, model.limit, model.recipe = facts, 60, recipe("laion")
    model.views, model.windows = long_audio_policy(None, facts, None, None), long_audio_policy("windows", facts, None, None)
    return model


def asked(model: Any, data: bytes, rate: int | None) -> Any:
    inputs = {"audio": np.array([data], np.object_)} | ({} if rate is None else {"sample_rate": np.array([rate], np.int32)})
    return model.answer(inputs, frozenset({"log_mels"}))["log_mels"]


def file(sound: Any, subtype: str) -> bytes:
    made = io.BytesIO()
    soundfile.write(made, sound, RATE, format="WAV", subtype=subtype)
    return made.getvalue()


def test_what_is_sent_with_a_rate(decode: Any) -> None:
    sound = SOUNDS["rain"](RATE, RATE).astype(np.float32)
    expected = asked(decode, sound.tobytes(), RATE)
    assert (asked(decode, file(sound, "FLOAT"), None) == expected).all()
    for other in (file(sound, "FLOAT"), file(sound, "DOUBLE")):
        assert (asked(decode, other, 48_000) == expected).all(), "the file states its own rate"
    assert (asked(decode, sound.astype("<f8").tobytes(), RATE) == expected).all()
    for data, sentence in ((np.rint(sound * 32767).astype("<i2"), "16-bit"), (np.frombuffer(b"<html>" * 99, "u1"), "text")):
        with pytest.raises(AudioDecodeError, match=sentence):
            asked(decode, data.tobytes(), RATE)


def test_a_sound_that_is_too_long(decode: Any) -> None:
    decode.limit = 1
    with pytest.raises(AudioShapeError, match=r"more sound.*claprt\.load\(.triton://"):
        asked(decode, np.zeros(RATE * 11, np.float32).tobytes(), RATE)


def test_waveforms_that_are_bytes_of_something_else(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    model = step("log_mel", monkeypatch)
    model.facts = clap.manifest.audio
    sound = np.zeros(480_000, np.float32)
    sound[:RATE] = SOUNDS["rain"](RATE, 48_000)
    assert model.answer({"waveforms": sound[None]}, frozenset())["log_mels"].shape == (1, model.facts.views, 1001, 64)
    sound[: RATE // 2] = np.rint(sound[:RATE] * 32767).astype("<i2").view(np.float32)
    with pytest.raises(ClaprtError, match="waveforms holds the bytes|16-bit integers|something else"):
        model.answer({"waveforms": sound[None]}, frozenset())


def test_texts_are_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = step("zero_shot", monkeypatch)
    model.scale = 18.0
    rows = np.random.default_rng(0).standard_normal((300, 512)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = model.answer({"audio_embeddings": rows[:2], "text_embeddings": rows}, frozenset())
    assert found["probabilities"].shape == (2, 300)
    check_distinct(rows[:1])
    rows[250] = rows[7] + np.float32(1e-7)
    with pytest.raises(ArrayError, match="Texts 7 and 250 are the same"):
        model.answer({"audio_embeddings": rows[:2], "text_embeddings": rows}, frozenset())
