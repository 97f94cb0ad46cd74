"""Requests that are wrong: refused with our sentence in Triton's error, and the models stay up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

import claprt
from tests.triton.asking import Array, ask, strings, wav
from tests.triton.server import Server

WINDOW = 480_000
LIMIT = 1e-6

BAD = {
    "bytes that are no file": ("clap_audio_file", {"audio": strings(b"junk")}, "cannot be decoded"),
    "no file at all": ("clap_audio_file", {"audio": strings()}, "names no file"),
    "an empty file": ("clap_audio_file", {"audio": strings(b"")}, "bytes"),
    "two hours": ("clap_audio_file", {"audio": strings(wav(np.zeros(7200 * 8000), 8000, "FLAC", "PCM_16"))}, "more sound"),
    "two hours of raw samples": (
        "clap_audio_file", {"audio": strings(bytes(28_800_000)), "sample_rate": np.array([1000], np.int32)}, "more sound",
    ),
    "tokens without a mask": (
        "text_tower", {"token_ids": np.ones((1, 4), np.int64), "attention_mask": np.zeros((1, 4), np.int64)}, "no token",
    ),
    "half a sample": (
        "clap_audio_file", {"audio": strings(b"abc"), "sample_rate": np.array([8000], np.int32)}, "no whole number",
    ),
    "a rate that is none": (
        "clap_audio_file", {"audio": strings(b"abcd"), "sample_rate": np.array([-1], np.int32)}, "sample_rate is -1",
    ),
    "an empty text": ("clap_text", {"text": strings("fine", " ")}, "at least one word"),
    "no text": ("clap_text", {"text": strings()}, "1 to 256 texts"),
    "too many texts": ("clap_text", {"text": strings(*["x"] * 257)}, "1 to 256 texts"),
    "text that is not UTF-8": ("clap_text", {"text": strings(b"\xff")}, "is UTF-8"),
    "NaN": ("clap_audio", {"waveforms": np.full((1, WINDOW), np.nan, np.float32)}, "clean it first"),
    "NaN in log-mels": ("audio_tower", {"log_mels": np.full((1, 1, 1001, 64), np.nan, np.float32)}, "not finite"),
    "another shape": ("clap_audio", {"waveforms": np.zeros((1, 48_000), np.float32)}, "unexpected shape"),
    "another type": ("clap_audio", {"waveforms": np.zeros((1, WINDOW), np.int64)}, "data-type"),
    "too large a batch": ("clap_audio", {"waveforms": np.zeros((65, WINDOW), np.float32)}, "batch-size must be <= 64"),
    "a mask of another length": (
        "text_tower",
        {"token_ids": np.ones((1, 4), np.int64), "attention_mask": np.ones((1, 5), np.int64)},
        "attention_mask has 5",
    ),
}  # fmt: skip
OUTPUT = {"clap_text": "text_embeddings", "text_tower": "text_embeddings"}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_requests_are_refused_and_the_model_stays_up(server: Server, case: str) -> None:
    model, given, sentence = BAD[case]
    with pytest.raises(InferenceServerException, match=sentence) as caught:
        ask(server, model, OUTPUT.get(model, "audio_embeddings"), **given)
    assert "Traceback" not in str(caught.value)
    fine = ask(server, "clap_text", "text_embeddings", text=strings("fine"))["text_embeddings"]
    assert abs(np.linalg.norm(fine) - 1) < 1e-5


def test_a_wrong_request_does_not_harm_those_it_is_merged_with(server: Server, clap: claprt.Clap) -> None:
    rows = np.random.default_rng(2).normal(-30, 10, (24, 1, 1001, 64)).astype(np.float32)
    rows[::5] = np.nan
    expected = clap.engine.audio(np.nan_to_num(rows), None)

    def one(row: Array) -> Array | None:
        try:
            return ask(server, "audio_tower", "audio_embeddings", log_mels=row[None])["audio_embeddings"]
        except InferenceServerException:
            return None

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(one, rows))
    for number, reply in enumerate(found):
        assert (reply is None) == (number % 5 == 0)
        assert reply is None or np.abs(reply - expected[number]).max() <= LIMIT
