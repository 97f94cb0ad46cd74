"""Several models in one service: which one answers, what they share, and what of one is not the others' concern."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient, WebSocketDenialResponse

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import FingerprintError, OptionError, ProviderError
from claprt.serve import access
from claprt.serve.app import create_app
from claprt.serve.limits import Limits
from tests.projected import with_projection
from tests.serve.memory_library import MemoryLibrary
from tests.serve.test_batcher import Tower, until
from tests.serve.test_http import RATE, base64_of, wav
from tests.serve.test_towers import engine_of, wait_for

SAMPLES = SOUNDS["rain"](RATE, RATE).astype("<f4")
NAMES = ["plain", "fused"]


@pytest.fixture(scope="module")
def rain() -> bytes:
    return wav(SAMPLES, RATE)


@pytest.fixture(scope="module")
def sound(rain: bytes) -> str:
    return base64_of(rain)


@pytest.fixture(scope="module")
def other_texts(fused_bundle: Path) -> claprt.Clap:
    """A fused model with vectors of texts of its own; the toys have the same ones, which would hide a wrong choice."""
    fused = claprt.load(fused_bundle)
    through = fused.engine.text
    fused.engine.text = lambda ids, mask: -through(ids, mask)  # pyright: ignore[reportAttributeAccessIssue]
    return fused


@pytest.fixture(scope="module")
def models(clap: claprt.Clap, other_texts: claprt.Clap) -> dict[str, claprt.Clap]:
    return {"plain": clap, "fused": other_texts}


@pytest.fixture(scope="module")
def client(models: dict[str, claprt.Clap]) -> Iterator[TestClient]:
    with TestClient(create_app(models, limits=Limits(texts=9, sounds=3, timeline_labels=5))) as client:
        yield client


def texts_of(reply: Any) -> Any:
    return np.asarray([row["embedding"] for row in reply.json()["data"]], np.float32)


class TestChoice:
    """The default model at the root, each under its prefix, and by the field of a request."""

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("how", ["path", "field", "both"])
    def test_embeddings(
        self, client: TestClient, models: dict[str, claprt.Clap], rain: bytes, sound: str, name: str, how: str
    ) -> None:
        prefix = "" if how == "field" else f"/models/{name}"
        field = {} if how == "path" else {"model": name}
        for path in ("/v1/embeddings", "/embeddings"):
            reply = client.post(prefix + path, json={"input": ["a dog", "rain"], **field})
            assert reply.json()["model"] == name
            assert np.abs(texts_of(reply) - models[name].embed_text(["a dog", "rain"])).max() < 1e-6
            reply = client.post(prefix + path, json={"input": sound, "modality": "audio", **field})
            assert np.abs(texts_of(reply)[0] - models[name].embed_audio(rain)).max() < 1e-6
        ids = models[name].tokenizer.encode(["a dog"])
        reply = client.post(f"{prefix}/v1/embeddings", json={"input": ids, **field})
        assert np.abs(texts_of(reply) - models[name].embed_text(["a dog"])).max() < 1e-6

    @pytest.mark.parametrize("name", [None, *NAMES])
    def test_questions(
        self, client: TestClient, models: dict[str, claprt.Clap], rain: bytes, sound: str, name: str | None
    ) -> None:
        """In JSON and in forms; without a name the first model answers."""
        clap = models[name or "plain"]
        field = {} if name is None else {"model": name}
        cosine = float(clap.embed_audio(rain) @ clap.embed_text("rain"))
        for path, words in (("/classify", "labels"), ("/tag", "tags"), ("/timeline", "labels")):
            asked = client.post(path, json={"audio": sound, words: ["rain", "dog"], **field}).json()
            form = client.post(path, files={"file": rain}, data={words: "rain, dog", **field}).json()
            under = client.post(f"/models/{name or 'plain'}{path}", files={"file": rain}, data={words: "rain, dog"}).json()
            for reply in (asked, form, under):
                assert reply["fingerprint"].startswith(clap.fingerprint.split("/windows")[0].split("/fusion")[0])
        ranked = client.post("/rank", json={"texts": "rain", "sounds": sound, **field}).json()
        assert ranked["scores"][0][0] == pytest.approx(cosine, abs=1e-6)
        assert ranked["fingerprint"] == clap.fingerprint

    def test_websockets(self, client: TestClient, models: dict[str, claprt.Clap]) -> None:
        expected = {name: clap.embed_audio(SAMPLES, RATE) for name, clap in models.items()}
        paths = {"/clap": "plain", "/": "plain", "/anything": "plain"}
        for name in NAMES:
            paths |= dict.fromkeys(
                (f"/models/{name}", f"/models/{name}/", f"/models/{name}/clap", f"/models/{name}/x"), name
            )
        for path, name in paths.items():
            with client.websocket_connect(f"{path}?sample_rate={RATE}") as socket:
                socket.send_bytes(SAMPLES.tobytes())
                assert np.abs(np.asarray(socket.receive_json()["embedding"]) - expected[name]).max() < 1e-6, path
        for name, clap in models.items():
            with client.websocket_connect(f"/models/{name}/stream") as socket:
                socket.send_json({"sample_rate": RATE, "embeddings": True})
                assert socket.receive_json()["fingerprint"].startswith(clap.manifest.name + "/")
                socket.send_bytes(SAMPLES.tobytes())
                socket.send_json({"type": "flush"})
                (window,) = socket.receive_json()["windows"]
                assert np.abs(np.asarray(window["embedding"]) - expected[name]).max() < 1e-6

    def test_freesound(self, client: TestClient, models: dict[str, claprt.Clap]) -> None:
        for model, name in (("laion_clap", "plain"), ("fused", "fused"), ("plain", "plain")):
            found = client.get(f"/encode_text/?input=rain&model={model}").json()["result"]["embeddings"]
            assert np.abs(np.asarray(found[model]) - models[name].embed_text("rain")).max() < 1e-6
        reply = client.get("/encode_text/?input=rain&model=")
        assert (reply.status_code, reply.json()["result"]) == (404, "There is no model '' here; there is 'laion_clap'.")
        (vector,) = client.get("/models/fused/encode_text/?input=rain").json()["result"]["embeddings"].values()
        assert np.abs(np.asarray(vector) - models["fused"].embed_text("rain")).max() < 1e-6

    def test_freesounds_own_name_as_that_of_a_model(self, clap: claprt.Clap, other_texts: claprt.Clap) -> None:
        """It is answered by this one, although it is not the default."""
        with TestClient(create_app({"plain": clap, "laion_clap": other_texts})) as client:
            for query in ("&model=laion_clap", ""):
                found = client.get(f"/encode_text/?input=rain{query}").json()["result"]["embeddings"]
                assert np.abs(np.asarray(found["laion_clap"]) - other_texts.embed_text("rain")).max() < 1e-6

    def test_kserve(self, client: TestClient, models: dict[str, claprt.Clap]) -> None:
        body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["rain"]}]}
        paths = {"/v2/models/clap_text": "plain"}
        for name in NAMES:
            paths |= {f"/v2/models/{name}.clap_text": name, f"/models/{name}/v2/models/clap_text": name}
        for path, name in paths.items():
            reply = client.post(f"{path}/infer", json=body).json()
            assert np.abs(np.asarray(reply["outputs"][0]["data"]) - models[name].embed_text("rain")).max() < 1e-6
            assert reply["model_name"] == path.rpartition("/")[2]
            assert client.get(path).json()["name"] == reply["model_name"]
            assert client.get(f"{path}/ready").status_code == 200
        index = client.post("/v2/repository/index", json={}).json()
        assert len(index) == 9
        assert {"name": "fused.clap_classify", "version": "1", "state": "READY", "reason": ""} in index
        assert len(client.post("/models/fused/v2/repository/index", json={}).json()) == 3
        reply = client.get("/v2/models/other.clap_text")
        assert (reply.status_code, "plain.clap_text" in reply.json()["error"]) == (404, True)

    def test_lists(self, client: TestClient) -> None:
        for prefix in ("/v1", ""):
            assert [model["id"] for model in client.get(f"{prefix}/models").json()["data"]] == NAMES
            assert client.get(f"{prefix}/models/fused").json()["id"] == "fused"
        assert [model["id"] for model in client.get("/models/fused/v1/models").json()["data"]] == ["fused"]

    def test_spaces(self, client: TestClient, models: dict[str, claprt.Clap]) -> None:
        """What clients keep beside vectors is the same however a model is served."""
        for path, name in (("", "plain"), ("/models/plain", "plain"), ("/models/fused", "fused")):
            space = client.get(f"{path}/v1/space").json()
            assert (space["model"], space["fingerprint"]) == (models[name].manifest.name, models[name].fingerprint)
            with TestClient(create_app(models[name])) as alone:
                assert alone.get("/v1/space").json() == space

    def test_vectors_are_never_mixed(
        self, client: TestClient, models: dict[str, claprt.Clap], rain: bytes, sound: str
    ) -> None:
        """Many at once, to both, for sounds and texts."""
        expected = {name: (clap.embed_audio(rain), clap.embed_text("rain")) for name, clap in models.items()}
        inputs = ({"input": [sound] * 3, "modality": "audio"}, {"input": ["rain"] * 3})
        worst: list[float] = []

        def ask(name: str) -> None:
            for turn in range(8):
                where, field = (f"/models/{name}", {}) if turn % 2 else ("", {"model": name})
                kind = turn // 2 % 2
                reply = client.post(f"{where}/v1/embeddings", json={**inputs[kind], **field})
                worst.append(float(np.abs(texts_of(reply) - expected[name][kind]).max()))

        threads = [threading.Thread(target=ask, args=[name]) for name in NAMES * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(worst) == 48
        assert max(worst) < 1e-6


class TestUnknownNames:
    def test_of_paths(self, client: TestClient) -> None:
        for method, path in (
            ("POST", "/models/other/v1/embeddings"),
            ("GET", "/models/other/readyz"),
            ("GET", "/models/other"),
            ("GET", "/v1/models/other"),
        ):
            reply = client.request(method, path, json={"input": "x"} if method == "POST" else None)
            assert (reply.status_code, reply.json()["error"]["type"]) == (404, "NotFoundError"), path
            assert reply.json()["error"]["message"] == "There is no model 'other' here; there are 'plain', 'fused'."
        reply = client.post("/models/fused/nothing", json={})
        assert (reply.status_code, "There is no /models/fused/nothing" in reply.text) == (404, True)

    @pytest.mark.parametrize(
        "path",
        ["/models/other", "/models/other/", "/models/other/clap", "/models/other/stream", "/models/", "/models//clap"],
    )
    def test_of_websockets(self, client: TestClient, path: str) -> None:
        """Not taken for kromosynth's, which is at every other path."""
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(path):
            pass
        assert refused.value.status_code == 404
        assert "there are 'plain', 'fused'" in refused.value.json()["error"]["message"]

    def test_of_fields(self, client: TestClient, rain: bytes, sound: str) -> None:
        for path, body in (
            ("/v1/embeddings", {"input": "rain"}),
            ("/v1/embeddings", {"input": [[0, 5, 2]]}),
            ("/classify", {"audio": sound, "labels": ["rain", "dog"]}),
            ("/timeline", {"audio": sound, "labels": ["rain"]}),
            ("/rank", {"texts": "rain", "sounds": sound}),
        ):
            reply = client.post(path, json={**body, "model": "laion/clap"})
            assert reply.status_code == 404, path
            assert reply.json()["error"]["message"] == "There is no model 'laion/clap' here; there are 'plain', 'fused'."
        reply = client.post("/tag", files={"file": rain}, data={"tags": "rain", "model": "other"})
        assert reply.status_code == 404
        reply = client.get("/encode_text/?input=rain&model=other")
        assert (reply.status_code, "there are 'plain', 'fused'" in reply.json()["result"]) == (404, True)

    def test_the_other_model_under_a_prefix(self, client: TestClient) -> None:
        """It is not answered by the one whose path it is."""
        reply = client.post("/models/fused/v1/embeddings", json={"input": "rain", "model": "plain"})
        assert reply.status_code == 404
        assert reply.json()["error"]["message"] == "There is no model 'plain' at /models/fused; there is 'fused'."

    def test_one_model_without_a_name_has_no_paths(self, clap: claprt.Clap) -> None:
        with TestClient(create_app(clap)) as alone:
            assert alone.post("/models/tiny/v1/embeddings", json={"input": "rain"}).status_code == 405
            assert alone.post("/v1/embeddings", json={"input": "rain", "model": "anything"}).json()["model"] == "tiny"
            assert "servers" not in alone.get("/openapi.json").json()
            assert "models" not in alone.get("/readyz").json()


