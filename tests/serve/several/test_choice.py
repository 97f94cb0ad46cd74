"""Which of several models answers a request."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.serve.app import create_app
from tests.serve.several.conftest import NAMES, SAMPLES
from tests.serve.test_http import RATE


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
