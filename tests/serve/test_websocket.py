"""The WebSockets of the service on the toy bundle: kromosynth's protocols, limits, and what goes wrong."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.compat.kromosynth import CLAPExtractor
from claprt.errors import OptionError
from claprt.serve.app import create_app
from claprt.serve.limits import Limits
from tests.projected import expected, with_projection

RATE = 16_000
KEYS = {"status", "features", "embedding", "type", "time", "extraction_time_ms"}


@pytest.fixture(scope="module")
def clap(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> claprt.Clap:
    """The toy bundle with a projection."""
    folder = with_projection(bundle, tmp_path_factory.mktemp("projected") / "bundle")
    return claprt.load(folder, preprocess="kromosynth")


@pytest.fixture(scope="module")
def client(clap: claprt.Clap) -> Iterator[TestClient]:
    limits = Limits(message_bytes=1 << 20, windows=2, samples=200_000, texts=5, sounds=3, vectors=4)
    with TestClient(create_app(clap, limits=limits)) as client:
        yield client


@pytest.fixture(scope="module")
def bare(bundle: Path) -> Iterator[TestClient]:
    """A service without a projection."""
    with TestClient(create_app(claprt.load(bundle, preprocess="kromosynth"))) as client:
        yield client


@pytest.fixture(scope="module")
def sound() -> Any:
    return SOUNDS["rain"](RATE, RATE)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wav(sound: Any, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="WAV", subtype=subtype)
    return file.getvalue()


def send(socket: WebSocketTestSession, message: str | bytes) -> None:
    if isinstance(message, bytes):
        socket.send_bytes(message)
    else:
        socket.send_text(message)


class TestClapSocket:
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

    def test_messages_that_do_not_wait_are_answered_in_order(
        self, client: TestClient, clap: claprt.Clap, sound: Any
    ) -> None:
        lengths = (16_000, 3_000, 9_000, 100)
        with client.websocket_connect("/clap") as socket:
            for length in lengths:
                socket.send_bytes(sound[:length].astype("<f4").tobytes())
            for length in lengths:
                vector = np.asarray(socket.receive_json()["embedding"], np.float32)
                assert np.abs(vector - clap.embed_audio(sound[:length], RATE)).max() < 1e-6

    @pytest.mark.parametrize(
        ("message", "sentence"),
        [
            (b"abc", "not a whole number"),
            (b"", "no sample"),
            ("", "not JSON"),
            (np.full(9, np.nan, np.float32).tobytes(), "nan"),
            ("junk", "not JSON"),
            ('{"audio_buffer": "\ud800"}', "not JSON"),
            ("[1]", "Missing audio_buffer"),
            ("{}", "Missing audio_buffer in request"),
            ('{"audio_buffer": 3}', "not a string"),
            ('{"audio_buffer": "AAA"}', "not base64"),
            ('{"audio_buffer": "AAAAAA==", "sample_rate": "fast"}', "whole number of Hz"),
            ('{"audio_buffer": "AAAAAA==", "sample_rate": -5}', "Hz"),
            ('{"a":' * 100_000, "not JSON"),
            (bytes((1 << 20) + 4), "up to 1048576 bytes"),
            (np.ones(201_000, np.float32).tobytes(), "up to 200000 samples"),
        ],
    )
    def test_broken_messages_are_answered_and_the_connection_stays(
        self, client: TestClient, sound: Any, message: str | bytes, sentence: str
    ) -> None:
        with client.websocket_connect("/clap?sample_rate=48000") as socket:
            send(socket, message)
            reply = socket.receive_json()
            assert reply.keys() == {"status", "message"}
            assert reply["status"] == "ERROR"
            assert sentence.lower() in reply["message"].lower()
            socket.send_bytes(sound.astype("<f4").tobytes())
            assert socket.receive_json()["type"] == "clap"

    def test_too_long(self, client: TestClient) -> None:
        with client.websocket_connect("/clap?sample_rate=4000") as socket:
            socket.send_bytes(np.ones(4000 * 21, np.float32).tobytes())
            message = socket.receive_json()["message"]
        assert "more sound" in message
        assert "--max-windows" in message
        assert "triton" not in message

    def test_a_rate_that_is_none(self, client: TestClient) -> None:
        with client.websocket_connect("/clap?sample_rate=quick") as socket:
            socket.send_bytes(bytes(64))
            assert "whole number of Hz" in socket.receive_json()["message"]

    @pytest.mark.parametrize("path", ["/", "", "/nothing", "/features/clap/16000", "/clap//", "/healthz", "/%C3%A9"])
    def test_it_is_spoken_at_every_path(self, client: TestClient, clap: claprt.Clap, sound: Any, path: str) -> None:
        """As kromosynth's service does, which ignores the path."""
        with client.websocket_connect(f"{path}?ckpt_dir=%2Fx%2Fckpt&sample_rate=8000&mfcc_focus=3") as socket:
            socket.send_bytes(sound.astype("<f4").tobytes())
            vector = np.asarray(socket.receive_json()["embedding"], np.float32)
        assert np.abs(vector - clap.embed_audio(sound, 8000)).max() < 1e-6
        assert 'claprt_connections{endpoint="/clap"} 0.0' in client.get("/metrics").text

    def test_its_search_begins(self, client: TestClient, clap: claprt.Clap, sound: Any) -> None:
        """The bare host is opened and closed without a message; then one connection for each sound."""
        host = "ws://testserver"
        with client.websocket_connect(host) as socket:
            socket.close(1000)
        for rate in (16_000, 48_000):
            with client.websocket_connect(f"{host}/clap?ckpt_dir=%2Fckpt&sample_rate={rate}") as socket:
                socket.send_bytes(sound.astype("<f4").tobytes())
                vector = np.asarray(socket.receive_json()["features"], np.float32)
            assert np.abs(vector - clap.embed_audio(sound, rate)).max() < 1e-6

    def test_what_is_not_raw_float32(self, client: TestClient, clap: claprt.Clap, sound: Any) -> None:
        """Files and float64 are decoded, as bytes and in base64; what is something else is named."""
        expected = clap.embed_audio(sound.astype(np.float32), RATE)
        files = [wav(sound, "FLOAT"), wav(sound, "DOUBLE"), sound.astype("<f8").tobytes()]
        with client.websocket_connect("/clap") as socket:
            for data in files:
                uri = f"data:audio/wav;base64,{base64_of(data)}"
                in_json = [json.dumps({"audio_buffer": text, "sample_rate": RATE}) for text in (base64_of(data), uri)]
                for message in (data, *in_json):
                    send(socket, message)
                    vector = np.asarray(socket.receive_json()["embedding"], np.float32)
                    assert np.abs(vector - expected).max() < 1e-6
            for data, sentence in (
                (np.rint(sound * 32767).astype("<i2").tobytes(), "divide them by 32768"),
                (wav(sound, "PCM_16")[:-400], "truncated"),
                (b"<html><body>not here</body></html>", "text"),
            ):
                for message in (data, json.dumps({"audio_buffer": base64_of(data)})):
                    send(socket, message)
                    reply = socket.receive_json()
                    assert sentence in reply["message"]
                    assert "nan_to_num" not in reply["message"]
        with client.websocket_connect("/clap?sample_rate=48000") as socket:  # a file states its own rate
            socket.send_bytes(files[0])
            assert np.abs(np.asarray(socket.receive_json()["embedding"], np.float32) - expected).max() < 1e-6

    @pytest.mark.parametrize("path", ["/clap", "/clap-bd"])
    def test_asked_without_a_websocket(self, client: TestClient, path: str) -> None:
        for reply in (client.get(path), client.post(path, content=b"1234")):
            assert (reply.status_code, reply.headers["upgrade"]) == (426, "websocket")
            assert f"ws://HOST:PORT{path}" in reply.json()["error"]["message"]

    @pytest.mark.parametrize("stated", [{"sampleRate": 48_000}, {"sampleRate": "48000", "sample_rate": None}])
    def test_a_rate_in_camel_case(self, client: TestClient, clap: claprt.Clap, sound: Any, stated: dict[str, Any]) -> None:
        data = sound.astype("<f4").tobytes()
        with client.websocket_connect("/clap") as socket:
            socket.send_text("\ufeff" + json.dumps({"audio_buffer": base64_of(data), **stated}))
            vector = np.asarray(socket.receive_json()["embedding"], np.float32)
        with client.websocket_connect("/clap?sampleRate=48000") as socket:
            socket.send_bytes(data)
            same = np.asarray(socket.receive_json()["embedding"], np.float32)
        assert np.abs(vector - clap.embed_audio(sound, 48_000)).max() < 1e-6
        assert (vector == same).all()

    @pytest.mark.parametrize(
        "name",
        ["samplerate", "sampling_rate", "samplingRate", "sr", "rate", "SAMPLE_RATE", "Sample-Rate", "sampleRateHertz"],
    )
    def test_a_rate_of_another_name_is_not_passed_over(self, client: TestClient, sound: Any, name: str) -> None:
        data = sound[:99].astype("<f4").tobytes()
        with client.websocket_connect(f"/clap?{name}=48000") as socket:
            socket.send_bytes(data)
            assert "in Hz as sample_rate" in socket.receive_json()["message"]
            socket.send_text(json.dumps({"audio_buffer": base64_of(data), "sample_rate": 8000, name: 48_000}))
            assert "in Hz as sample_rate" in socket.receive_json()["message"]
        with client.websocket_connect("/clap?sample_rate=8000") as socket:
            socket.send_text(json.dumps({"audio_buffer": base64_of(data), name: 48_000}))
            assert "in Hz as sample_rate" in socket.receive_json()["message"]
            socket.send_text(json.dumps({"audio_buffer": base64_of(data), name: None}))
            assert socket.receive_json()["type"] == "clap"

    def test_a_client_that_leaves_frees_its_place(self, client: TestClient, sound: Any) -> None:
        for _ in range(5):
            with client.websocket_connect("/clap") as socket:
                socket.send_bytes(sound.astype("<f4").tobytes())
        with client.websocket_connect("/clap") as socket:  # whose answer comes after theirs would have
            socket.send_bytes(sound.astype("<f4").tobytes())
            socket.receive_json()
        metrics = client.get("/metrics").text
        assert "claprt_waiting 0.0" in metrics
        assert 'claprt_connections{endpoint="/clap"} 0.0' in metrics