class TestNames:
    @pytest.mark.parametrize("name", ["", "two words", "a/b", "ä", ".a", "-a", "a%20", "a" * 65, "a?b", 1, None, b"a"])
    def test_that_are_no_part_of_an_address(self, clap: claprt.Clap, name: Any) -> None:
        with pytest.raises(OptionError, match="A model cannot be served as"):
            create_app({name: clap})

    def test_none(self) -> None:
        with pytest.raises(OptionError, match="no model to serve"):
            create_app({})

    def test_one_model_twice(self, clap: claprt.Clap) -> None:
        with pytest.raises(OptionError, match="a and b are the same model"):
            create_app({"a": clap, "b": clap})

    def test_one_with_a_name(self, clap: claprt.Clap) -> None:
        """It has what several have, so that another one can come later."""
        with TestClient(create_app({"only": clap})) as client:
            assert client.post("/models/only/v1/embeddings", json={"input": "rain"}).json()["model"] == "only"
            assert client.post("/v1/embeddings", json={"input": "rain", "model": "tiny"}).status_code == 404
            kinds = ["clap_text", "clap_audio_file", "clap_classify"]
            listed = [model["name"] for model in client.post("/v2/repository/index", json={}).json()]
            assert listed == [*kinds, *(f"only.{kind}" for kind in kinds)]
            listed = [model["name"] for model in client.post("/models/only/v2/repository/index", json={}).json()]
            assert listed == kinds


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


