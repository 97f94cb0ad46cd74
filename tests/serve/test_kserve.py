"""KServe's protocol: Triton's own client against a service that runs, and requests that are wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.serve.app import create_app
from claprt.serve.kserve.tensors import decode_request
from claprt.serve.limits import Limits
from tests.serve.process import Process
from tests.serve.test_http import RATE, base64_of, wav

TEXTS = ["a dog", "rain"]


@pytest.fixture(scope="module")
def client(clap: claprt.Clap) -> Iterator[TestClient]:
    with TestClient(create_app(clap, limits=Limits(texts=5, sounds=3, characters=200))) as client:
        yield client


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [wav(SOUNDS[name](RATE, RATE), RATE) for name in ("rain", "tone")]


@pytest.fixture
def triton(service: Process) -> Iterator[Any]:
    http = pytest.importorskip("tritonclient.http", reason="needs tritonclient (pip install 'claprt[triton]')")
    with http.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


def tensor(name: str, data: list[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(data)], "data": data, **more}


class TestTritonClient:
    """tritonclient.http against the service of mini, with kromosynth's preprocessing."""

    @staticmethod
    def _input(name: str, values: list[Any], *, binary: bool = True) -> Any:
        from tritonclient.http import InferInput

        array = np.array(values, np.int32 if isinstance(values[0], int) else np.object_)
        given = InferInput(name, list(array.shape), "INT32" if isinstance(values[0], int) else "BYTES")
        return given.set_data_from_numpy(array, binary_data=binary)

    def test_health_and_metadata(self, triton: Any, mini: claprt.Clap) -> None:
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        for name in ("clap_text", "clap_audio_file", "clap_classify"):
            assert triton.is_model_ready(name)
            assert triton.is_model_ready(name, "1")
            assert triton.get_model_metadata(name)["name"] == name
        (output,) = triton.get_model_metadata("clap_text", "1")["outputs"]
        assert output == {"name": "text_embeddings", "datatype": "FP32", "shape": [-1, mini.dim]}
        assert not triton.is_model_ready("clap_video")

    @pytest.mark.parametrize("binary", [True, False])
    def test_texts(self, triton: Any, mini: claprt.Clap, binary: bool) -> None:
        from tritonclient.http import InferRequestedOutput

        chosen = [InferRequestedOutput("text_embeddings", binary_data=binary)]
        given = [self._input("text", TEXTS, binary=binary)]
        for outputs in (None, chosen):
            result = triton.infer("clap_text", given, outputs=outputs, request_id="seven")
            assert np.abs(result.as_numpy("text_embeddings") - mini.embed_text(TEXTS)).max() < 1e-6
            assert result.get_response()["id"] == "seven"

    def test_a_model_by_its_address(self, bundle: Path, fused_bundle: Path, logs: Path, fused_clap: claprt.Clap) -> None:
        """Of several; the client takes a path in its address, and names at the root are those of the index."""
        http = pytest.importorskip("tritonclient.http", reason="needs tritonclient (pip install 'claprt[triton]')")
        flags = ["--bundle", f"plain={bundle}", "--bundle", f"fused={fused_bundle}", "--device", "cpu"]
        with Process(logs / "kserve.log", *flags) as process:
            address = f"127.0.0.1:{process.port}"
            for path, name in (("", "fused.clap_text"), ("/models/fused", "clap_text")):
                with http.InferenceServerClient(address + path) as client:
                    assert name in {model["name"] for model in client.get_model_repository_index()}
                    assert client.is_model_ready(name)
                    vectors = client.infer(name, [self._input("text", TEXTS)]).as_numpy("text_embeddings")
                    assert np.abs(vectors - fused_clap.embed_text(TEXTS)).max() < 1e-6

    def test_files_and_samples(self, triton: Any, mini: claprt.Clap, files: list[bytes]) -> None:
        result = triton.infer("clap_audio_file", [self._input("audio", files)])
        assert np.abs(result.as_numpy("audio_embeddings") - mini.embed_audio(files)).max() < 1e-6
        samples = SOUNDS["rain"](RATE, RATE).astype("<f4")
        given = [self._input("audio", [samples.tobytes()]), self._input("sample_rate", [RATE])]
        result = triton.infer("clap_audio_file", given)
        assert np.abs(result.as_numpy("audio_embeddings")[0] - mini.embed_audio(samples, RATE)).max() < 1e-6

    def test_classification(self, triton: Any, mini: claprt.Clap, files: list[bytes]) -> None:
        result = triton.infer("clap_classify", [self._input("audio", files), self._input("labels", TEXTS)])
        expected = mini.embed_audio(files) @ mini.embed_text(TEXTS).T
        assert np.abs(result.as_numpy("similarities") - expected).max() < 1e-6
        assert np.abs(result.as_numpy("logits") - expected * mini.manifest.logit_scale_a).max() < 1e-4
        assert np.abs(result.as_numpy("probabilities").sum(1) - 1).max() < 1e-6

    def test_errors_are_sentences(self, triton: Any) -> None:
        from tritonclient.utils import InferenceServerException

        with pytest.raises(InferenceServerException, match="There is no model 'clap_video' here; there is clap_text"):
            triton.infer("clap_video", [self._input("text", TEXTS)])
        with pytest.raises(InferenceServerException, match=r"clap_text takes text \(text needed\); got audio"):
            triton.infer("clap_text", [self._input("audio", TEXTS)])
        with pytest.raises(InferenceServerException, match="gzip"):
            triton.infer("clap_text", [self._input("text", TEXTS)], request_compression_algorithm="gzip")


