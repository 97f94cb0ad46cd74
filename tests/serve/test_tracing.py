"""Spans of OpenTelemetry's own package; without it nothing is traced and nothing else changes."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.serve.app import create_app
from tests.serve.test_http import RATE, base64_of, wav

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def spans() -> Any:
    """What was exported, of all applications from here on: OpenTelemetry takes one provider for a process."""
    pytest.importorskip("opentelemetry.sdk", reason="needs OpenTelemetry (pip install opentelemetry-sdk)")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_a_request_and_its_stages(spans: Any, clap: claprt.Clap) -> None:
    body = {"texts": ["rain"], "sounds": [base64_of(wav(SOUNDS["rain"](RATE, RATE), RATE))]}
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "seven"}
    with TestClient(create_app(clap)) as client:
        spans.clear()
        assert client.post("/rank", json=body, headers=headers).status_code == 200
        found = {span.name: span for span in spans.get_finished_spans()}
    request = found.pop("POST /rank")
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["claprt.request_id"] == "seven"
    assert found.keys() == {"text", "queue", "read", "tower"}
    assert all(span.parent.span_id == request.context.span_id for span in found.values())
    assert found["queue"].end_time == found["read"].start_time
    assert request.start_time <= found["queue"].start_time + 1_000_000
    assert found["tower"].end_time <= request.end_time + 1_000_000


def test_the_model_where_there_are_several(spans: Any, clap: claprt.Clap, fused_clap: claprt.Clap) -> None:
    with TestClient(create_app({"plain": clap, "fused": fused_clap})) as client:
        spans.clear()
        client.post("/v1/embeddings", json={"input": "rain", "model": "fused"})
        client.get("/models/fused/readyz")
        client.post("/models/plain/v1/embeddings", json={"input": "rain"})
        found = [span for span in spans.get_finished_spans() if span.name != "text"]
    assert [(span.name, span.attributes["claprt.model"]) for span in found] == [
        ("POST /v1/embeddings", "fused"),
        ("POST /v1/embeddings", "plain"),
    ]


def test_what_has_no_span_and_what_is_an_error(spans: Any, clap: claprt.Clap) -> None:
    with TestClient(create_app(clap)) as client:
        spans.clear()
        client.get("/healthz")
        client.get("/metrics")
        assert not spans.get_finished_spans()
        client.post("/rank", json={}, headers={"traceparent": "junk"})
        (span,) = spans.get_finished_spans()
        assert (span.name, span.parent, span.attributes["http.response.status_code"]) == ("POST /rank", None, 422)


def test_without_the_package(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with TestClient(create_app(clap)) as client:
        reply = client.post("/v1/embeddings", json={"input": "rain"}, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        assert reply.status_code == 200
