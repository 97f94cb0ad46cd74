"""Requests to a Triton server over gRPC or HTTP, and what their failures mean.

tritonclient does the talking. Its exceptions differ with the protocol and the moment; here they become one of three: the
server refused (`ServerError`), it was lost and asking again may help (`LostError`), or it took too long.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from claprt.errors import MissingDependencyError, ServerError, ServerUnavailableError
from claprt.triton.address import Address
from claprt.triton.regions import Placed

Array = np.ndarray[Any, Any]
_TYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "bool": "BOOL", "object": "BYTES"}
_LARGEST = 2**31 - 1
_LOST = ("not healthy", "Stream removed", "Socket closed", "Connection reset", "shutting down", "not ready", "no available")
_BUSY = ("xceeds maximum queue size",)
_FORGOTTEN = "Unable to find shared memory region"


class LostError(Exception):
    """The server or a step of it was lost, or is too busy: the same request may be answered a moment later."""


class ForgottenError(LostError):
    """The server does not know a shared memory region any more, as after a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How a connection is protected."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Sent with every request, for authentication."""
    root_certificates: str | None = None
    """File of the authorities to trust, PEM; by default the system's."""
    private_key: str | None = None
    certificate_chain: str | None = None


class Transport(Protocol):
    """One way to speak to a server."""

    def infer(
        self, model: str, version: str, inputs: Mapping[str, Array | Placed], outputs: Mapping[str, Placed | None]
    ) -> dict[str, Array]:
        """One request; outputs that are placed come back in shared memory and not in the reply."""
        ...

    def config(self, model: str) -> dict[str, Any]:
        """The newest configuration of a model, and the `version` that it is served in."""
        ...

    def build(self, model: str) -> str:
        """Name of the build that a model is of; empty where it has none."""
        ...

    def register(self, name: str, key: str, size: int) -> None:
        """Tells the server of a shared memory region."""
        ...

    def unregister(self, name: str) -> None:
        """Lets the server forget it."""
        ...

    def close(self) -> None:
        """Ends the connections."""
        ...


def connect(address: Address, security: Security, timeout_s: float) -> Transport:
    """A transport to this address; nothing is sent yet.

    Raises:
        MissingDependencyError: tritonclient is not installed.
    """
    try:
        if address.protocol == "grpc":
            return GrpcTransport(address, security, timeout_s)
        return HttpTransport(address, security, timeout_s)
    except ImportError as error:
        raise MissingDependencyError("tritonclient is not installed: pip install 'claprt[triton]'.") from error


def grpc_options(address: Address, security: Security) -> dict[str, Any]:
    """Arguments of both of tritonclient's gRPC clients, the blocking and the asynchronous one."""
    channel = [(f"grpc.max_{way}_message_length", _LARGEST) for way in ("send", "receive")]
    channel += [(f"grpc.{kind}_reconnect_backoff_ms", ms) for kind, ms in (("initial", 100), ("min", 100), ("max", 1000))]
    return {
        "url": address.netloc,
        "ssl": address.tls,
        "root_certificates": security.root_certificates,
        "private_key": security.private_key,
        "certificate_chain": security.certificate_chain,
        "channel_args": channel,
    }


def requested(
    module: Any, inputs: Mapping[str, Array | Placed], outputs: Mapping[str, Placed | None]
) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs as tritonclient's module for a protocol has them."""
    asked: list[Any] = []
    for name, value in inputs.items():
        tensor = module.InferInput(name, list(value.shape), _TYPES[str(value.dtype)])
        if isinstance(value, Placed):
            tensor.set_shared_memory(value.region, value.size, value.offset)
        else:
            tensor.set_data_from_numpy(value)
        asked.append(tensor)
    wanted: list[Any] = []
    for name, place in outputs.items():
        output = module.InferRequestedOutput(name)
        if place is not None:
            output.set_shared_memory(place.region, place.size, place.offset)
        wanted.append(output)
    return asked, wanted


def failure(error: Exception, timeout_s: float) -> Exception:
    """What an exception of tritonclient means, as one of ours."""
    status, message = str(getattr(error, "status", lambda: "")()), str(getattr(error, "message", lambda: "")() or error)
    if "DEADLINE_EXCEEDED" in status or isinstance(error, TimeoutError) or "timed out" in message:
        return ServerUnavailableError(f"The server gave no answer within {timeout_s:g} s.")
    if _FORGOTTEN in message:
        return ForgottenError(message)
    of_connection = isinstance(error, OSError | EOFError) or type(error).__module__.startswith(
        ("geventhttpclient", "gevent.")
    )
    lost = of_connection or "UNAVAILABLE" in status or status == "503"
    if lost or any(sign in message for sign in (*_LOST, *_BUSY)):
        return LostError(message)
    return ServerError(message)


