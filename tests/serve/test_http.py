"""HTTP of the service on the toy bundle: embeddings as infinity gives them, questions about sounds, the page's files."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import claprt
from claprt.audio.log_mel import log_mel
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.errors import AudioDecodeError, OptionError
from claprt.serve.app import create_app
from claprt.serve.base64_audio import from_base64, from_uri
from claprt.serve.errors import ShapeError
from claprt.serve.http.request_bodies import split_labels
from claprt.serve.limits import Limits
from claprt.serve.origins import Origins

RATE = 22_050


@pytest.fixture(scope="module")
def client(clap: claprt.Clap) -> Iterator[TestClient]:
    limits = Limits(message_bytes=1 << 20, windows=2, texts=5, sounds=3, characters=200)
    with TestClient(create_app(clap, limits=limits)) as client:
        yield client


def wav(samples: Any, rate: int, form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype="PCM_16")
    return file.getvalue()


@pytest.fixture(scope="module")
def rain() -> bytes:
    return wav(SOUNDS["rain"](RATE, RATE), RATE)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class TestEmbeddings:
    def test_texts(self, client: TestClient, clap: claprt.Clap) -> None:
        reply = client.post("/v1/embeddings", json={"input": ["a dog", "rain", "a dog"], "model": "clap"}).json()
        assert reply.keys() == {"object", "data", "model", "usage", "id", "created"}
        assert (reply["object"], reply["model"]) == ("list", "tiny")
        assert [(row["object"], row["index"]) for row in reply["data"]] == [("embedding", n) for n in range(3)]
        rows = np.asarray([row["embedding"] for row in reply["data"]], np.float32)
        assert np.abs(rows - clap.embed_text(["a dog", "rain", "a dog"])).max() < 1e-6
        tokens = sum(map(len, clap.tokenizer.encode(["a dog", "rain", "a dog"])))
        assert reply["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}

    @pytest.mark.parametrize("prefix", ["", "data:audio/wav;base64,", "data:;name=rain.wav;base64,"])
    def test_sounds(self, client: TestClient, clap: claprt.Clap, rain: bytes, prefix: str) -> None:
        body = {"input": prefix + base64_of(rain), "modality": "audio", "encoding_format": "base64"}
        reply = client.post("/v1/embeddings", json=body).json()
        vector = np.frombuffer(base64.b64decode(reply["data"][0]["embedding"]), "<f4")
        assert np.abs(vector - clap.embed_audio(rain)).max() < 1e-6
        assert reply["usage"] == {"prompt_tokens": 0, "total_tokens": 0}

    def test_several_sounds_keep_their_order(self, client: TestClient, clap: claprt.Clap) -> None:
        files = [
            wav(SOUNDS[name](RATE * seconds, RATE), RATE) for name, seconds in (("rain", 12), ("tone", 1), ("rain", 2))
        ]
        body: dict[str, Any] = {"input": [base64_of(file) for file in files], "modality": "audio"}
        reply = client.post("/v1/embeddings", json=body).json()
        rows = np.asarray([row["embedding"] for row in reply["data"]], np.float32)
        assert np.abs(rows - clap.embed_audio(files)).max() < 1e-6
        body["input"][1] = "AAAA"
        reply = client.post("/v1/embeddings", json=body)
        assert reply.status_code == 400
        assert "input 1: " in reply.json()["error"]["message"]

    def test_dimensions_are_cut_as_infinity_cuts_them(self, client: TestClient, clap: claprt.Clap) -> None:
        reply = client.post("/v1/embeddings", json={"input": "rain", "dimensions": 7}).json()
        assert reply["data"][0]["embedding"] == pytest.approx(clap.embed_text("rain")[:7], abs=1e-6)

    def test_sounds_are_told_from_texts(self, client: TestClient, clap: claprt.Clap, rain: bytes) -> None:
        """A `data:` URI of a sound is one, where nothing else is stated; where words are stated, it is words."""
        uri = "data:audio/wav;base64," + base64_of(rain)
        for given in (uri, [uri, uri.replace("audio/wav", "application/octet-stream")]):
            reply = client.post("/v1/embeddings", json={"input": given}).json()
            assert np.abs(np.asarray(reply["data"][-1]["embedding"]) - clap.embed_audio(rain)).max() < 1e-6
        for words in ("data:audio/wav;base64,AAAA", "https://example.org/dog.wav", "data: a dog", "/home/dog.wav"):
            reply = client.post("/v1/embeddings", json={"input": words, "modality": "text"}).json()
            assert np.abs(np.asarray(reply["data"][0]["embedding"]) - clap.embed_text(words)).max() < 1e-6
        for words in ("data: a dog", "a dog, see https://example.org", "http status", "/home/dog.wav"):
            assert client.post("/v1/embeddings", json={"input": words}).status_code == 200

    def test_null_is_as_if_left_out(self, client: TestClient, clap: claprt.Clap) -> None:
        fields = dict.fromkeys(("model", "encoding_format", "user", "dimensions", "modality", "extra_body"))
        reply = client.post("/v1/embeddings", json={"input": "rain", **fields}).json()
        assert np.abs(np.asarray(reply["data"][0]["embedding"]) - clap.embed_text("rain")).max() < 1e-6

    def test_token_ids_of_its_own_tokenizer(self, client: TestClient, clap: claprt.Clap) -> None:
        ids = clap.tokenizer.encode(["a dog barking", "Rain, heavily!"])
        padded = [*ids[0], *[clap.manifest.text.pad_token_id] * 5]
        reply = client.post("/v1/embeddings", json={"input": [padded, ids[1]], "dimensions": None}).json()
        rows = np.asarray([row["embedding"] for row in reply["data"]], np.float32)
        assert np.abs(rows - clap.embed_text(["a dog barking", "Rain, heavily!"])).max() < 1e-6
        one = client.post("/v1/embeddings", json={"input": ids[0], "encoding_format": "base64"}).json()
        assert np.abs(np.frombuffer(base64.b64decode(one["data"][0]["embedding"]), "<f4") - rows[0]).max() < 1e-6
        assert client.post("/v1/embeddings", json={"input": ids[0][1:-1]}).status_code == 422

    def test_at_infinitys_paths(self, client: TestClient, clap: claprt.Clap, rain: bytes) -> None:
        uri = "data:audio/wav;base64," + base64_of(rain)
        for prefix in ("/v1", ""):
            assert client.get(f"{prefix}/health").json()["unix"] > 0
            text = client.post(f"{prefix}/embeddings", json={"input": "rain"}).json()
            assert np.abs(np.asarray(text["data"][0]["embedding"]) - clap.embed_text("rain")).max() < 1e-6
            for given in (uri, [uri], base64_of(rain)):
                sound = client.post(f"{prefix}/embeddings_audio", json={"input": given, "model": "x"}).json()
                assert np.abs(np.asarray(sound["data"][0]["embedding"]) - clap.embed_audio(rain)).max() < 1e-6
            refused = client.post(f"{prefix}/embeddings_audio", json={"input": "https://example.org/a.wav"})
            assert (refused.status_code, "not opened" in refused.text) == (400, True)
            assert client.post(f"{prefix}/classify", json={"model": "x", "input": ["test"]}).status_code == 400

    def test_models(self, client: TestClient) -> None:
        for prefix in ("/v1", ""):
            reply = client.get(f"{prefix}/models").json()
            assert (reply["object"], reply["data"][0]["id"], reply["data"][0]["owned_by"]) == ("list", "tiny", "infinity")
            assert client.get(f"{prefix}/models/tiny").json() == reply["data"][0]
            missing = client.get(f"{prefix}/models/laion/other")
            assert missing.status_code == 404
            assert "no model 'laion/other' here; there is 'tiny'" in missing.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("body", "status", "sentence"),
        [
            ({"input": []}, 422, "1 to 5 texts"),
            ({"input": ["x"] * 6}, 400, "1 to 5 texts"),
            ({"input": [], "modality": "audio"}, 422, "1 to 3 sounds"),
            ({"input": "somethingsomething", "modality": "audio"}, 422, "The sound is not base64"),
            ({"input": ["AAA", "AAA"], "modality": "audio"}, 422, ": The sound is not base64"),
            ({"input": "data:audio/wav;base64,AAA*", "modality": "audio"}, 422, "not base64"),
            ({"input": "data:audio/wav", "modality": "audio"}, 400, "no comma"),
            ({"input": "https://example.org/dog.wav"}, 400, '"modality": "audio"'),
            ({"input": ["rain", "s3://sounds/dog.wav"]}, 400, "input 1 looks like an address"),
            ({"input": ["rain", "data:audio/wav;base64,AAAA"]}, 400, "beside texts"),
            ({"input": "data:image/png;base64,AAAA"}, 400, "data: URI of image/png"),
            ({"input": base64_of(wav(np.zeros(99), 8000))}, 400, "a file in base64: WAV"),
            ({"input": ""}, 400, "at least one word"),
            ({"input": "x" * 201}, 400, "up to 200 characters"),
            ({"input": "https://example.org/a.wav", "modality": "audio"}, 400, "not opened"),
            ({"input": "/etc/passwd", "modality": "audio"}, 400, "not opened"),
            ({"input": "file:///etc/passwd", "modality": "audio"}, 400, "not opened"),
            ({"input": "AAAA", "modality": "audio"}, 400, "bytes[3]"),
            ({"input": "x", "modality": "image"}, 422, "modality"),
            ({"input": "x", "dimensions": 513}, 400, "1 to 512"),
            ({"input": [1, 2]}, 422, "check_embedding_ctx_len=False"),
            ({"input": [[1, 2], [3]]}, 422, "check_embedding_ctx_len=False"),
            ({"input": [[0, 10**9, 2]]}, 422, "check_embedding_ctx_len=False"),
            ({"input": [[-1]]}, 422, "input holds token ids"),
            ({"input": [[0, 2], 3]}, 422, "input holds token ids"),
            ({"input": [[0, 2], "a"]}, 422, "input"),
            ({"input": [[]]}, 422, "input holds token ids"),
            ({"input": [[0] * 9] * 999}, 422, "more token ids"),
            ({"input": [1.5]}, 422, "input"),
            ({}, 422, "input"),
        ],
    )
    def test_refusals(self, client: TestClient, body: Any, status: int, sentence: str) -> None:
        reply = client.post("/v1/embeddings", json=body)
        assert reply.status_code == status
        error = reply.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["code"] == status
        assert sentence in error["message"]


class TestQuestions:
    def test_classify_in_json_and_in_a_form(self, client: TestClient, clap: claprt.Clap, rain: bytes) -> None:
        expected = claprt.classify(rain, labels=["rain", "dog"], model=clap, top_k=2, template="the {}").to_dict()
        options = {"template": "the {}", "top_k": 2}
        asked = client.post("/classify", json={"audio": base64_of(rain), "labels": ["rain", "dog"], **options})
        comma = client.post("/classify", files={"file": rain}, data={"labels": "rain, dog", **options})
        lines = client.post("/classify", files={"file": rain}, data={"labels": "rain\r\ndog\n", **options})
        twice = client.post("/classify", files={"file": rain}, data={"labels": ["rain", "dog"], **options})
        for reply in (asked, comma, lines, twice):
            found = reply.json()
            assert found.keys() == {*expected, "fingerprint", "timings_ms"}
            assert found["predicted_class"] == expected["predicted_class"]
            assert found["top_k_classes"] == expected["top_k_classes"]
            assert found["fingerprint"] == clap.fingerprint
            for one, other in zip(found["classes"], expected["classes"], strict=True):
                assert one["label"] == other["label"]
                assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
            assert_times(found["timings_ms"])

    def test_tag_in_json_and_in_a_form(self, client: TestClient, clap: claprt.Clap, rain: bytes) -> None:
        expected = claprt.tag(rain, tags=["rain", "dog"], model=clap, threshold=0.4).to_dict()
        asked = client.post("/tag", json={"audio": base64_of(rain), "tags": ["rain", "dog"], "threshold": 0.4})
        form = client.post("/tag", files={"file": rain}, data={"tags": '["rain", "dog"]', "threshold": "0.4"})
        for reply in (asked, form):
            found = reply.json()
            assert found.keys() == {*expected, "fingerprint", "timings_ms"}
            assert found["active_tags"] == expected["active_tags"]
            for one, other in zip(found["tags"], expected["tags"], strict=True):
                assert one["tag"] == other["tag"]
                assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
            assert_times(found["timings_ms"])

    @pytest.mark.parametrize(
        ("path", "body", "status", "sentence"),
        [
            ("/classify", {"audio": "AAAA", "labels": []}, 400, "labels is empty; give at least one label"),
            ("/classify", {"audio": "AAAA", "labels": [""]}, 400, "label is empty"),
            ("/classify", {"audio": "AAAA", "labels": " , ,"}, 400, "labels is empty"),
            ("/classify", {"audio": "AAAA", "labels": "a, b, a"}, 400, "more than once"),
            ("/tag", {"audio": "AAAA", "tags": []}, 400, "tags is empty; give at least one tag"),
            ("/tag", {"audio": "AAAA", "tags": ""}, 400, "tags is empty"),
            ("/classify", {"audio": "AAAA", "labels": ["a"], "tempalte": "x {}"}, 400, "did you mean template?"),
            ("/classify", {"audio": "AAAA", "labels": ["a"], "topK": 3}, 400, "did you mean top_k?"),
            ("/classify", {"audio": "AAAA", "labels": ["a"], "quality": 3}, 400, "labels, template, top_k"),
            ("/classify", {"labels": ["a"]}, 422, "audio"),
            ("/classify", {"audio": "AAAA", "labels": None}, 422, "labels"),
            ("/classify", {"audio": "%", "labels": ["a"]}, 400, "not base64"),
            ("/classify", {"audio": "AAAA", "labels": ["a", "a"]}, 400, "more than once"),
            ("/classify", {"audio": "AAAA", "labels": ["a"], "template": "x"}, 400, "no {} for the label"),
            ("/classify", {"audio": "AAAA", "labels": ["a"], "top_k": 0}, 422, "top_k"),
            ("/classify", {"audio": "AAAA", "labels": list("abcdef")}, 400, "1 to 5 labels"),
            ("/classify", {"audio": "AAAA", "labels": ["a"] * 6}, 400, "1 to 5 labels"),
            ("/classify", {"audio": "AAAA", "labels": ["a" * 201]}, 400, "up to 200 characters"),
            ("/classify", {"audio": "AAAA", "labels": ["a"], "template": "{}" + "a" * 200}, 400, "one has 201"),
            ("/tag", {"audio": "AAAA", "tags": ["aaa", "b"], "template": "{}" * 99}, 400, "one has 297"),
            ("/tag", {"audio": "AAAA", "tags": [0] * 9}, 422, "tags"),
            ("/tag", {"audio": "AAAA", "tags": ["a", " "]}, 400, "tag is empty"),
            ("/tag", {"audio": "AAAA", "tags": ["a"], "threshold": 2}, 422, "threshold"),
            ("/tag", {"audio": "AAAA", "labels": ["a"]}, 400, "no field 'labels' here"),
        ],
    )
    def test_refusals(self, client: TestClient, path: str, body: Any, status: int, sentence: str) -> None:
        reply = client.post(path, json=body)
        assert reply.status_code == status
        assert sentence in reply.json()["error"]["message"]

    def test_refused_forms(self, client: TestClient, rain: bytes) -> None:
        def message(reply: Any, status: int = 400) -> str:
            assert reply.status_code == status
            return reply.json()["error"]["message"]

        assert "no file" in message(client.post("/tag", data={"tags": "a"}, files={"tags": (None, "b")}))
        assert "with the @" in message(client.post("/tag", files={"file": (None, "dog.wav"), "tags": (None, "a")}))
        assert "labels" in message(client.post("/classify", files={"file": rain}), 422)
        for words in ("", " , ,", "[]", "\n"):
            for path, field in (("/tag", "tags"), ("/classify", "labels")):
                assert f"{field} is empty" in message(client.post(path, files={"file": rain}, data={field: words}))
        twice = client.post("/classify", files={"file": rain}, data={"labels": ["a", "b", "a"]})
        assert "more than once" in message(twice)
        misspelt = client.post("/tag", files={"file": rain}, data={"tags": "a", "treshold": "0.3"})
        assert "did you mean threshold?" in message(misspelt)
        assert "2 times" in message(client.post("/tag", files={"file": rain}, data={"tags": "a", "threshold": ["0", "1"]}))
        for words in ("[1,", "[1]", '{"a": 1}', "[["):
            assert "not understood" in message(client.post("/tag", files={"file": rain}, data={"tags": words}), 422)
        assert "1 to 5 labels" in message(client.post("/tag", files={"file": rain}, data={"tags": "a,b," * 9}))
        assert "Too many files" in message(client.post("/tag", files=[("file", rain), ("file", rain)], data={"tags": "a"}))
        noise = client.post("/tag", files={"file": ("noise.webm", b"no sound")}, data={"tags": "a"})
        assert "noise.webm holds no sound" in message(noise)

    def test_words_with_commas(self, client: TestClient, rain: bytes) -> None:
        """As a list in JSON, in a form as a JSON list, as a field that is there twice, and with brackets."""
        words = ["rain, heavy", "dog"]

        def heard(reply: Any) -> list[str]:
            return sorted((one["label"] for one in reply.json()["classes"]), reverse=True)

        assert heard(client.post("/classify", json={"audio": base64_of(rain), "labels": words})) == words
        assert heard(client.post("/classify", json={"audio": base64_of(rain), "labels": json.dumps(words)})) == words
        assert heard(client.post("/classify", json={"audio": base64_of(rain), "labels": "dog"})) == ["dog"]
        forms: list[dict[str, Any]] = [
            {"labels": json.dumps(words)},
            {"labels": words},
            {"labels[]": words},
            {"labels[0]": words[0], "labels[1]": words[1]},
        ]
        for form in forms:
            assert heard(client.post("/classify", files={"file": rain}, data=form)) == words
        assert heard(client.post("/classify", files={"file": rain}, data={"labels[]": words[0]})) == words[:1]
        tags = client.post("/tag", files={"file": rain}, data={"tags[]": words, "threshold": "", "model": "x"}).json()
        assert {one["tag"] for one in tags["tags"]} == set(words)

    @pytest.mark.parametrize("field", ["audio", "upload", "file[]", "labels"])
    def test_a_file_in_a_field_of_any_name(self, client: TestClient, rain: bytes, field: str) -> None:
        expected = client.post("/classify", files={"file": rain}, data={"labels": "rain, dog"}).json()
        found = client.post("/classify", files={field: rain}, data={"labels": "rain, dog"}).json()
        assert found["classes"] == expected["classes"]

    def test_null_is_as_if_left_out(self, client: TestClient, rain: bytes) -> None:
        fields = {"template": None, "top_k": None, "model": None, "user": None}
        body: dict[str, Any] = {"audio": base64_of(rain), "labels": ["rain", "dog"]}
        found = client.post("/classify", json={**body, **fields}).json()
        assert found["classes"] == client.post("/classify", json=body).json()["classes"]
        assert len(found["top_k_classes"]) == 1
        body = {"audio": base64_of(rain), "tags": ["rain"]}
        found = client.post("/tag", json={**body, "threshold": None, "template": None}).json()
        assert found["tags"] == client.post("/tag", json={**body, "threshold": 0.5}).json()["tags"]

    def test_a_small_file_that_holds_hours_is_refused(self, client: TestClient) -> None:
        """A minute of silence in FLAC is 2 KB at most; two windows are all that this service takes."""
        file = wav(np.zeros(RATE * 60, np.int16), RATE, "FLAC")
        assert len(file) < 20_000
        reply = client.post("/classify", files={"file": file}, data={"labels": "rain"})
        assert reply.status_code == 400
        assert "more sound" in reply.json()["error"]["message"]


def assert_times(times: dict[str, float]) -> None:
    assert times.keys() == {"upload", "read", "wait", "tower", "text", "total"}
    assert min(times.values()) >= 0
    assert sum(times.values()) - times["total"] <= times["total"] + 0.01


class TestAnalysis:
    def test_what_the_page_draws(self, client: TestClient, clap: claprt.Clap) -> None:
        samples = SOUNDS["rain"](RATE * 12, RATE)
        file = wav(samples, RATE)
        reply = client.post("/analyse", files={"file": ("a.wav", file)}, data={"labels": "rain, dog", "mode": "tag"}).json()
        assert reply["sound"] == {"name": "a.wav", "seconds": 12.0, "rate": RATE, "windows": 2}
        assert reply["result"]["tags"][0]["probability"] == pytest.approx(
            claprt.tag(file, tags=["rain", "dog"], model=clap).to_dict()["tags"][0]["probability"], abs=1e-6
        )
        low, high = np.asarray(reply["waveform"]["low"]), np.asarray(reply["waveform"]["high"])
        assert low.shape == high.shape == (1000,)
        heard = soundfile.read(io.BytesIO(file), dtype="float32")[0]
        assert (low.min(), high.max()) == pytest.approx((heard.min(), heard.max()), abs=1e-4)
        assert (low <= high).all()
        mel = reply["log_mel"]
        levels = np.frombuffer(base64.b64decode(mel["data"]), np.uint8).reshape(mel["frames"], mel["mels"])
        least, most = mel["db"]
        drawn = least + levels / 255 * (most - least)
        first = next(iter(clap.audio_features(file))).log_mels[0]
        assert np.abs(drawn - np.maximum(first, least)).max() <= (most - least) / 255
        assert most - least <= 80
        assert (mel["start_s"], mel["seconds"], len(mel["hz"])) == (0, 10, 64)
        assert reply["timings_ms"].keys() == {"upload", "read", "wait", "tower", "text", "total"}
        assert reply["batch"] >= 1

    def test_frequencies_are_where_the_mels_are(self, client: TestClient, clap: claprt.Clap) -> None:
        """A tone's loudest band is the one whose stated frequency is the nearest."""
        file = wav(SOUNDS["tone"](RATE, RATE), RATE)
        mel = client.post("/analyse", files={"file": file}).json()["log_mel"]
        levels = log_mel(np.tile(SOUNDS["tone"](48_000, 48_000), 10), clap.manifest.audio.mel)
        assert np.abs(np.asarray(mel["hz"]) - 440).argmin() == levels.mean(axis=0).argmax()

    def test_without_words_it_is_only_heard(self, client: TestClient, rain: bytes) -> None:
        reply = client.post("/analyse", files={"file": rain}, data={"labels": " "}).json()
        assert reply["result"] is None
        assert "text" not in reply["timings_ms"]

    def test_a_fused_checkpoint_shows_the_whole(self, fused_clap: claprt.Clap) -> None:
        with TestClient(create_app(fused_clap)) as client:
            file = wav(SOUNDS["rain"](RATE * 25, RATE), RATE)
            mel = client.post("/analyse", files={"file": file}).json()["log_mel"]
        assert mel["seconds"] == 25

    def test_one_sample(self, client: TestClient) -> None:
        reply = client.post("/analyse", files={"file": wav(np.full(1, 0.5), RATE)}).json()
        assert len(reply["waveform"]["low"]) == 1

    def test_it_takes_forms_alone(self, client: TestClient) -> None:
        reply = client.post("/analyse", json={})
        assert reply.status_code == 415
        assert "multipart/form-data" in reply.json()["error"]["message"]


