"""What is said of several models: metrics, the access log, the description of the interface, the page."""

from __future__ import annotations

import json
import logging

import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient, WebSocketDenialResponse

import claprt
from claprt.serve import access
from claprt.serve.app import create_app
from tests.serve.several.conftest import NAMES, SAMPLES
from tests.serve.test_http import RATE, wav


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