class TestHealth:
    def test_one_that_fails_is_said_and_the_other_answers(self, bundle: Path, clap: claprt.Clap, sound: str) -> None:
        broken = claprt.load(bundle, preprocess="kromosynth")
        tower = Tower(broken)
        body = {"input": sound, "modality": "audio"}
        with TestClient(create_app({"good": clap, "bad": broken})) as client:
            ready = client.get("/readyz").json()
            assert (ready["status"], ready["model"]) == ("ready", "good")
            facts = {"fingerprint": broken.fingerprint, "provider": "cpu", "precision": "fp32"}
            assert ready["models"]["bad"] == {"status": "ready", "model": "bad", **facts}
            tower.fault = ProviderError("The device is lost.")
            assert client.post("/models/bad/v1/embeddings", json=body).status_code == 500
            assert client.post("/models/good/v1/embeddings", json=body).status_code == 200
            assert client.post("/v1/embeddings", json=body).status_code == 200
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "bad: the engine failed: The device is lost.")
            assert {name: facts["status"] for name, facts in ready.json()["models"].items()} == {
                "good": "ready", "bad": "the engine failed: The device is lost.",
            }  # fmt: skip
            assert client.get("/models/good/readyz").status_code == 200
            assert client.get("/models/bad/readyz").status_code == 503
            assert client.get("/v2/health/ready").status_code == 503
            assert client.get("/v2/models/good.clap_text/ready").status_code == 200
            assert client.get("/v2/models/bad.clap_text/ready").status_code == 503
            index = {model["name"]: model for model in client.post("/v2/repository/index", json={}).json()}
            assert index["bad.clap_text"]["state"] == "UNAVAILABLE"
            assert "device is lost" in index["bad.clap_text"]["reason"]
            tower.fault = None
            assert client.get("/readyz").status_code == 200

    def test_one_that_cannot_start(self, bundle: Path, clap: claprt.Clap) -> None:
        broken = claprt.load(bundle, preprocess="kromosynth")
        Tower(broken).fault = ProviderError("The device is lost.")
        with (
            pytest.raises(ProviderError, match=r"bad: The device is lost\."),
            TestClient(create_app({"good": clap, "bad": broken})),
        ):
            pass

    def test_a_token(self, models: dict[str, claprt.Clap]) -> None:
        with TestClient(create_app(models, token="secret")) as client:
            for path in ("/readyz", "/healthz", "/v2/health/ready", "/", "/page/facts"):
                assert client.get(f"/models/fused{path}").status_code == 200, path
            for path in ("/v1/models", "/v1/space", "/metrics"):
                assert client.get(f"/models/fused{path}").status_code == 401, path
            with pytest.raises(Exception), client.websocket_connect("/models/other/clap"):  # noqa: B017, PT011
                pass
            assert "there are" not in client.get("/models/other/v1/space").text


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


