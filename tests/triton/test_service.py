"""`claprt serve` in front of a Triton server: the same service, with a projection from a folder beside it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.folder import read_bundle
from claprt.triton.repository.builder import Build, build
from tests.projected import expected, with_projection
from tests.triton.server import Server

pytest.importorskip("uvicorn", reason="needs the service's packages (pip install 'claprt[serve]')")

from websockets.sync.client import connect

from tests.serve.process import Process

RATE = 16_000
SOUND = SOUNDS["rain"](RATE, RATE)


def asked(service: Process, path: str) -> dict[str, object]:
    with connect(service.url(path, "ws")) as client:
        client.send(SOUND.astype("<f4").tobytes())
        return json.loads(client.recv(timeout=30))


def test_the_same_service_on_triton(server: Server, bundle: Path, tmp_path: Path) -> None:
    projected = with_projection(bundle, tmp_path / "projected")
    local = claprt.load(projected, preprocess="kromosynth")
    vector = local.embed_audio(SOUND, RATE)
    with Process(tmp_path / "log", "--engine", server.grpc, "--projection", str(projected)) as service:
        assert service.fingerprint == local.fingerprint
        assert np.abs(np.array(asked(service, "/clap")["embedding"]) - vector).max() < 1e-6
        reply = asked(service, "/clap-bd")
        assert reply["behavior_descriptor"] == pytest.approx(expected(vector[None])[0], abs=1e-5)
        found = httpx.post(service.url("/project"), json={"embedding": vector.tolist()}).json()
        assert found["behavior_descriptor"] == pytest.approx(expected(vector[None])[0], abs=1e-5)
        texts = httpx.post(service.url("/v1/embeddings"), json={"input": ["rain", "a dog"]}, timeout=30).json()
        rows = np.array([entry["embedding"] for entry in texts["data"]])
        assert np.abs(rows - local.embed_text(["rain", "a dog"])).max() < 1e-6
        assert httpx.get(service.url("/readyz"), timeout=30).json()["provider"] == "triton"


def test_a_served_bundle_with_a_projection(bundle: Path, tmp_path: Path, needs_server: None) -> None:
    """Its graph is not served, which is said before anything is run, and not where the server is."""
    projected = with_projection(bundle, tmp_path / "projected")
    repository = build(Build(bundle=read_bundle(projected)), tmp_path / "repository")
    with Server(repository, tmp_path / "triton.log") as own:
        served = claprt.load(own.grpc, projection=projected)
        vectors = served.embed_text(["rain", "a dog"])
        assert np.abs(served.project(vectors) - expected(vectors)).max() < 1e-5
        with Process(tmp_path / "log", "--engine", own.grpc) as service:
            message = str(asked(service, "/clap-bd")["message"])
            assert "--projection FOLDER" in message
            assert "127.0.0.1" not in message
            assert 'stage="tower"' not in httpx.get(service.url("/metrics")).text
