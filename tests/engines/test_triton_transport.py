"""Addresses, what failures mean, and an engine that asks again, without a server."""

from __future__ import annotations

import ssl
from typing import Any

import numpy as np
import pytest

from claprt.bundle.address import is_address, parse_address
from claprt.engines.triton import metadata as served_module
from claprt.engines.triton.errors import ForgottenError, LostError, failure
from claprt.engines.triton.metadata import checked_vectors
from claprt.engines.triton.shared_memory import Regions
from claprt.engines.triton.transport import newest
from claprt.errors import ArrayError, OptionError, ServerError, ServerUnavailableError


@pytest.mark.parametrize(
    ("url", "shown", "protocol", "tls", "local"),
    [
        ("triton://localhost", "triton+grpc://localhost:8001", "grpc", False, True),
        ("triton://gpu.example:9001/", "triton+grpc://gpu.example:9001", "grpc", False, False),
        ("triton+http://127.0.0.1", "triton+http://127.0.0.1:8000", "http", False, True),
        ("triton+https://example:443", "triton+https://example:443", "http", True, False),
        ("triton+grpcs://[::1]:1", "triton+grpcs://[::1]:1", "grpc", True, True),
    ],
)
def test_addresses(url: str, shown: str, protocol: str, tls: bool, local: bool) -> None:
    address = parse_address(url)
    assert (str(address), address.protocol, address.tls, address.local) == (shown, protocol, tls, local)
    assert is_address(url)


@pytest.mark.parametrize(
    "url", ["http://x", "triton://", "triton://h:x", "triton://h/model", "triton://u:p@h", "triton://h?a=1"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(OptionError, match="address of a server|host and a port"):
        parse_address(url)


def test_folders_are_no_addresses() -> None:
    assert not any(map(is_address, ["bundles/triton", "mini", None, 3, "triton", "C:/triton"]))


class Refusal(Exception):  # noqa: N818 - stands for tritonclient's
    """As tritonclient raises it."""

    def __init__(self, message: str, status: str | None) -> None:
        super().__init__(message)
        self._status = status

    def status(self) -> str | None:
        return self._status

    def message(self) -> str:
        return str(self)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refusal("failed to connect to all addresses", "StatusCode.UNAVAILABLE"), LostError),
        (Refusal("Stub process 'audio_tower_0_0' is not healthy.", "StatusCode.INTERNAL"), LostError),
        (Refusal("[request id: 1] Exceeds maximum queue size", "400"), LostError),
        (Refusal("Unable to find shared memory region: 'x'", "StatusCode.NOT_FOUND"), ForgottenError),
        (Refusal("Deadline Exceeded", "StatusCode.DEADLINE_EXCEEDED"), ServerUnavailableError),
        (TimeoutError("timed out"), ServerUnavailableError),
        (ConnectionRefusedError(111, "refused"), LostError),
        (
            Refusal("This protocol is restricted, expecting header 'triton-grpc-protocol-k'", "StatusCode.UNAVAILABLE"),
            ServerError,
        ),
        (Refusal("This API is restricted, expecting header 'k'", "403"), ServerError),
        (Refusal("Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", "StatusCode.UNAVAILABLE"), ServerError),
        (ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"), ServerError),
        (Refusal("UNAUTHENTICATED: Hostname Verification Check failed.", "StatusCode.UNAVAILABLE"), ServerError),
        (Refusal("Ssl handshake failed: WRONG_VERSION_NUMBER", "StatusCode.UNAVAILABLE"), ServerError),
        (Refusal("unexpected shape for input", "StatusCode.INVALID_ARGUMENT"), ServerError),
        (ValueError("no"), ServerError),
    ],
)
def test_what_failures_mean(error: Exception, kind: type[Exception]) -> None:
    assert type(failure(error, 3)) is kind


def test_newest_version() -> None:
    assert newest(["1", "10", "9"]) == "10"


@pytest.mark.parametrize(
    "reply",
    [
        None,
        np.zeros((2, 512), np.float32),
        np.full((2, 512), np.nan, np.float32),
        np.ones((1, 512), np.float32) / 512**0.5,
        np.ones((2, 512), np.float64) / 512**0.5,
    ],
    ids=["nothing", "zeros", "NaN", "too few", "float64"],
)
def test_a_broken_step_is_noticed(reply: Any) -> None:
    with pytest.raises(ServerError, match="see the server's log"):
        checked_vectors(reply, 2, 512, "audio_tower")


def test_models_of_somebody_else() -> None:
    with pytest.raises(ServerError, match="not built by `claprt triton`: bundle is missing"):
        served_module.read_served(lambda name: {"parameters": {}, "max_batch_size": 1, "version": "1"}, "there")


def test_errors_have_built_in_parents() -> None:
    assert issubclass(ServerUnavailableError, ConnectionError)
    assert not issubclass(ArrayError, ServerError)


def test_a_region_that_is_in_use_is_forgotten_later() -> None:
    """A server that says so for a moment is told once more with the next request, so that it does not keep it for ever."""
    refused, told = ["first"], list[str]()

    def unregister(name: str) -> None:
        if refused:
            raise RuntimeError(f"{refused.pop()}: in use")
        told.append(name)

    regions = Regions(lambda *_: None, unregister)
    given_up = regions.take(100, 0)
    regions.give_up(given_up)
    assert told == []
    kept = regions.take(100, 0)
    assert told == [given_up.name]
    regions.give_back(kept)
    regions.end()
    assert told == [given_up.name, kept.name]
