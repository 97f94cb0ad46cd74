"""TLS, keys for what is restricted, and what clients are told where they have neither."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

import claprt
from claprt.errors import OptionError, ServerError, ServerUnavailableError
from claprt.triton import AsyncTritonEngine, Security, TritonEngine
from tests.triton.asking import Array
from tests.triton.certificates import Certificate, authority, signed, tls_before
from tests.triton.server import Server

LIMIT = 1e-6
MODELS = ("--control", "explicit", "--load", "audio_tower", "text_tower", "tokenizer")
ADMIN, TOKEN = "only-for-admins", "only-for-clients"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def trusted(folder: Path) -> Certificate:
    return authority(folder, "trusted")


@pytest.fixture(scope="module")
def secured(repository: Path, folder: Path, trusted: Certificate, needs_server: None) -> Iterator[Server]:
    """TLS for gRPC; control of models, and gRPC's shared memory, only for administrators."""
    own = signed(folder, "server", trusted)
    tls = ("--grpc-use-ssl=true", f"--grpc-server-cert={own.file}", f"--grpc-server-key={own.key}")
    keys = (
        f"--grpc-restricted-protocol=model-repository,shared-memory:admin-key={ADMIN}",
        f"--http-restricted-api=model-repository:admin-key={ADMIN}",
    )
    with Server(repository, folder / "secured.log", *MODELS, "--", *tls, *keys) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(repository: Path, folder: Path, trusted: Certificate, needs_server: None) -> Iterator[Server]:
    """Client certificates for gRPC, and everything that clients need behind a token."""
    own = signed(folder, "keyed", trusted)
    tls = ("--grpc-use-ssl-mutual=true", f"--grpc-server-cert={own.file}", f"--grpc-server-key={own.key}")
    needed = f"inference,metadata,model-config,shared-memory:token={TOKEN}"
    keys = (f"--grpc-restricted-protocol={needed}", f"--http-restricted-api={needed}")
    with Server(
        repository, folder / "keyed.log", *MODELS, "--", *tls, f"--grpc-root-cert={trusted.file}", *keys
    ) as running:
        yield running


def mels(seed: int) -> Array:
    return np.random.default_rng(seed).normal(-30, 10, (1, 1, 1001, 64)).astype(np.float32)


def grpcs(server: Server, host: str = "127.0.0.1") -> str:
    return f"triton+grpcs://{host}:{server.ports.grpc}"


class TestTls:
    def test_the_same_vectors(self, secured: Server, trusted: Certificate, clap: claprt.Clap) -> None:
        security = Security(root_certificates=trusted.file)
        served = claprt.load(grpcs(secured), server={"security": security})
        assert served.bundle.folder is None
        assert np.abs(served.engine.audio(mels(0), None) - clap.engine.audio(mels(0), None)).max() <= LIMIT
        assert np.abs(served.embed_text(["a dog"]) - clap.embed_text(["a dog"])).max() <= LIMIT

        async def asynchronous() -> Array:
            async with AsyncTritonEngine(grpcs(secured), security=security) as engine:
                return await engine.audio(mels(1))

        assert np.abs(asyncio.run(asynchronous()) - clap.engine.audio(mels(1), None)).max() <= LIMIT

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_whom_nobody_vouches_for_is_refused_at_once(
        self, secured: Server, folder: Path, trusted: Certificate, host: str
    ) -> None:
        """Another authority; and the right one, but for another name."""
        file = authority(folder, "somebody else").file if host == "127.0.0.1" else trusted.file
        started = time.monotonic()
        with pytest.raises(ServerError, match="certificate is not trusted.*root_certificates names"):
            TritonEngine(grpcs(secured, host), security=Security(root_certificates=file), retry_for_s=20)
        assert time.monotonic() - started < 10

    def test_one_side_without_tls(self, server: Server, secured: Server) -> None:
        with pytest.raises(ServerError, match="does not speak TLS; leave the s out"):
            TritonEngine(grpcs(server), retry_for_s=20)
        with pytest.raises(ServerUnavailableError, match="could not be reached"):
            TritonEngine(secured.grpc, retry_for_s=0)

    def test_certificates_of_clients(self, keyed: Server, folder: Path, trusted: Certificate, clap: claprt.Clap) -> None:
        own, headers = signed(folder, "client", trusted), {"triton-grpc-protocol-token": TOKEN}
        files = {"root_certificates": trusted.file, "private_key": own.key, "certificate_chain": own.file}
        with TritonEngine(grpcs(keyed), security=Security(headers=headers, **files)) as engine:
            assert np.abs(engine.audio(mels(0), None) - clap.engine.audio(mels(0), None)).max() <= LIMIT
        with pytest.raises(ServerUnavailableError):
            TritonEngine(grpcs(keyed), security=Security(headers=headers, root_certificates=trusted.file), retry_for_s=0)

    def test_http_behind_a_proxy(self, keyed: Server, folder: Path, trusted: Certificate, clap: claprt.Clap) -> None:
        with tls_before(keyed.ports.http, signed(folder, "proxy", trusted)) as port:
            url, headers = f"triton+https://127.0.0.1:{port}", {"token": TOKEN}
            security = Security(headers=headers, root_certificates=trusted.file)
            with TritonEngine(url, security=security) as engine:
                assert np.abs(engine.audio(mels(0), None) - clap.engine.audio(mels(0), None)).max() <= LIMIT
            other = Security(headers=headers, root_certificates=authority(folder, "other").file)
            with pytest.raises(ServerError, match="certificate is not trusted"):
                TritonEngine(url, security=other, retry_for_s=20)

    def test_files_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match="root_certificates is to be a PEM file"):
            Security(root_certificates=str(tmp_path / "none.pem"))
        (tmp_path / "key.pem").touch()
        with pytest.raises(OptionError, match="belong together"):
            Security(private_key=str(tmp_path / "key.pem"))


