"""What other programs plug into: the space document, ranking, Freesound's text encoder, request ids, forms of vectors."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.serve import access
from claprt.serve.app import create_app
from claprt.serve.limits import Limits
from tests.serve.test_http import RATE, base64_of, wav

TEXTS = ["a dog", "rain", "a siren"]


@pytest.fixture(scope="module")
def client(clap: claprt.Clap) -> Iterator[TestClient]:
    limits = Limits(message_bytes=1 << 20, windows=2, texts=5, sounds=3, characters=200)
    with TestClient(create_app(clap, limits=limits, cors=["https://example.org"])) as client:
        yield client


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [wav(SOUNDS[name](RATE, RATE), RATE) for name in ("rain", "tone", "drums")]


class TestSpace:
    def test_facts(self, client: TestClient, clap: claprt.Clap) -> None:
        space = client.get("/v1/space").json()
        assert (space["model"], space["dim"], space["metric"]) == ("tiny", clap.dim, "cosine")
        assert space["fingerprint"] == space["audio"]["fingerprint"] == clap.fingerprint  # both towers in one precision
        assert space["checkpoint"]["sha256"] == clap.manifest.source.sha256
        assert (space["audio"]["recipe"], space["audio"]["long"]) == ("laion", "windows-10s")

    def test_which_vectors_are_comparable(self, client: TestClient, bundle: Any) -> None:
        """Another preprocessing of sounds: vectors of texts are the same ones, and the document says so."""
        other = claprt.load(bundle, preprocess="kromosynth")
        with TestClient(create_app(other)) as second:
            here, there = client.get("/v1/space").json(), second.get("/v1/space").json()

        def member(space: dict[str, Any], path: str) -> Any:
            for name in path.split("."):
                space = space[name]
            return space

        equal = {what: member(here, path) == member(there, path) for what, path in here["comparable"].items()}
        assert equal == {"audio with audio": False, "text with text": True, "audio with text": False}


class TestRank:
    def test_scores_and_order(self, client: TestClient, clap: claprt.Clap, files: list[bytes]) -> None:
        body = {"texts": TEXTS, "sounds": [base64_of(file) for file in files]}
        reply = client.post("/rank", json=body)
        expected = clap.embed_text(TEXTS) @ clap.embed_audio(files).T
        assert np.abs(np.asarray(reply.json()["scores"]) - expected).max() < 1e-6
        assert reply.json()["order"] == np.argsort(-expected, axis=1).tolist()
        assert reply.json()["fingerprint"] == clap.fingerprint
        assert {"text", "read", "tower", "total"} <= {part.split(";")[0] for part in _timing(reply)}

    def test_one_of_each(self, client: TestClient, files: list[bytes]) -> None:
        reply = client.post("/rank", json={"texts": "rain", "sounds": "data:audio/wav;base64," + base64_of(files[0])})
        assert (len(reply.json()["scores"]), reply.json()["order"]) == (1, [[0]])

    @pytest.mark.parametrize(
        ("body", "status", "sentence"),
        [
            ({"texts": [], "sounds": ["AAAA"]}, 400, "1 to 5 texts"),
            ({"texts": ["a"], "sounds": []}, 400, "1 to 3 sounds in one request; got 0"),
            ({"texts": ["a"], "sounds": ["AAAA"] * 4}, 400, "1 to 3 sounds in one request; got 4"),
            ({"texts": ["a"] * 6, "sounds": ["AAAA"]}, 400, "1 to 5 texts in one request; got 6"),
            ({"texts": ["a" * 201], "sounds": ["AAAA"]}, 400, "up to 200 characters"),
            ({"texts": ["a"], "sounds": ["AAAA", "AAAA"]}, 400, "sound 0: "),
            ({"texts": ["a"], "sounds": ["*"]}, 422, "base64"),
            ({"texts": ["a"]}, 422, "sounds"),
            ({"texts": ["a"], "sounds": ["AAAA"], "sound": "x"}, 400, "did you mean sounds?"),
        ],
    )
    def test_refusals(self, client: TestClient, body: dict[str, Any], status: int, sentence: str) -> None:
        reply = client.post("/rank", json=body)
        assert (reply.status_code, sentence in reply.json()["error"]["message"]) == (status, True), reply.text


class TestFreesound:
    def test_a_vector(self, client: TestClient, clap: claprt.Clap) -> None:
        for address in ("/encode_text/?input=a%20dog&model=laion_clap", "/encode_text?input=a%20dog"):
            reply = client.get(address).json()
            assert (reply["error"], list(reply["result"]["embeddings"])) == (False, ["laion_clap"])
            assert np.abs(reply["result"]["embeddings"]["laion_clap"] - clap.embed_text("a dog")).max() < 1e-6

    @pytest.mark.parametrize(
        ("query", "status", "sentence"),
        [
            ("input=a&model=other", 404, "There is no model 'other'"),
            ("", 400, "at least one word"),
            ("input=" + "a" * 201, 400, "200"),
        ],
    )
    def test_refusals(self, client: TestClient, query: str, status: int, sentence: str) -> None:
        reply = client.get(f"/encode_text/?{query}")
        assert (reply.status_code, reply.json()["error"], sentence in reply.json()["result"]) == (status, True, True)


class TestRequestIds:
    def test_a_valid_one_comes_back(self, client: TestClient) -> None:
        assert client.get("/healthz", headers={"X-Request-Id": "Upload/7-a.b"}).headers["x-request-id"] == "Upload/7-a.b"

    @pytest.mark.parametrize("stated", [None, "", "two words", "a" * 129, "caf\xe9", '"'])
    def test_any_other_is_replaced(self, client: TestClient, stated: str | None) -> None:
        headers = [] if stated is None else [(b"X-Request-Id", stated.encode("latin-1"))]
        found = {client.get("/healthz", headers=headers).headers["x-request-id"] for _ in range(2)}
        assert len(found) == 2
        assert all(len(number) == 32 and number.isalnum() for number in found)

    def test_refusals_have_one(self, client: TestClient) -> None:
        for reply in (client.post("/rank", json={}), client.get("/nothing"), client.post("/rank", content=b"" * 2)):
            assert reply.status_code >= 400
            assert reply.headers["x-request-id"]

    def test_the_log_has_it(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, access.log.name):
            client.get("/healthz", headers={"X-Request-Id": "upload-7"})
        assert " id=upload-7" in caplog.messages[-1]

    def test_pages_of_other_origins_may_read_it(self, client: TestClient) -> None:
        reply = client.get("/healthz", headers={"origin": "https://example.org"})
        assert "x-request-id" in reply.headers["access-control-expose-headers"].lower()


class TestServerTiming:
    def test_stages(self, client: TestClient, files: list[bytes]) -> None:
        reply = client.post("/v1/embeddings", json={"input": base64_of(files[0]), "modality": "audio"})
        times = {name: float(took.removeprefix("dur=")) for name, took in (part.split(";") for part in _timing(reply))}
        assert times.keys() == {"read", "queue", "tower", "total"}
        assert times["read"] + times["queue"] + times["tower"] <= times["total"]

    def test_none_where_nothing_was_computed(self, client: TestClient) -> None:
        assert "server-timing" not in client.get("/healthz").headers


def _timing(reply: Any) -> list[str]:
    return reply.headers["server-timing"].split(", ")


class TestVectorFormats:
    @staticmethod
    def _rows(client: TestClient, form: str, **more: Any) -> list[dict[str, Any]]:
        reply = client.post("/v1/embeddings", json={"input": TEXTS, "encoding_format": form, **more})
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    def test_int8_is_within_half_a_scale(self, client: TestClient, clap: claprt.Clap) -> None:
        for row, vector in zip(self._rows(client, "int8"), clap.embed_text(TEXTS), strict=True):
            whole = np.asarray(row["embedding"])
            assert np.abs(whole).max() == 127
            assert np.abs(whole * row["scale"] - vector).max() <= row["scale"] / 2 + 1e-7

    def test_bits_are_signs(self, client: TestClient, clap: claprt.Clap) -> None:
        unsigned, signed = self._rows(client, "ubinary"), self._rows(client, "binary")
        for row, other, vector in zip(unsigned, signed, clap.embed_text(TEXTS), strict=True):
            packed = np.asarray(row["embedding"], np.uint8)
            assert packed.shape == (clap.dim // 8,)
            assert np.array_equal(np.unpackbits(packed).astype(bool), vector > 0)
            assert [byte - 128 for byte in row["embedding"]] == other["embedding"]
            assert "scale" not in row

    def test_after_dimensions(self, client: TestClient) -> None:
        assert len(self._rows(client, "ubinary", dimensions=16)[0]["embedding"]) == 2
        assert len(self._rows(client, "int8", dimensions=7)[0]["embedding"]) == 7
        reply = client.post("/v1/embeddings", json={"input": "a", "encoding_format": "binary", "dimensions": 12})
        assert (reply.status_code, "no multiple of 8" in reply.text) == (400, True)

    def test_float_and_base64_are_exact(self, client: TestClient) -> None:
        (row,) = client.post("/v1/embeddings", json={"input": "rain", "encoding_format": "base64"}).json()["data"]
        (other,) = client.post("/v1/embeddings", json={"input": "rain"}).json()["data"]
        assert np.frombuffer(base64.b64decode(row["embedding"]), "<f4").tolist() == other["embedding"]
        assert client.post("/v1/embeddings", json={"input": "a", "encoding_format": "int4"}).status_code == 422
