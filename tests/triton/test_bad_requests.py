"""Requests that are wrong, over every protocol: refused with our sentence or Triton's, and the models stay up."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

import claprt
from claprt.engines.triton.shared_memory import Region
from tests.triton.asking import Array, ask, ask_http, inputs_of, strings, wav
from tests.triton.server import Server

WINDOW = 480_000
LIMIT = 1e-6
Given = dict[str, Array]


def file(data: bytes, rate: int | None = None) -> Given:
    """What `clap_audio_file` takes; with a rate, raw samples."""
    return {"audio": strings(data)} | ({} if rate is None else {"sample_rate": np.array([rate], np.int32)})


def two_hours() -> bytes:
    return wav(np.zeros(7200 * 8000, np.int16), 8000, "FLAC", "PCM_16")


BAD: dict[str, tuple[str, Callable[[], Given], str]] = {
    "bytes that are no file": ("clap_audio_file", lambda: file(b"junk"), "holds no sound"),
    "a file that was cut off": (
        "clap_audio_file", lambda: file(wav(np.zeros(9000), 8000, "FLAC", "PCM_16")[:60]), "cannot be decoded|truncated",
    ),
    "no file at all": ("clap_audio_file", lambda: {"audio": strings()}, "names no file"),
    "an empty file": ("clap_audio_file", lambda: file(b""), "bytes"),
    "a file without a sample": ("clap_audio_file", lambda: file(wav(np.zeros(0), 8000)), "no samples"),
    "two hours": ("clap_audio_file", lambda: file(two_hours()), "more sound"),
    "two hours of raw samples": ("clap_audio_file", lambda: file(bytes(28_800_000), 1000), "more sound"),
    "half a sample": ("clap_audio_file", lambda: file(b"abc", 8000), "not a whole number"),
    "16-bit integers as samples": (
        "clap_audio_file", lambda: file(np.arange(-999, 999, dtype="<i2").tobytes(), 8000), "16-bit integers",
    ),
    "text as samples": ("clap_audio_file", lambda: file(b"<!DOCTYPE html><html></html>", 8000), "are text"),
    "a text twice": (
        "clap_classify", lambda: file(wav(np.ones(4000), 8000)) | {"labels": strings("a", "b", "a")}, "are the same",
    ),
    "a rate that is none": ("clap_audio_file", lambda: file(b"abcd", -1), "sample_rate is -1"),
    "numbers for a file": ("clap_audio_file", lambda: {"audio": np.zeros(9, np.float32)}, "data-type"),
    "no labels": ("clap_classify", lambda: file(b"junk") | {"labels": strings()}, "1 to 256 texts|holds no sound"),
    "an empty text": ("clap_text", lambda: {"text": strings("fine", " ")}, "at least one word"),
    "no text": ("clap_text", lambda: {"text": strings()}, "1 to 256 texts"),
    "too many texts": ("clap_text", lambda: {"text": strings(*["x"] * 257)}, "1 to 256 texts"),
    "text that is not UTF-8": ("clap_text", lambda: {"text": strings(b"\xff")}, "is UTF-8"),
    "text of another shape": ("clap_text", lambda: {"text": strings("a", "b").reshape(1, 2)}, "unexpected shape"),
    "NaN": ("clap_audio", lambda: {"waveforms": np.full((1, WINDOW), np.nan, np.float32)}, "clean it first"),
    "another shape": ("clap_audio", lambda: {"waveforms": np.zeros((1, 48_000), np.float32)}, "unexpected shape"),
    "another type": ("clap_audio", lambda: {"waveforms": np.zeros((1, WINDOW), np.int64)}, "data-type"),
    "too large a batch": (
        "clap_audio", lambda: {"waveforms": np.zeros((65, WINDOW), np.float32)}, "batch-size must be <= 64",
    ),
    "another input": ("clap_audio", lambda: {"sound": np.zeros((1, WINDOW), np.float32)}, "unexpected inference input"),
    "no input": ("clap_audio", dict, "got 0 inputs|expected 1 inputs"),
    "NaN in log-mels": ("audio_tower", lambda: {"log_mels": np.full((1, 1, 1001, 64), np.nan, np.float32)}, "not finite"),
    "tokens without a mask": (
        "text_tower", lambda: {"token_ids": np.ones((1, 4), np.int64), "attention_mask": np.zeros((1, 4), np.int64)},
        "no token",
    ),
    "too many tokens": (
        "text_tower", lambda: {"token_ids": np.ones((1, 78), np.int64), "attention_mask": np.ones((1, 78), np.int64)},
        "up to 77 tokens; one has 78",
    ),
    "a token that is none": (
        "text_tower", lambda: {"token_ids": np.full((1, 4), 50_265), "attention_mask": np.ones((1, 4), np.int64)},
        "from 0 to",
    ),
    "a token below 0": (
        "text_tower", lambda: {"token_ids": np.full((1, 4), -1), "attention_mask": np.ones((1, 4), np.int64)}, "from 0 to",
    ),
    "no vectors": (
        "zero_shot",
        lambda: {"audio_embeddings": np.ones((0, 512), np.float32), "text_embeddings": np.ones((1, 512), np.float32)},
        "0 sounds and 1 texts",
    ),
    "no vectors of texts": (
        "zero_shot",
        lambda: {"audio_embeddings": np.ones((1, 512), np.float32), "text_embeddings": np.ones((0, 512), np.float32)},
        "1 sounds and 0 texts",
    ),
    "vectors of 0": (
        "pool", lambda: {"window_embeddings": np.zeros((2, 512), np.float32), "windows": np.array([2], np.int32)},
        "must be unit vectors",
    ),
    "a mask of another length": (
        "text_tower", lambda: {"token_ids": np.ones((1, 4), np.int64), "attention_mask": np.ones((1, 5), np.int64)},
        "attention_mask has 5",
    ),
}  # fmt: skip
OUTPUTS = {
    "clap_text": "text_embeddings",
    "text_tower": "text_embeddings",
    "clap_classify": "similarities",
    "zero_shot": "similarities",
}
GOOD: dict[str, Given] = {
    "clap_audio": {"waveforms": np.ones((1, WINDOW), np.float32)},
    "clap_audio_file": file(wav(np.ones(4000), 8000)),
    "clap_text": {"text": strings("fine")},
    "clap_classify": file(wav(np.ones(4000), 8000)) | {"labels": strings("fine")},
    "audio_tower": {"log_mels": np.random.default_rng(0).normal(-30, 10, (1, 1, 1001, 64)).astype(np.float32)},
    "text_tower": {"token_ids": np.ones((1, 4), np.int64), "attention_mask": np.ones((1, 4), np.int64)},
    "zero_shot": {name: np.eye(1, 512, dtype=np.float32) for name in ("audio_embeddings", "text_embeddings")},
    "pool": {"window_embeddings": np.eye(2, 512, dtype=np.float32), "windows": np.array([2], np.int32)},
}
IN_JSON = 100_000
"""Bytes of tensors up to which a case is also sent as JSON, which is slow."""


def ask_json(server: Server, model: str, output: str, **given: Array) -> dict[str, Array]:
    return ask_http(server, model, output, binary=False, **given)


def ask_shared(server: Server, model: str, output: str, **given: Array) -> dict[str, Array]:
    """Over gRPC, with the inputs in shared memory."""
    region = Region(sum(array.nbytes for array in given.values()))
    with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
        client.register_system_shared_memory(region.name, region.key, region.size)
        try:
            tensors, at = inputs_of(grpc, given), 0
            for tensor, array in zip(tensors, given.values(), strict=True):
                place = region.put(array, at)
                tensor.set_shared_memory(place.region, place.size, place.offset)
                at += place.size
            result: Any = client.infer(model, tensors, outputs=[grpc.InferRequestedOutput(output)])
            return {output: result.as_numpy(output)}
        finally:
            until = time.monotonic() + 10
            while True:  # for a moment after a refusal the server may say that the region is in use
                try:
                    client.unregister_system_shared_memory(region.name)
                    break
                except InferenceServerException:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.01)
            region.end()


PROTOCOLS: dict[str, Callable[..., dict[str, Array]]] = {
    "gRPC": ask, "HTTP": ask_http, "JSON": ask_json, "shared memory": ask_shared,
}  # fmt: skip


def goes(protocol: str, given: Given) -> bool:
    """Whether tritonclient sends such a thing over a protocol at all."""
    text = [value for array in given.values() if array.dtype == np.object_ for value in array.ravel()]
    if protocol == "JSON":
        readable = all(value.isascii() for value in text)
        return readable and sum(array.nbytes for array in given.values()) < IN_JSON
    return protocol != "shared memory" or (
        bool(given) and all(array.dtype != np.object_ and array.size for array in given.values())
    )


@pytest.mark.parametrize("case", list(BAD))
def test_bad_requests_are_refused_and_the_model_stays_up(server: Server, case: str) -> None:
    model, make, sentence = BAD[case]
    given, output = make(), OUTPUTS.get(model, "audio_embeddings")
    for protocol in (name for name in PROTOCOLS if goes(name, given)):
        with pytest.raises(InferenceServerException, match=sentence) as caught:
            PROTOCOLS[protocol](server, model, output, **given)
        assert "Traceback" not in str(caught.value)
    fine = ask(server, model, output, **GOOD[model])[output]
    assert abs(np.linalg.norm(fine) - 1) < 1e-5 or output == "similarities"


def test_a_body_that_is_no_request(server: Server) -> None:
    def refused(model: str, body: bytes) -> str:
        url = f"http://127.0.0.1:{server.ports.http}/v2/models/{model}/infer"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10)
        with caught.value:
            return str(json.loads(caught.value.read())["error"])

    assert "parse" in refused("clap_text", b"{")
    assert "inputs" in refused("clap_text", b"{}")
    wrong = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["one"]}
    assert refused("clap_text", json.dumps({"inputs": [wrong]}).encode())
    assert "unknown model" in refused("nothing", b"{}")
    assert ask(server, "clap_text", "text_embeddings", **GOOD["clap_text"])


def test_outputs_and_versions_that_are_not_there(server: Server) -> None:
    with pytest.raises(InferenceServerException, match="unexpected inference output"):
        ask(server, "clap_text", "vectors", **GOOD["clap_text"])
    client = grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
    with client, pytest.raises(InferenceServerException, match="version"):
        client.infer("clap_text", inputs_of(grpc, GOOD["clap_text"]), model_version="9")


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