class TestNotes:
    def test_metrics(self, models: dict[str, claprt.Clap], rain: bytes, sound: str) -> None:
        with TestClient(create_app(models)) as client:
            client.post("/classify", files={"file": rain}, data={"labels": "rain"})
            client.post("/models/fused/classify", files={"file": rain}, data={"labels": "rain"})
            client.post("/classify", json={"audio": sound, "labels": "rain", "model": "fused"})
            client.post("/models/fused/classify", json={})
            client.post("/v1/embeddings", json={"input": "rain", "model": "other"})
            client.post("/v1/embeddings", json={"input": [[0, 5, 2]], "model": "other"})
            client.get("/models/other/readyz")
            client.get("/models/fused/nothing")
            with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/models/other/clap"):
                pass
            client.get("/v2/models/fused.clap_text")
            client.get("/v2/models/other.clap_text")
            with client.websocket_connect("/models/fused/clap") as socket:
                socket.send_bytes(SAMPLES.tobytes())
                socket.receive_json()
                text = client.get("/metrics").text
        families = {family.name: family for family in text_string_to_metric_families(text)}

        def counts(name: str, *labels: str) -> dict[tuple[str, ...], float]:
            samples = [one for one in families[name].samples if one.name.endswith(("_total", "_count", name))]
            return {tuple(one.labels[label] for label in labels): one.value for one in samples}

        answered = counts("claprt_requests", "endpoint", "status", "model")
        assert answered["/classify", "200", "plain"] == 1
        assert answered["/classify", "200", "fused"] == 2
        assert answered["/classify", "422", "fused"] == 1
        assert answered["/clap", "200", "fused"] == 1
        assert answered["/v1/embeddings", "404", ""] == 2
        assert (answered["other", "404", ""], answered["other", "404", "fused"]) == (2, 1)
        assert answered["/v2/models/{name}", "200", "fused"] == answered["/v2/models/{name}", "404", ""] == 1
        assert counts("claprt_stage_seconds", "stage", "model")["tower", "fused"] == 3
        assert counts("claprt_connections", "endpoint", "model") == {("/clap", "fused"): 1.0}
        assert {labels[0] for labels in counts("claprt_batch_windows", "model")} == set(NAMES)
        assert {labels[0] for labels in counts("claprt_windows_waiting", "model")} == set(NAMES)
        builds = {one.labels["model"]: one.labels["fingerprint"] for one in families["claprt_build_info"].samples}
        assert builds == {name: clap.fingerprint for name, clap in models.items()}
        assert "claprt_waiting 0.0" in text
        assert 'claprt_rejected_total{reason="token"} 0.0' in text

    def test_access_log(self, client: TestClient, caplog: pytest.LogCaptureFixture, clap: claprt.Clap) -> None:
        with caplog.at_level(logging.INFO, access.log.name):
            client.post("/v1/embeddings", json={"input": "rain", "model": "fused"}, headers={"X-Request-Id": "1"})
            client.post("/models/plain/v1/embeddings", json={"input": "rain"}, headers={"X-Request-Id": "2"})
            client.get("/healthz", headers={"X-Request-Id": "3"})
            with client.websocket_connect("/models/fused/clap") as socket:
                socket.send_bytes(SAMPLES.tobytes())
                socket.receive_json()
            with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/models/other/clap"):
                pass
            with TestClient(create_app(clap)) as alone:
                alone.post("/v1/embeddings", json={"input": "rain"}, headers={"X-Request-Id": "4"})
        lines = [record.getMessage() for record in caplog.records if record.name == access.log.name]
        assert " id=1 model=fused text=" in lines[0]
        assert lines[1].startswith("POST /models/plain/v1/embeddings 200 ")
        assert " id=2 model=plain text=" in lines[1]
        assert lines[2].endswith(" id=3")
        assert " model=fused read=" in lines[3]
        assert lines[4] == "WS /models/other/clap 404 0.0 ms in=0 out=0"
        assert "model=" not in lines[5]

    def test_openapi(self, client: TestClient) -> None:
        document = client.get("/openapi.json").json()
        assert [server["url"] for server in document["servers"]] == ["/", "/models/plain", "/models/fused"]
        assert document["paths"]["/metrics"]["servers"] == [{"url": "/"}]
        assert "servers" not in document["paths"]["/classify"]
        page = client.get("/docs").text
        assert "<code>plain</code>, <code>fused</code>" in page
        assert "SERVERS" not in page

    def test_page(self, client: TestClient, models: dict[str, claprt.Clap]) -> None:
        assert client.get("/models/fused/").text == client.get("/").text
        for path, name in (("", "plain"), ("/models/plain", "plain"), ("/models/fused", "fused")):
            facts = client.get(f"{path}/page/facts").json()
            assert (facts["model"], facts["fingerprint"]) == (name, models[name].fingerprint)
            assert (facts["models"], facts["bundle"]) == (NAMES, models[name].manifest.name)
            form = {"labels": json.dumps(["rain", "dog"])}
            reply = client.post(f"{path}/analyse", files={"file": wav(SAMPLES, RATE)}, data=form).json()
            assert (reply["model"], reply["fingerprint"]) == (name, models[name].fingerprint)


