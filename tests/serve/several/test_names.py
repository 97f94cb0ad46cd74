"""Names of models: those that are unknown, and those that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient, WebSocketDenialResponse

import claprt
from claprt.errors import OptionError
from claprt.serve.app import create_app


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