class TestBodies:
    def test_no_json_or_too_large(self, client: TestClient) -> None:
        assert client.post("/classify", content=b"{", headers={"content-type": "application/json"}).status_code == 422
        assert client.post("/classify", content=b" " * ((1 << 20) + 1)).status_code == 413
        assert client.post("/classify", content=iter([b"{}"])).status_code == 411
        assert client.post("/tag", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
        assert client.post("/tag", content=b"{}").status_code == 422  # taken for JSON, which lacks tags

    def test_encodings(self, client: TestClient, rain: bytes) -> None:
        body = json.dumps({"input": "a dog"}).encode()
        kind = {"content-type": "application/json"}

        def post(content: bytes, **headers: str) -> Any:
            return client.post("/v1/embeddings", content=content, headers={**kind, **headers})

        assert post(b"\xef\xbb\xbf" + body).status_code == 200
        for encoding in ("gzip", "br", "deflate, gzip"):
            reply = post(gzip.compress(body), **{"content-encoding": encoding})
            assert (reply.status_code, encoding in reply.text, "Content-Encoding" in reply.text) == (415, True, True)
        form = client.post("/tag", files={"file": rain}, data={"tags": "a"}, headers={"content-encoding": "gzip"})
        assert form.status_code == 415
        assert post(body, **{"content-encoding": "identity"}).status_code == 200
        assert "compressed with gzip" in post(gzip.compress(body)).text
        for encoded in (body.decode().encode("utf-16"), body.decode().encode("utf-16-le")):
            assert (post(encoded).status_code, "send UTF-8" in post(encoded).text) == (422, True)
        assert "multipart/form-data" in post(b'--x\r\nContent-Disposition: form-data; name="input"\r\n\r\na\r\n--x--').text
        assert post(body, **{"content-type": "application/json; charset=utf-8"}).status_code == 200
        latin = post(body, **{"content-type": 'application/json; charset="iso-8859-1"'})
        assert (latin.status_code, "iso-8859-1" in latin.text) == (415, True)

    def test_a_path_or_a_method_that_is_none(self, client: TestClient) -> None:
        for path in ("/nothing", "/page/../app.py", "/page/%2e%2e/app.py"):
            reply = client.get(path)
            assert reply.status_code == 404
            assert "There is no" in reply.json()["error"]["message"]
        reply = client.get("/classify")
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")

    def test_words(self) -> None:
        assert split_labels(" dog,, rain\r\ncat\n", 9) == ["dog", "rain", "cat"]
        assert split_labels(' ["rain, heavy", "é"]', 9) == ["rain, heavy", "é"]
        with pytest.raises(ShapeError):
            split_labels("[1,", 9)
        with pytest.raises(OptionError, match="1 to 9"):
            split_labels("a," * 20, 9)

    def test_numbers_may_be_strings(self, client: TestClient, rain: bytes) -> None:
        body = {"audio": base64.b64encode(rain).decode(), "labels": ["rain", "dog"]}
        found = client.post("/classify", json={**body, "top_k": "2"}).json()
        assert len(found["top_k_classes"]) == 2

    def test_base64(self) -> None:
        data = np.random.default_rng(0).bytes(1_000_000)
        assert from_base64(base64.encodebytes(data).decode()) == data
        assert from_uri("data:audio/flac;base64,AAAA") == b"\0\0\0"
        for head in ("data:audio/wav; base64 ,", "  data:audio/wav;name=a.wav;BASE64,", "DATA:AUDIO/WAV;base64,"):
            assert from_uri(head + "AAAA") == b"\0\0\0"
        assert from_base64("-__-AA==") == from_base64("+//+AA==") == base64.urlsafe_b64decode("-__-AA==")
        with pytest.raises(AudioDecodeError, match="its end or its padding is missing"):
            from_base64("AAAAAA")
        assert from_uri("//uQ") == b"\xff\xfb\x90"  # an MP3 begins so
        assert from_base64(" \r\n".join(base64_of(data[:9999]))) == data[:9999]
        for text in ("", "%", "%4", "%41", "%%41", "%zz%4g%", "a%2", "%C3%a9,x", "%41" * 90_000 + "%" * 5):
            assert from_uri("data:," + text) == unquote_to_bytes(text)
        for bad in ("A", "AAA", "AA==AAAA", "AAA=\nA", "AA*=", "é"):
            with pytest.raises(AudioDecodeError, match="is not base64"):
                from_base64(bad)
        with pytest.raises(AudioDecodeError, match="padding in the middle"):
            from_base64("A" * ((1 << 18) - 1) + "=" + "AAAA")


class TestAround:
    def test_health(self, client: TestClient, clap: claprt.Clap) -> None:
        assert client.get("/healthz").text == "ok"
        facts = client.get("/readyz").json()
        assert (facts["status"], facts["fingerprint"]) == ("ready", clap.fingerprint)

    def test_it_is_not_ready_before_it_has_loaded(self, clap: claprt.Clap) -> None:
        app = create_app(clap)
        reply = TestClient(app).get("/readyz")  # without the lifespan
        assert (reply.status_code, reply.json()["status"]) == (503, "starting")
        app.state.service.batcher.close()

    def test_metrics(self, client: TestClient, clap: claprt.Clap, rain: bytes) -> None:
        client.post("/classify", files={"file": rain}, data={"labels": "rain"})
        client.get("/some/path")
        text = client.get("/metrics").text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        for name in ("claprt_requests", "claprt_request_seconds", "claprt_stage_seconds", "claprt_batch_windows",
                     "claprt_waiting", "claprt_rejected", "claprt_build_info", "claprt_connections"):  # fmt: skip
            assert families[name].documentation
            assert re.search(rf"^# TYPE {name}\w* (counter|gauge|histogram)$", text, re.MULTILINE), name
        build = families["claprt_build_info"].samples[0].labels
        assert build == {**build, "model": "tiny", "fingerprint": clap.fingerprint, "provider": "cpu", "precision": "fp32"}
        counted = {
            (s.labels["endpoint"], s.labels["status"])
            for s in families["claprt_requests"].samples
            if "endpoint" in s.labels
        }
        assert {("/classify", "200"), ("other", "404")} <= counted
        stages = {sample.labels["stage"] for sample in families["claprt_stage_seconds"].samples if sample.labels}
        assert stages == {"read", "wait", "tower", "text"}

    def test_the_description_shows_both_bodies(self, client: TestClient) -> None:
        paths = client.get("/openapi.json").json()["paths"]
        assert {"/v1/embeddings", "/classify", "/tag", "/analyse", "/project", "/metrics"} <= paths.keys()
        assert "/classify/file" not in paths
        for path in ("/classify", "/tag"):
            content = paths[path]["post"]["requestBody"]["content"]
            assert content.keys() == {"application/json", "multipart/form-data"}
            assert content["multipart/form-data"]["schema"]["properties"]["file"]["format"] == "binary"
            assert "audio" in content["application/json"]["schema"]["required"]
        assert "$ref" not in json.dumps([paths[path]["post"]["requestBody"] for path in ("/tag", "/analyse", "/project")])

    def test_no_other_origin_may_ask_unless_it_is_named(self, client: TestClient, clap: claprt.Clap) -> None:
        headers = {"origin": "https://example.org", "access-control-request-method": "POST"}
        assert client.options("/classify", headers=headers).status_code == 405
        assert "access-control-allow-origin" not in client.get("/healthz", headers=headers).headers
        with TestClient(create_app(clap, token="x", cors=["https://example.org"])) as open_:
            assert open_.options("/classify", headers=headers).headers["access-control-allow-origin"] == headers["origin"]
            assert open_.get("/healthz", headers={"origin": "https://example.com"}).headers.get(
                "access-control-allow-origin"
            ) != "https://example.com"  # fmt: skip

    def test_pages_of_other_origins(self, clap: claprt.Clap) -> None:
        """They may neither post nor open a WebSocket; programs state no origin, and the page its own."""
        named = "https://example.org"
        with TestClient(create_app(clap, cors=[named]), base_url="http://localhost:8000") as client:
            for origin, may in (
                (None, True),
                ("http://localhost:8000", True),
                (named, True),
                ("http://localhost:3000", False),
                ("https://evil.example", False),
                ("http://localhost.evil.example:8000", False),
                ("null", False),
            ):
                headers = {} if origin is None else {"origin": origin}
                for content_type in ("application/json", None):
                    given = {**headers, **({} if content_type is None else {"content-type": content_type})}
                    reply = client.post("/v1/embeddings", content=b'{"input": "rain"}', headers=given)
                    assert reply.status_code == (200 if may else 403), origin
                    assert may or "--cors" in reply.json()["error"]["message"]
                for path in ("ws://localhost:8000/", "ws://localhost:8000/project"):
                    if may:
                        with client.websocket_connect(path, headers=headers) as socket:
                            socket.send_text("{}")
                            socket.receive_json()
                    else:
                        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path, headers=headers):
                            pass
                assert client.get("/readyz", headers=headers).status_code == 200
        with TestClient(create_app(clap, cors=["*"])) as client:
            assert client.post("/v1/embeddings", json={"input": "a"}, headers={"origin": "null"}).status_code == 200
        with TestClient(create_app(clap), base_url="https://clap.example.org") as client:  # behind a proxy
            headers = {"origin": "https://clap.example.org", "host": "clap.example.org"}
            assert client.post("/v1/embeddings", json={"input": "a"}, headers=headers).status_code == 200

    @pytest.mark.parametrize(
        ("host", "server", "is_own"),
        [
            ("localhost:32051", ("127.0.0.1", 32051), True),
            ("LOCALHOST:32051", ("127.0.0.1", 32051), True),
            ("a.localhost:32051", ("::1", 32051), True),
            ("127.0.0.1:32051", ("127.0.0.1", 32051), True),
            ("[::1]:32051", ("::1", 32051), True),
            ("rebound.example:32051", ("127.0.0.1", 32051), False),
            ("rebound.example", ("127.0.0.1", 80), False),
            ("rebound.example:32051", ("::1", 32051), False),
            ("a:b:c", ("127.0.0.1", 32051), False),
            ("clap.example.org", ("127.0.0.1", 32051), True),
            ("clap.example.org:8443", ("127.0.0.1", 32051), True),
            ("clap.example.org:32051", ("192.168.1.2", 32051), True),
            ("", ("127.0.0.1", 32051), True),
        ],
    )
    def test_names_of_this_machine(self, host: str, server: tuple[str, int], is_own: bool) -> None:
        """A page whose name was made to point at this machine is refused; what a proxy passes on is not."""
        reached: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            reached.append(scope["type"])

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", host.encode())]
        for kind in ("http", "websocket"):
            scope = {"type": kind, "method": "GET", "headers": headers, "server": server}
            asyncio.run(Origins(app)(scope, receive, send))
        assert reached == (["http", "websocket"] if is_own else [])
        assert is_own or (sent[0]["status"], sent[-1]["code"]) == (403, 1008)

    def test_the_page_and_its_policy(self, client: TestClient) -> None:
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        named = re.findall(r'(?:src|href)="(/page/[^"]+)"', page.text)
        assert len(named) >= 3
        for path in named:
            assert client.get(path).status_code == 200
        folder = Path(claprt.__file__).parent / "serve" / "http" / "static"
        for file in folder.iterdir():
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file
            assert " style=" not in text, file