class TestJson:
    def test_files_are_base64(self, client: TestClient, clap: claprt.Clap, files: list[bytes]) -> None:
        body = {"inputs": [tensor("audio", [base64_of(file) for file in files])]}
        reply = client.post("/v2/models/clap_audio_file/versions/1/infer", json=body).json()
        (output,) = reply["outputs"]
        assert (reply["model_name"], output["datatype"], output["shape"]) == ("clap_audio_file", "FP32", [2, clap.dim])
        assert np.abs(np.reshape(output["data"], output["shape"]) - clap.embed_audio(files)).max() < 1e-6

    def test_only_the_outputs_that_are_asked_for(self, client: TestClient, files: list[bytes]) -> None:
        inputs = [tensor("audio", [base64_of(files[0])]), tensor("labels", TEXTS)]
        body = {"inputs": inputs, "outputs": [{"name": "probabilities"}]}
        (output,) = client.post("/v2/models/clap_classify/infer", json=body).json()["outputs"]
        assert (output["name"], output["shape"]) == ("probabilities", [1, 2])

    @pytest.mark.parametrize(
        ("model", "body", "status", "sentence"),
        [
            ("clap_text", {}, 422, "inputs"),
            ("clap_text", {"inputs": []}, 422, "got no inputs"),
            ("clap_text", {"inputs": [tensor("text", ["a", "b"], shape=[3])]}, 422, "2 elements"),
            ("clap_text", {"inputs": [tensor("text", ["a"], shape=[-1])]}, 400, "up to 72 elements"),
            ("clap_text", {"inputs": [tensor("text", [1])]}, 422, "not a list of strings"),
            ("clap_text", {"inputs": [tensor("text", ["a"] * 6)]}, 400, "1 to 5 texts"),
            ("clap_text", {"inputs": [tensor("text", ["a"], datatype="FP32")]}, 422, "not a list of whole numbers"),
            ("clap_text", {"inputs": [tensor("text", ["a"])] * 2}, 422, "twice"),
            ("clap_text", {"inputs": [tensor("text", ["a"], parameters={"binary_data_size": 9})]}, 422, "0 bytes are left"),
            ("clap_text", {"inputs": [tensor("text", ["a"], parameters={"shared_memory_region": "x"})]}, 400, "shared"),
            ("clap_text", {"inputs": [tensor("text", ["a"])], "outputs": [{"name": "x"}]}, 400, "no output 'x'"),
            (
                "clap_text",
                {
                    "inputs": [tensor("text", ["a"])],
                    "outputs": [{"name": "text_embeddings", "parameters": {"classification": 3}}],
                },
                400,
                "classification",
            ),
            ("clap_audio_file", {"inputs": [tensor("audio", ["*"])]}, 422, "base64"),
            (
                "clap_audio_file",
                {
                    "inputs": [
                        tensor("audio", ["AAAA"]),
                        {"name": "sample_rate", "datatype": "INT32", "shape": [1], "data": [8]},
                    ]
                },
                422,
                "raw samples",
            ),
            ("clap_classify", {"inputs": [tensor("audio", ["AAAA"]), tensor("labels", ["a", "a"])]}, 400, "more than once"),
            ("clap_text/versions/2", {"inputs": [tensor("text", ["a"])]}, 404, "version 1"),
        ],
    )
    def test_refusals(self, client: TestClient, model: str, body: dict[str, Any], status: int, sentence: str) -> None:
        reply = client.post(f"/v2/models/{model}/infer", json=body)
        assert (reply.status_code, sentence in reply.json()["error"]) == (status, True), reply.text


