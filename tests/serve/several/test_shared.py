"""What several models share: places for requests, threads, the processor, the end."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.serve.app import create_app
from claprt.serve.limits import Limits
from tests.serve.several.conftest import NAMES, SAMPLES
from tests.serve.test_batcher import Tower, until
from tests.serve.test_http import RATE, base64_of, wav
from tests.serve.test_towers import engine_of, wait_for


def texts_of(reply: Any) -> Any:
    return np.asarray([row["embedding"] for row in reply.json()["data"]], np.float32)


class TestShared:
    def test_requests_that_wait(self, bundle: Path, clap: claprt.Clap) -> None:
        """Those for both models together are as many as the limit says."""
        other = claprt.load(bundle, preprocess="kromosynth")
        tower = Tower(other)
        with TestClient(app := create_app({"a": clap, "b": other}, limits=Limits(waiting=1))) as client:
            assert client.portal is not None
            with client.websocket_connect("/models/b/clap") as socket:
                tower.open.clear()
                socket.send_bytes(SAMPLES.tobytes())
                client.portal.call(until, lambda: app.state.service.admission.waiting)
                reply = client.post("/models/a/v1/embeddings", json={"input": "rain"})
                assert (reply.status_code, reply.json()["error"]["type"]) == (503, "OverloadedError")
                tower.open.set()
                assert socket.receive_json()["type"] == "clap"
            assert client.post("/models/a/v1/embeddings", json={"input": "rain"}).status_code == 200

    def test_streams(self, models: dict[str, claprt.Clap]) -> None:
        with (
            TestClient(create_app(models, limits=Limits(streams=1))) as client,
            client.websocket_connect("/models/plain/stream") as one,
            client.websocket_connect("/models/fused/stream") as two,
        ):
            one.send_json({"sample_rate": RATE})
            assert one.receive_json()["type"] == "ready"
            two.send_json({"sample_rate": RATE})
            assert two.receive_json()["error"] == "OverloadedError"

    def test_threads(self, models: dict[str, claprt.Clap]) -> None:
        """One pool of readers; towers of their own; and none is left."""
        before = set(threading.enumerate())
        with TestClient(create_app(models)) as client:
            for name in NAMES:
                assert client.post(f"/models/{name}/v1/embeddings", json={"input": "rain"}).status_code == 200
                with client.websocket_connect(f"/models/{name}/clap") as socket:
                    socket.send_bytes(SAMPLES.tobytes())
                    assert socket.receive_json()["type"] == "clap"
            names = [thread.name for thread in set(threading.enumerate()) - before]
            assert names.count("claprt-tower") == names.count("claprt-text") == 2
            assert len([name for name in names if name.startswith("claprt-work")]) <= 2
            assert names.count("claprt-read_0") == 1
        assert not [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("claprt")]

    def test_towers_on_the_processor_run_alternately(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Forty sounds wait for one model; one for the other comes between them, and no two run at a time."""
        monkeypatch.setattr("claprt.serve.scheduling.audio_tower._LARGEST_BATCH", 1)
        other = claprt.load(bundle, preprocess="kromosynth")
        order, running, most = list[str](), 0, 0

        def watch(model: claprt.Clap, name: str) -> claprt.Clap:
            through = model.engine.audio

            def slow(log_mels: Any, is_longer: Any) -> Any:
                nonlocal running, most
                running += 1
                most = max(most, running)
                order.append(name)
                time.sleep(0.02)
                running -= 1
                return through(log_mels, is_longer)

            model.engine.audio = slow  # pyright: ignore[reportAttributeAccessIssue]
            return model

        claps = {"a": watch(claprt.load(bundle), "a"), "b": watch(other, "b")}
        with TestClient(create_app(claps, limits=Limits(waiting=99))) as client:
            order.clear()
            body = {
                "input": [base64_of(wav(SAMPLES * np.float32(1 - n / 99), RATE)) for n in range(40)],
                "modality": "audio",
            }
            flood = threading.Thread(target=client.post, args=["/models/a/v1/embeddings"], kwargs={"json": body})
            flood.start()
            wait_for(lambda: order.count("a") > 1)
            begun = order.count("a")
            reply = client.post("/models/b/v1/embeddings", json={"input": body["input"][0], "modality": "audio"})
            assert reply.status_code == 200
            between = order.count("a") - begun
            flood.join()
        assert most == 1
        assert between < 12 < order.count("a") - begun

    def test_shutdown(self, bundle: Path, clap: claprt.Clap) -> None:
        """What was accepted for the model that is not the default is answered before the end."""
        other = claprt.load(bundle, preprocess="kromosynth")
        tower = Tower(other)
        with TestClient(app := create_app({"a": clap, "b": other})) as client:
            assert client.portal is not None
            with client.websocket_connect("/models/b/clap") as busy, client.websocket_connect("/models/a/clap") as idle:
                tower.open.clear()
                busy.send_bytes(SAMPLES.tobytes())
                client.portal.call(until, lambda: app.state.service.admission.waiting)
                drained = client.portal.start_task_soon(app.state.service.drain)
                client.portal.call(until, lambda: app.state.service.admission.closing)
                assert client.get("/readyz").json()["status"] == "shutting down"
                assert client.get("/models/b/readyz").status_code == 503
                assert client.get("/models/b/healthz").status_code == 200
                assert client.post("/models/b/v1/embeddings", json={"input": "rain"}).status_code == 503
                tower.open.set()
                assert busy.receive_json()["type"] == "clap"
                assert busy.receive()["code"] == idle.receive()["code"] == 1001
                assert drained.result(20) == 0


class TestIdleUnload:
    def test_each_for_itself(self, bundle: Path, fused_bundle: Path, tmp_path: Path, sound: str) -> None:
        """One sleeps while the other is asked; a bundle that vanishes meanwhile is said by that model alone."""
        copy = Path(shutil.copytree(fused_bundle, tmp_path / "fused"))
        claps = {"busy": claprt.load(bundle), "idle": claprt.load(copy)}
        expected = claps["idle"].embed_audio(SAMPLES, RATE)
        body = {"input": sound, "modality": "audio"}
        with TestClient(create_app(claps, idle_unload_s=0.5)) as client:

            def idle_sleeps() -> bool:
                assert client.post("/v1/embeddings", json=body).status_code == 200
                return not engine_of(claps["idle"]).loaded

            wait_for(idle_sleeps)
            assert engine_of(claps["busy"]).loaded
            copy.rename(copy.with_name("away"))
            reply = client.post("/v1/embeddings", json={**body, "model": "idle"})
            assert (reply.status_code, reply.json()["error"]["type"]) == (503, "ModelUnavailableError")
            assert client.post("/v1/embeddings", json={**body, "model": "busy"}).status_code == 200
            assert client.get("/models/busy/readyz").status_code == 200
            assert client.get("/readyz").json()["status"].startswith("idle: ")
            copy.with_name("away").rename(copy)
            reply = client.post("/models/idle/v1/embeddings", json=body)
            assert np.abs(texts_of(reply)[0] - claps["idle"].embed_audio(wav(SAMPLES, RATE))).max() < 1e-6
            assert expected.shape == (claps["idle"].dim,)