class TestWithDescriptor:
    def test_one_reply_with_both(self, client: TestClient, clap: claprt.Clap, sound: Any) -> None:
        before = runs(client)
        with client.websocket_connect("/clap-bd") as socket:
            socket.send_bytes(sound.astype("<f4").tobytes())
            reply = socket.receive_json()
        assert reply.keys() == KEYS | {"behavior_descriptor"}
        vector = np.asarray(reply["embedding"], np.float32)
        assert np.abs(vector - clap.embed_audio(sound, RATE)).max() < 1e-6
        assert reply["behavior_descriptor"] == pytest.approx(expected(vector[None])[0], abs=1e-6)
        assert runs(client) == before + 1

    def test_without_a_projection_nothing_is_run(self, bare: TestClient, sound: Any) -> None:
        before = runs(bare)
        with bare.websocket_connect("/clap-bd") as socket:
            socket.send_bytes(sound.astype("<f4").tobytes())
            reply = socket.receive_json()
        assert reply["status"] == "ERROR"
        assert "has no projection" in reply["message"]
        assert runs(bare) == before


def runs(client: TestClient) -> float:
    """Runs of the audio tower so far."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("claprt_batch_windows_count")).split()[1])


class TestProject:
    def test_one_and_many(self, client: TestClient) -> None:
        rows = np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32)
        wanted = expected(rows)
        with client.websocket_connect("/project") as socket:
            socket.send_text(json.dumps({"embedding": rows[0].tolist(), "sound_id": "a"}))
            one = socket.receive_json()
            socket.send_bytes(json.dumps({"embeddings": rows.tolist(), "sound_ids": ["a", "b", None]}).encode())
            many = socket.receive_json()
            socket.send_text(json.dumps({"embedding": rows[1].tolist()}))
            assert socket.receive_json().keys() == {"behavior_descriptor", "inference_time_ms"}
        assert one.keys() == {"behavior_descriptor", "inference_time_ms", "sound_id"}
        assert one["sound_id"] == "a"
        assert one["behavior_descriptor"] == pytest.approx(wanted[0], abs=1e-6)
        assert many.keys() == {"behavior_descriptors", "count", "inference_time_ms", "sound_ids"}
        assert (many["count"], many["sound_ids"]) == (3, ["a", "b", None])
        assert np.abs(np.asarray(many["behavior_descriptors"]) - wanted).max() < 1e-6
        assert many["inference_time_ms"] > 0

    def test_one_post(self, client: TestClient) -> None:
        reply = client.post("/project", json={"embedding": [0.5] * 512})
        assert reply.status_code == 200
        assert reply.json()["behavior_descriptor"] == pytest.approx(
            expected(np.full((1, 512), 0.5, np.float32))[0], abs=1e-6
        )
        refused = client.post("/project", json={"embedding": [0.5] * 511})
        assert refused.status_code == 400
        assert refused.json().keys() == {"error", "type"}

    @pytest.mark.parametrize(
        ("message", "kind", "sentence"),
        [
            ("{", "OptionError", "not understood"),
            ("[]", "OptionError", "object"),
            ("[" * 100_000, "OptionError", "not understood"),
            (b"\xff", "OptionError", "not understood"),
            ("{}", "OptionError", "Missing embedding"),
            ('{"embeddings": []}', "OptionError", "Missing embedding"),
            ('{"embedding": [1, 2]}', "ArrayError", "512"),
            ('{"embedding": ["1"]}', "OptionError", "float"),
            ('{"embedding": [NaN]}', "OptionError", "not understood"),
            (json.dumps({"embedding": [1e300] * 512}), "ArrayError", "infinity"),
            ('{"embeddings": [[1], [1, 2]]}', "OptionError", "different lengths"),
            (json.dumps({"embeddings": [[0.0] * 512] * 5}), "OptionError", "more numbers"),
            (json.dumps({"embeddings": [[0.0]] * 5}), "OptionError", "up to 4"),
            ('{"type": "train", "embeddings": [[1]]}', "OptionError", "claprt-export train-projection"),
        ],
    )
    def test_what_is_refused(self, client: TestClient, message: str | bytes, kind: str, sentence: str) -> None:
        with client.websocket_connect("/project") as socket:
            send(socket, message)
            reply = socket.receive_json()
        assert reply.keys() == {"error", "type"}
        assert reply["type"] == kind
        assert sentence in reply["error"]

    def test_a_bundle_without_one(self, bare: TestClient) -> None:
        with bare.websocket_connect("/project") as socket:
            socket.send_text(json.dumps({"embedding": [0.0] * 512}))
            reply = socket.receive_json()
        assert reply["type"] == "OptionError"
        assert "has no projection" in reply["error"]


def test_a_token(clap: claprt.Clap) -> None:
    with TestClient(create_app(clap, token="secret")) as client:
        for path in ("/clap", "/clap-bd", "/project"):
            with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
                pass
            with client.websocket_connect(path, headers={"authorization": "Bearer secret"}) as socket:
                socket.send_text("{}")
                assert {"ERROR", "OptionError"} & set(map(str, socket.receive_json().values()))
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
        metrics = client.get("/metrics", headers={"authorization": "Bearer secret"})
        assert 'claprt_rejected_total{reason="token"} 5.0' in metrics.text
        for public in ("/healthz", "/readyz", "/", "/page/page.js", "/page/facts"):
            assert client.get(public).status_code == 200


def test_limits_are_possible() -> None:
    with pytest.raises(OptionError, match="windows=0"):
        Limits(windows=0)
