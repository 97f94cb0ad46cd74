"""Python models of the Triton repository on arrays, without a server: also those of a repository that 0.1.0 built."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Mapping
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
OLD_REPOSITORY = Path(__file__).parent / "repository_0_1_0"
"""The `model.py` files of 0.1.0, which copies them into each repository that it builds."""


class TritonError(Exception):
    """As Triton's: a message and a kind."""

    INVALID_ARG, INTERNAL = 3, 4


def response(output_tensors: Any = (), error: TritonError | None = None) -> Any:
    if error is not None:
        raise error
    return {tensor.name(): tensor.as_numpy() for tensor in output_tensors}


def tensor(name: str, array: Any) -> Any:
    return SimpleNamespace(name=lambda: name, as_numpy=lambda: array)


BACKEND = SimpleNamespace(Tensor=tensor, InferenceResponse=response, TritonError=TritonError)
PARAMETERS = {"provider": "cpu", "precision": "fp32", "threads": "1", "max_windows": "3", "max_texts": "2"}


class Served:
    """The models of a folder as Triton runs them, on the files of a repository."""

    def __init__(self, models: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._models, self._repository, self._patch = models, repository, monkeypatch

    def __call__(self, name: str, wanted: str, **inputs: Any) -> Mapping[str, Any]:
        """One request to a new instance."""
        model = step(name, self._patch, self._models)
        parameters = {key: {"string_value": value} for key, value in PARAMETERS.items()}
        args = {
            "model_config": json.dumps({"parameters": parameters}),
            "model_repository": str(self._repository / name),
            "model_version": "1",
        }
        model.initialize(args)
        request = SimpleNamespace(
            inputs=lambda: [tensor(*item) for item in inputs.items()], requested_output_names=wanted.split
        )
        (found,) = model.execute([request])
        return found


@pytest.mark.parametrize("models", [REPOSITORY, OLD_REPOSITORY], ids=["now", "0.1.0"])
@pytest.mark.filterwarnings("ignore:claprt[.]:DeprecationWarning")
class TestModels:
    @pytest.fixture
    def served(self, models: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
        return Served(models, repository, monkeypatch)

    def test_a_file_becomes_its_vector(self, served: Served, clap: claprt.Clap) -> None:
        sound = SOUNDS["rain"](12 * RATE, RATE)
        data = np.array([file(sound, "FLOAT"), file(sound[:RATE], "FLOAT")], np.object_)
        cut = served("decode", "waveforms windows", audio=data)
        assert cut["windows"].tolist() == [2, 1]
        mels = served("log_mel", "log_mels", waveforms=cut["waveforms"])["log_mels"]
        assert np.array_equal(mels[2:], served("decode", "log_mels windows", audio=data[1:])["log_mels"])
        rows = served("audio_tower", "audio_embeddings", log_mels=mels)["audio_embeddings"]
        files = served("pool", "audio_embeddings", window_embeddings=rows, windows=cut["windows"])["audio_embeddings"]
        expected = [clap.embed_audio(sound, RATE), clap.embed_audio(sound[:RATE], RATE)]
        assert np.abs(files - expected).max() < 1e-6  # toy towers in batches of another size

    def test_texts_become_scores(self, served: Served, clap: claprt.Clap) -> None:
        texts = ["a dog barking", "rain"]
        tokens = served("tokenizer", "token_ids attention_mask", text=np.array([t.encode() for t in texts], np.object_))
        rows = served("text_tower", "text_embeddings", **tokens)["text_embeddings"]
        assert np.abs(rows - clap.embed_text(texts)).max() < 1e-6
        scores = served("zero_shot", "similarities probabilities", audio_embeddings=rows[:1], text_embeddings=rows)
        assert scores["similarities"][0, 0] == pytest.approx(1, abs=1e-6)
        assert scores["probabilities"].sum() == pytest.approx(1, abs=1e-6)

    def test_what_is_wrong_is_refused(self, served: Served) -> None:
        with pytest.raises(TritonError, match="more sound"):
            served("decode", "waveforms", audio=np.array([file(np.zeros(31 * RATE), "FLOAT")], np.object_))
        with pytest.raises(TritonError, match="1 to 2 texts"):
            served("tokenizer", "token_ids", text=np.array([b"a", b"b", b"c"], np.object_))
        with pytest.raises(TritonError, match="there are 2 rows"):
            served(
                "pool",
                "audio_embeddings",
                window_embeddings=np.eye(2, 512, dtype=np.float32),
                windows=np.array([1], np.int32),
            )


def step(name: str, monkeypatch: pytest.MonkeyPatch, models: Path = REPOSITORY) -> Any:
    """An instance of a step's model, not initialised."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", BACKEND)
    spec = importlib.util.spec_from_file_location(f"step_{name}", models / name / "1" / "model.py")
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
