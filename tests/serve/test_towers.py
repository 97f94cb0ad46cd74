"""Services with one tower, and towers that are unloaded while nobody asks."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.engines.in_process import InProcessEngine
from claprt.errors import OptionError
from claprt.serve.app import create_app
from tests.serve.test_http import RATE, base64_of, wav

TEXT = {"input": "a dog"}


@pytest.fixture(scope="module")
def rain() -> bytes:
    return wav(SOUNDS["rain"](RATE, RATE), RATE)


def engine_of(clap: claprt.Clap) -> InProcessEngine:
    assert isinstance(clap.engine, InProcessEngine)
    return clap.engine


class TestOnly:
    def test_texts(self, bundle: Path, rain: bytes) -> None:
        clap = claprt.load(bundle, lazy=True)
        sound = {"input": base64_of(rain), "modality": "audio"}
        with TestClient(create_app(clap, only="text")) as client:
            assert client.get("/readyz").status_code == 200
            rows = client.post("/v1/embeddings", json=TEXT).json()["data"]
            assert np.abs(rows[0]["embedding"] - clap.embed_text("a dog")).max() < 1e-6
            for path, body in (
                ("/v1/embeddings", sound),
                ("/classify", {"audio": base64_of(rain), "labels": ["a", "b"]}),
                ("/timeline", {"audio": base64_of(rain), "labels": ["a"]}),
                ("/rank", {"texts": ["a"], "sounds": [base64_of(rain)]}),
            ):
                reply = client.post(path, json=body)
                assert (reply.status_code, reply.json()["error"]["type"]) == (404, "OtherTowerError"), path
                assert "embeds no sounds: it was started with --only text" in reply.json()["error"]["message"]
            with client.websocket_connect("/clap") as socket:
                socket.send_bytes(SOUNDS["rain"](RATE, RATE).astype("<f4").tobytes())
                assert "embeds no sounds" in json.dumps(socket.receive_json())
            with client.websocket_connect("/stream") as socket:
                socket.send_json({"sample_rate": RATE})
                assert "embeds no sounds" in json.dumps(socket.receive_json())
            space = client.get("/v1/space").json()
            assert (space["audio"], space["text"]["precision"]) == (None, "fp32")
            assert client.get("/v1/models").json()["data"][0]["capabilities"] == ["embed"]
            assert client.get("/v2/models/clap_text/ready").status_code == 200
            assert client.get("/v2/models/clap_classify").status_code == 404
        assert engine_of(clap).loaded == {"text"}

    def test_audio(self, bundle: Path, rain: bytes) -> None:
        clap = claprt.load(bundle)
        with TestClient(create_app(clap, only="audio")) as client:
            rows = client.post("/v1/embeddings", json={"input": base64_of(rain), "modality": "audio"}).json()["data"]
            assert np.abs(rows[0]["embedding"] - clap.embed_audio(rain)).max() < 1e-6
            reply = client.post("/v1/embeddings", json=TEXT)
            assert (reply.status_code, "embeds no texts" in reply.text) == (404, True)
            reply = client.get("/encode_text/?input=a")
            assert (reply.status_code, reply.json()["error"]) == (404, True)
        assert engine_of(clap).loaded == {"audio"}


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


class TestIdleUnload:
    @pytest.fixture
    def copy(self, bundle: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(bundle, tmp_path / "bundle"))

    def test_the_next_request_wakes_it(self, copy: Path, rain: bytes) -> None:
        clap = claprt.load(copy)
        expected, engine = clap.embed_audio(rain), engine_of(clap)
        with TestClient(create_app(clap, idle_unload_s=0.2)) as client:
            for _ in range(2):
                wait_for(lambda: not engine.loaded)
                assert client.get("/readyz").status_code == 200  # which wakes nothing
                assert not engine.loaded
                reply = client.post("/v1/embeddings", json={"input": base64_of(rain), "modality": "audio"})
                assert np.abs(reply.json()["data"][0]["embedding"] - expected).max() < 1e-6

    def test_a_bundle_that_vanishes(self, copy: Path, rain: bytes) -> None:
        """It is said with 503 as long as it is away, and right vectors come again once it is back."""
        clap = claprt.load(copy)
        expected, engine = clap.embed_audio(rain), engine_of(clap)
        sound = {"input": base64_of(rain), "modality": "audio"}
        with TestClient(create_app(clap, idle_unload_s=0.2)) as client:
            wait_for(lambda: not engine.loaded)
            copy.rename(copy.with_name("away"))
            for body in (sound, {"input": "words that were not sent before"}):
                reply = client.post("/v1/embeddings", json=body)
                assert (reply.status_code, reply.json()["error"]["type"]) == (503, "ModelUnavailableError"), reply.text
                assert str(copy) in reply.json()["error"]["message"]
            assert client.get("/readyz").status_code == 503
            copy.with_name("away").rename(copy)
            reply = client.post("/v1/embeddings", json=sound)
            assert np.abs(reply.json()["data"][0]["embedding"] - expected).max() < 1e-6
            assert client.get("/readyz").status_code == 200

    def test_another_bundle_in_its_place(self, copy: Path, fused_bundle: Path, rain: bytes) -> None:
        engine = engine_of(clap := claprt.load(copy))
        with TestClient(create_app(clap, idle_unload_s=0.2)) as client:
            wait_for(lambda: not engine.loaded)
            shutil.rmtree(copy)
            shutil.copytree(fused_bundle, copy)
            reply = client.post("/v1/embeddings", json={"input": base64_of(rain), "modality": "audio"})
            assert (reply.status_code, "was changed" in reply.text or "is not the file" in reply.text) == (503, True), (
                reply.text
            )

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
    def test_seconds_are_checked(self, clap: claprt.Clap, seconds: float) -> None:
        with pytest.raises(OptionError, match="idle_unload_s"):
            create_app(clap, idle_unload_s=seconds)

    def test_towers_on_a_server(self, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
        class Remote:
            provider = "triton"

            def __getattr__(self, name: str) -> Any:
                return getattr(clap.engine, name)

        served = claprt.load(clap.bundle.path)
        monkeypatch.setattr(served, "engine", Remote())
        with pytest.raises(OptionError, match="these run on triton"):
            create_app(served, idle_unload_s=5)
        with pytest.raises(OptionError, match="those of there run on triton"):
            create_app({"here": claprt.load(clap.bundle.path), "there": served}, idle_unload_s=5)
