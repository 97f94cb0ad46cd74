"""A model that fails is not the others' concern."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.errors import ProviderError
from claprt.serve.app import create_app
from tests.serve.test_batcher import Tower


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