class TestBinary:
    @pytest.mark.parametrize(
        ("size", "data", "stated", "sentence"),
        [
            (5, struct.pack("<I", 9) + b"a", None, "other elements"),
            (3, b"abc", None, "other elements"),
            (10, struct.pack("<I", 1) * 2 + b"ab", None, "other elements"),
            (0, b"", None, "0 elements"),
            (5, struct.pack("<I", 1) + b"a" + b"more", None, "4 bytes of the body belong to no tensor"),
            (-1, b"", None, "binary_data_size of text is -1"),
            (True, b"a", None, "binary_data_size of text is True"),
            (0, b"", "1000000", "1000000, and the body has"),
            (0, b"", "x", "a number of bytes was expected"),
        ],
    )
    def test_refusals(self, client: TestClient, size: Any, data: bytes, stated: str | None, sentence: str) -> None:
        given = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
        head = json.dumps({"inputs": [given]}).encode()
        headers = {"Inference-Header-Content-Length": stated or str(len(head))}
        reply = client.post("/v2/models/clap_text/infer", content=head + data, headers=headers)
        assert (reply.status_code, sentence in reply.json()["error"]) == (422, True), reply.text

    def test_text_that_is_not_utf_8(self, client: TestClient) -> None:
        given = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
        head = json.dumps({"inputs": [given]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        reply = client.post("/v2/models/clap_text/infer", content=head + b"\1\0\0\0\xff", headers=headers)
        assert (reply.status_code, "UTF-8" in reply.json()["error"]) == (400, True)


def test_outputs_are_checked_before_the_model_runs(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(clap)

    async def fault(_: object) -> None:
        raise AssertionError("the model has run")

    monkeypatch.setattr(app.state.service.batcher, "embed_texts", fault)
    classes = {"name": "text_embeddings", "parameters": {"classification": 3}}
    with TestClient(app) as client:
        for output, sentence in (({"name": "x"}, "no output 'x'"), (classes, "classification of text_embeddings")):
            body = {"inputs": [tensor("text", ["a"])], "outputs": [output]}
            reply = client.post("/v2/models/clap_text/infer", json=body)
            assert (reply.status_code, sentence in reply.json()["error"]) == (400, True), reply.text


@pytest.mark.parametrize("texts", [("text",), ()])
def test_strings_are_decoded_once_with_the_body(texts: tuple[str, ...]) -> None:
    """From JSON and of text inputs in binary they are strings, so that nothing is left to decode on the event loop."""
    given = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}}
    head = json.dumps({"inputs": [given, tensor("audio", ["AAAA"])]}).encode()
    _, elements = decode_request(head + struct.pack("<I", 2) + "ä".encode(), len(head), 9, texts)
    assert elements == {"text": ["ä" if texts else "ä".encode()], "audio": ["AAAA"]}


def test_a_fault_has_the_form_of_all_errors(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(clap)

    async def fault(_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(app.state.service.batcher, "embed_texts", fault)
    with TestClient(app) as client:
        reply = client.post("/v2/models/clap_text/infer", json={"inputs": [tensor("text", ["a"])]})
    assert (reply.status_code, "The service failed" in reply.json()["error"]) == (500, True), reply.text


def test_health_needs_no_token(clap: claprt.Clap) -> None:
    with TestClient(create_app(clap, token="secret")) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get("/v2").status_code == 401