class TestRestricted:
    def test_models_are_controlled_with_the_key_alone(self, secured: Server, trusted: Certificate) -> None:
        address = f"127.0.0.1:{secured.ports.grpc}"
        with grpc.InferenceServerClient(address, ssl=True, root_certificates=trusted.file) as client:
            with pytest.raises(InferenceServerException, match="is restricted, expecting header"):
                client.unload_model("text_tower")
            client.load_model("text_tower", headers={"triton-grpc-protocol-admin-key": ADMIN})
        with http.InferenceServerClient(f"127.0.0.1:{secured.ports.http}") as client:
            with pytest.raises(InferenceServerException, match="is restricted, expecting header"):
                client.unload_model("text_tower", headers={"admin-key": "guessed"})
            client.load_model("text_tower", headers={"admin-key": ADMIN})

    def test_inference_needs_no_key(self, secured: Server, trusted: Certificate, clap: claprt.Clap) -> None:
        """Without the key to shared memory, tensors go over the wire; who insists on it is told which key."""
        security, expected = Security(root_certificates=trusted.file), clap.engine.audio(mels(2), None)
        for url, of_url in ((secured.http, None), (grpcs(secured), security)):
            with TritonEngine(url, security=of_url) as engine:
                assert np.abs(engine.audio(mels(2), None) - expected).max() <= LIMIT
                assert engine.sharing is (url == secured.http)
        sentence = "register_system_shared_memory only with the header triton-grpc-protocol-admin-key"
        insisting = TritonEngine(grpcs(secured), security=security, shared_memory=True)
        with insisting, pytest.raises(ServerError, match=sentence):
            insisting.audio(mels(2), None)
        with_key = Security(root_certificates=trusted.file, headers={"Triton-GRPC-Protocol-Admin-Key": ADMIN})
        with TritonEngine(grpcs(secured), security=with_key, shared_memory=True) as engine:
            assert np.abs(engine.audio(mels(2), None) - expected).max() <= LIMIT

    def test_clients_with_and_without_a_token(self, keyed: Server, clap: claprt.Clap) -> None:
        for headers in ({}, {"token": "guessed"}):
            started = time.monotonic()
            with pytest.raises(
                ServerError, match=r"answers get_model_config only with the header token and its right value"
            ):
                TritonEngine(keyed.http, security=Security(headers=headers), retry_for_s=20)
            assert time.monotonic() - started < 10
        served: Any = claprt.load(keyed.http, server={"security": Security(headers={"token": TOKEN})})
        assert np.abs(served.engine.audio(mels(3), None) - clap.engine.audio(mels(3), None)).max() <= LIMIT
        assert served.engine.sharing
        assert TOKEN not in repr(served.engine.security)
