"""The service on the toy bundle: kromosynth's protocol, HTTP, limits, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

import claprt
from claprt.compat.kromosynth import CLAPExtractor
from claprt.errors import OptionError
from claprt.serve.app import create_app, decoded, split
from claprt.serve.batcher import Batcher, OverloadedError
from claprt.serve.limits import Limits
from claprt.synthetic import SOUNDS

RATE = 16_000
KEYS = {"status", "features", "embedding", "type", "time", "extraction_time_ms"}


@pytest.fixture(scope="module")
def clap(bundle: Path) -> claprt.Clap:
    return claprt.load(bundle, preprocess="kromosynth")


@pytest.fixture(scope="module")
def client(clap: claprt.Clap) -> Iterator[TestClient]:
    limits = Limits(message_bytes=1 << 20, windows=2, texts=5, sounds=3)
    with TestClient(create_app(clap, limits=limits), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def sound() -> Any:
    return SOUNDS["rain"](RATE, RATE)


def wav(samples: Any, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class TestKromosynth:
    def test_binary(self, client: TestClient, clap: claprt.Clap, sound: Any) -> None:
        with client.websocket_connect("/clap") as socket:
            socket.send_bytes(sound.astype("<f4").tobytes())
            reply = socket.receive_json()
        assert reply.keys() == KEYS
        assert (reply["status"], reply["type"]) == ("received standalone audio", "clap")
        assert reply["features"] == reply["embedding"]
        expected = CLAPExtractor(model=clap).extract_embedding(sound, RATE)
        assert np.abs(np.asarray(reply["embedding"], np.float32) - expected).max() < 1e-6
        assert 0 < reply["time"] == pytest.approx(reply["extraction_time_ms"] / 1000, abs=1e-5)

    def test_json_and_many_messages_on_one_connection(self, client: TestClient, clap: claprt.Clap, sound: Any) -> None:
        with client.websocket_connect("/clap?sample_rate=48000") as socket:
            for rate in (None, 8000, 22_050.0, "44100"):
                message = {"audio_buffer": base64_of(sound.astype("<f4").tobytes())}
                socket.send_text(json.dumps(message if rate is None else {**message, "sample_rate": rate}))
                vector = np.asarray(socket.receive_json()["embedding"], np.float32)
                expected = clap.embed_audio(sound, 48_000 if rate is None else int(float(rate)))
                assert np.abs(vector - expected).max() < 1e-6

    @pytest.mark.parametrize(
        ("message", "sentence"),
        [
            (b"abc", "no whole number"),
            (b"", "at least|too short|no sample|empty"),
            (np.full(9, np.nan, np.float32).tobytes(), "nan"),
            ("junk", "not JSON"),
            ("[1]", "Missing audio_buffer"),
            ("{}", "Missing audio_buffer in request"),
            ('{"audio_buffer": 3}', "not a string"),
            ('{"audio_buffer": "AAA"}', "not base64"),
            ('{"audio_buffer": "AAAAAA=="}', ""),
            ('{"audio_buffer": "AAAAAA==", "sample_rate": "fast"}', "whole number of Hz"),
            ('{"audio_buffer": "AAAAAA==", "sample_rate": -5}', "Hz"),
            ("[" * 100_000, "not JSON"),
            (np.zeros(RATE * 21, np.float32).tobytes()[: 1 << 20], ""),
        ],
    )
    def test_broken_messages_are_answered_and_the_connection_stays(
        self, client: TestClient, sound: Any, message: str | bytes, sentence: str
    ) -> None:
        with client.websocket_connect("/clap") as socket:
            _send(socket, message)
            reply = socket.receive_json()
            if sentence:
                assert reply["status"] == "ERROR"
                assert any(part.lower() in reply["message"].lower() for part in sentence.split("|")), reply
                assert "Traceback" not in reply["message"]
            socket.send_bytes(sound.astype("<f4").tobytes())
            assert socket.receive_json()["type"] == "clap"

    def test_too_long(self, client: TestClient) -> None:
        with client.websocket_connect("/clap?sample_rate=4000") as socket:
            socket.send_bytes(np.ones(4000 * 21, np.float32).tobytes())
            assert "more sound" in socket.receive_json()["message"]

    def test_a_rate_that_is_none(self, client: TestClient) -> None:
        with client.websocket_connect("/clap?sample_rate=quick") as socket:
            assert socket.receive_json()["status"] == "ERROR"
            with pytest.raises(WebSocketDisconnect):
                socket.receive_json()

    def test_unknown_path(self, client: TestClient) -> None:
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/nothing"):
            pass

    def test_a_client_that_leaves(self, client: TestClient, sound: Any) -> None:
        for _ in range(5):
            with client.websocket_connect("/clap") as socket:
                socket.send_bytes(sound.astype("<f4").tobytes())
        assert client.get("/readyz").status_code == 200


def _send(socket: WebSocketTestSession, message: str | bytes) -> None:
    if isinstance(message, bytes):
        socket.send_bytes(message)
    else:
        socket.send_text(message)


class TestHttp:
    def test_texts(self, client: TestClient, clap: claprt.Clap) -> None:
        reply: Any = None
        for _ in range(2):  # the second time from memory
            reply = client.post("/v1/embeddings", json={"input": ["a dog", "rain", "a dog"], "model": "clap"}).json()
            rows = np.asarray([row["embedding"] for row in reply["data"]], np.float32)
            assert np.abs(rows - clap.embed_text(["a dog", "rain", "a dog"])).max() < 1e-6
        assert [row["index"] for row in reply["data"]] == [0, 1, 2]
        assert reply["object"] == "list"
        assert reply["model"] == "tiny"

    @pytest.mark.parametrize("prefix", ["", "data:audio/wav;base64,"])
    def test_sounds(self, client: TestClient, clap: claprt.Clap, sound: Any, prefix: str) -> None:
        body = {"input": prefix + base64_of(wav(sound, RATE)), "modality": "audio", "encoding_format": "base64"}
        row = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
        vector = np.frombuffer(base64.b64decode(row), "<f4")
        assert np.abs(vector - clap.embed_audio(wav(sound, RATE))).max() < 1e-6

    def test_classify(self, client: TestClient, clap: claprt.Clap, sound: Any) -> None:
        data = wav(sound, RATE)
        expected = claprt.classify(data, labels=["rain", "dog"], model=clap).to_dict()
        reply = client.post("/classify", json={"audio": base64_of(data), "labels": ["rain", "dog"]}).json()
        form = client.post("/classify/file", files={"file": data}, data={"labels": "rain, dog", "top_k": "2"}).json()
        for found in (reply, form):
            assert found["predicted_class"] == expected["predicted_class"]
            assert found["fingerprint"] == clap.fingerprint
            for one, other in zip(found["classes"], expected["classes"], strict=True):
                assert one["label"] == other["label"]
                assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)

    @pytest.mark.parametrize(
        ("path", "body", "status", "sentence"),
        [
            ("/v1/embeddings", {"input": []}, 400, "1 to 5 texts"),
            ("/v1/embeddings", {"input": ["x"] * 6}, 400, "1 to 5 texts"),
            ("/v1/embeddings", {"input": ""}, 400, "at least one word"),
            ("/v1/embeddings", {"input": "https://example.org/a.wav", "modality": "audio"}, 400, "not opened"),
            ("/v1/embeddings", {"input": "/etc/passwd", "modality": "audio"}, 400, "not opened"),
            ("/v1/embeddings", {"input": "AAAA", "modality": "audio"}, 400, "cannot be decoded"),
            ("/v1/embeddings", {"input": "x", "modality": "image"}, 422, "modality"),
            ("/v1/embeddings", {}, 422, "input"),
            ("/classify", {"audio": "AAAA", "labels": []}, 400, "labels is empty"),
            ("/classify", {"audio": "%", "labels": ["a"]}, 400, "not base64"),
        ],
    )
    def test_refusals(self, client: TestClient, path: str, body: Any, status: int, sentence: str) -> None:
        reply = client.post(path, json=body)
        assert reply.status_code == status
        assert sentence in reply.json()["error"]["message"]

    def test_bodies_that_are_no_json_or_too_large(self, client: TestClient) -> None:
        assert client.post("/classify", content=b"{", headers={"content-type": "application/json"}).status_code == 422
        assert client.post("/classify", content=b" " * ((1 << 20) + 1)).status_code == 413
        assert client.post("/classify", content=iter([b"{}"])).status_code == 411

    def test_health_and_metrics(self, client: TestClient, clap: claprt.Clap) -> None:
        assert client.get("/healthz").text == "ok"
        assert client.get("/readyz").json()["fingerprint"] == clap.fingerprint
        assert "claprt_windows " in client.get("/metrics").text
        assert {"/v1/embeddings", "/classify"} <= client.get("/openapi.json").json()["paths"].keys()


def test_a_token(clap: claprt.Clap) -> None:
    with TestClient(create_app(clap, token="secret")) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/metrics", headers={"authorization": "Bearer secret"}).status_code == 200
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/clap"):
            pass
        with client.websocket_connect("/clap", headers={"authorization": "Bearer secret"}) as socket:
            socket.send_text("{}")
            assert socket.receive_json()["status"] == "ERROR"


def test_what_arrives_together_is_run_together(bundle: Path) -> None:
    clap = claprt.load(bundle, preprocess="kromosynth")
    rows = [SOUNDS["rain"](RATE, RATE) * np.float32(1 - n / 50) for n in range(24)]
    expected = clap.embed_audio(rows, RATE)

    through = clap.engine.audio

    def slow(*arguments: Any) -> Any:
        time.sleep(0.1)
        return through(*arguments)

    async def ask() -> tuple[list[Any], int, int]:
        batcher = Batcher(clap, Limits())
        clap.engine.audio = slow  # pyright: ignore[reportAttributeAccessIssue]
        found = await asyncio.gather(*(batcher.sound(row, RATE) for row in rows))
        runs, windows = batcher.runs, batcher.windows
        batcher.close()
        assert batcher.waiting == 0
        return [sound.vector for sound in found], runs, windows

    vectors, runs, windows = asyncio.run(ask())
    assert np.abs(np.stack(vectors) - expected).max() < 1e-6
    assert windows == 24
    assert runs < 24


def test_overload_is_said(bundle: Path) -> None:
    clap = claprt.load(bundle)
    gate = threading.Event()
    through = clap.engine.audio

    def slow(*arguments: Any) -> Any:
        gate.wait(20)
        return through(*arguments)

    async def ask() -> list[Any]:
        batcher = Batcher(clap, Limits(waiting=2))
        clap.engine.audio = slow  # pyright: ignore[reportAttributeAccessIssue]
        asked = [asyncio.ensure_future(batcher.sound(np.ones(4800, np.float32))) for _ in range(4)]
        await asyncio.sleep(0.2)
        gate.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        batcher.close()
        return found

    found = asyncio.run(ask())
    assert [isinstance(result, OverloadedError) for result in found] == [False, False, True, True]
    assert all(result.vector is not None for result in found[:2])


def test_small_things() -> None:
    assert split(" dog,, rain ") == ["dog", "rain"]
    with pytest.raises(OptionError):
        split("[1,")
    with pytest.raises(OptionError, match="windows=0"):
        Limits(windows=0)
    assert decoded("data:audio/flac;base64,AAAA") == b"\0\0\0"