@pytest.mark.parametrize("rate", [5, 0, -16_000, 999, 768_001])
def test_a_rate_that_no_sound_has(
    bundle: Path, clap: claprt.Clap, rate: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused at the start, and not for every frame."""
    with pytest.raises(OptionError, match=f"sample_rate={rate} is not possible; give 1000 to 768000 Hz"):
        create_app(clap, sample_rate=rate)
    monkeypatch.setattr("claprt.serve.server.run.listen", None)  # it does not get so far
    assert main(["serve", "--bundle", str(bundle), "--port", "0", "--sample-rate", str(rate)]) == 1
    assert f"sample_rate={rate} is not possible" in capsys.readouterr().err


def test_a_slash_after_the_path_of_a_websocket(client: TestClient) -> None:
    for path in ("/clap", "/clap-bd", "/project"):
        with client.websocket_connect(f"{path}/?sample_rate=22050") as socket:
            socket.send_text("{}")
            assert {"status", "error"} & socket.receive_json().keys()
        text = client.get("/metrics").text
        assert f'claprt_connections{{endpoint="{path}"}} 0.0' in text
        assert f'claprt_connections{{endpoint="{path}/"}}' not in text


def test_a_bug_is_told_without_its_traceback(
    clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("claprt.serve.http.routes.page_data", broken)
    with TestClient(create_app(clap)) as client:
        reply = client.post("/analyse", files={"file": wav(np.zeros(500), RATE)})
    assert reply.status_code == 500
    assert reply.json()["error"]["message"] == "The service failed on this request; its log says how."
    assert "ZeroDivisionError: a bug" in caplog.text