class TestOptions:
    def test_one_tower(self, bundle: Path, fused_bundle: Path, sound: str) -> None:
        claps = {"a": claprt.load(bundle, lazy=True), "b": claprt.load(fused_bundle, lazy=True)}
        with TestClient(create_app(claps, only="text")) as client:
            for name, clap in claps.items():
                reply = client.post("/v1/embeddings", json={"input": "rain", "model": name})
                assert np.abs(texts_of(reply) - clap.embed_text(["rain"])).max() < 1e-6
                reply = client.post(f"/models/{name}/v1/embeddings", json={"input": sound, "modality": "audio"})
                assert (reply.status_code, reply.json()["error"]["type"]) == (404, "OtherTowerError")
            assert len(client.post("/v2/repository/index", json={}).json()) == 3

    def test_one_cache_of_vectors(self, bundle: Path, fused_bundle: Path, rain: bytes, sound: str, tmp_path: Path) -> None:
        """The second time they come from it, and each model's are its own."""
        claps = {"a": claprt.load(bundle, cache=tmp_path), "b": claprt.load(fused_bundle, cache=tmp_path)}
        expected = [claprt.load(path).embed_audio(rain) for path in (bundle, fused_bundle)]
        with TestClient(create_app(claps)) as client:
            for _ in range(2):
                for name, vector in zip(claps, expected, strict=True):
                    body = {"input": sound, "modality": "audio", "model": name}
                    assert np.abs(texts_of(client.post("/v1/embeddings", json=body))[0] - vector).max() < 1e-6

    def test_a_projection(self, clap: claprt.Clap, tmp_path: Path) -> None:
        """Each has its own, or none."""
        projected = claprt.load(with_projection(clap.bundle.path, tmp_path / "projected"))
        vector = projected.embed_text("rain")
        with TestClient(create_app({"without": clap, "with": projected})) as client:
            reply = client.post("/models/with/project", json={"embedding": vector.tolist()}).json()
            assert np.abs(np.asarray(reply["behavior_descriptor"]) - projected.project(vector)).max() < 1e-6
            assert client.post("/project", json={"embedding": vector.tolist()}).status_code == 400
            with client.websocket_connect("/models/with/project") as socket:
                socket.send_json({"embedding": vector.tolist()})
                assert "behavior_descriptor" in socket.receive_json()

    def test_a_library_is_searched_with_the_model_of_its_vectors(
        self, clap: claprt.Clap, fused_clap: claprt.Clap, rain: bytes, tmp_path: Path
    ) -> None:
        (tmp_path / "rain.wav").write_bytes(rain)
        library = MemoryLibrary(clap, tmp_path)
        with TestClient(create_app({"fused": fused_clap, "plain": clap}, library=library)) as client:
            (hit, *_) = client.post("/search", json={"text": "rain"}).json()
            cosine = float(clap.embed_text("rain") @ clap.embed_audio(rain))
            assert hit["score"] == pytest.approx(cosine, abs=1e-5)
            assert client.post("/models/plain/search", json={"text": "rain"}).status_code == 404
            facts = client.get("/page/facts").json()
            assert (facts["library"], facts["library_model"]) == (True, "plain")
        with pytest.raises(FingerprintError, match="cannot be compared"):
            create_app({"fused": fused_clap}, library=library)