class GrpcTransport:
    """gRPC; one channel for all threads."""

    def __init__(self, address: Address, security: Security, timeout_s: float) -> None:
        from tritonclient import grpc

        self._grpc = grpc
        self._timeout_s = timeout_s
        self._headers = dict(security.headers) or None
        self._client = grpc.InferenceServerClient(**grpc_options(address, security))

    def infer(
        self, model: str, version: str, inputs: Mapping[str, Array | Placed], outputs: Mapping[str, Placed | None]
    ) -> dict[str, Array]:
        """One request."""
        asked, wanted = requested(self._grpc, inputs, outputs)
        options = {"model_version": version, "outputs": wanted, "headers": self._headers}
        result = self._call("infer", model, asked, **options)
        return {name: result.as_numpy(name) for name, place in outputs.items() if place is None}

    def config(self, model: str) -> dict[str, Any]:
        """The newest configuration of a model."""
        found = self._call("get_model_config", model, as_json=True, headers=self._headers)["config"]
        metadata = self._call("get_model_metadata", model, as_json=True, headers=self._headers)
        return {**found, "version": newest(metadata["versions"])}

    def build(self, model: str) -> str:
        """Name of the build that a model is of."""
        return build_of(self._call("get_model_config", model, as_json=True, headers=self._headers)["config"])

    def register(self, name: str, key: str, size: int) -> None:
        """Tells the server of a shared memory region."""
        self._call("register_system_shared_memory", name, key, size, headers=self._headers)

    def unregister(self, name: str) -> None:
        """Lets the server forget it."""
        self._call("unregister_system_shared_memory", name, headers=self._headers)

    def close(self) -> None:
        """Ends the channel."""
        self._client.close()

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._client, method)(*arguments, client_timeout=self._timeout_s, **options)
        except Exception as error:
            raise failure(error, self._timeout_s) from error


class HttpTransport:
    """HTTP with binary tensors; tritonclient's HTTP client is not for several threads, so each has its own."""

    def __init__(self, address: Address, security: Security, timeout_s: float) -> None:
        from tritonclient import http

        self._http = http
        self._timeout_s = timeout_s
        self._headers = dict(security.headers) or None
        self._options: dict[str, Any] = {"url": address.netloc, "ssl": address.tls, "connection_timeout": timeout_s}
        if address.tls:
            files = {"ca_certs": security.root_certificates, "keyfile": security.private_key}
            files["certfile"] = security.certificate_chain
            self._options["ssl_options"] = {name: file for name, file in files.items() if file is not None}
        self._of_thread = threading.local()

    def infer(
        self, model: str, version: str, inputs: Mapping[str, Array | Placed], outputs: Mapping[str, Placed | None]
    ) -> dict[str, Array]:
        """One request."""
        asked, wanted = requested(self._http, inputs, outputs)
        result = self._call("infer", model, asked, model_version=version, outputs=wanted, headers=self._headers)
        return {name: result.as_numpy(name) for name, place in outputs.items() if place is None}

    def config(self, model: str) -> dict[str, Any]:
        """The newest configuration of a model."""
        found = self._call("get_model_config", model, headers=self._headers)
        return {**found, "version": newest(self._call("get_model_metadata", model, headers=self._headers)["versions"])}

    def build(self, model: str) -> str:
        """Name of the build that a model is of."""
        return build_of(self._call("get_model_config", model, headers=self._headers))

    def register(self, name: str, key: str, size: int) -> None:
        """Tells the server of a shared memory region."""
        self._call("register_system_shared_memory", name, key, size, headers=self._headers)

    def unregister(self, name: str) -> None:
        """Lets the server forget it."""
        self._call("unregister_system_shared_memory", name, headers=self._headers)

    def close(self) -> None:
        """Ends this thread's connection; those of others end with their threads."""
        client = getattr(self._of_thread, "client", None)
        if client is not None:
            client.close()
            del self._of_thread.client

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        client = getattr(self._of_thread, "client", None)
        if client is None:
            client = self._http.InferenceServerClient(network_timeout=self._timeout_s, **self._options)
            self._of_thread.client = client
        try:
            return getattr(client, method)(*arguments, **options)
        except Exception as error:
            self.close()  # whatever is left on the connection belongs to the failed request
            raise failure(error, self._timeout_s) from error


def build_of(config: Mapping[str, Any]) -> str:
    """Name of the build, as it stands in a configuration's parameters; empty where there is none."""
    found: Mapping[str, str] = config.get("parameters", {}).get("build", {})
    return found.get("string_value", "")


def newest(versions: Sequence[str]) -> str:
    """The largest of version numbers.

    Example:
        >>> newest(["2", "10"])
        '10'
    """
    return max(versions, key=int)
