"""Options that are for one model, and those that are for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.errors import FingerprintError
from claprt.serve.app import create_app
from tests.projected import with_projection
from tests.serve.memory_library import MemoryLibrary


def texts_of(reply: Any) -> Any:
    return np.asarray([row["embedding"] for row in reply.json()["data"]], np.float32)


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
