"""Requests to a Triton server over gRPC or HTTP; tritonclient does the talking."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from claprt.arrays import Array
from claprt.bundle.address import Address
from claprt.engines.triton.errors import failure
from claprt.engines.triton.shared_memory import Placed
from claprt.errors import MissingDependencyError, OptionError, ServerUnavailableError
from claprt.system.extras import install_hint

_TYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "bool": "BOOL", "object": "BYTES"}
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Headers and certificates of a connection."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Sent with every request, for authentication."""
    root_certificates: str | None = None
    """PEM file of the authorities to trust; by default the system's."""
    private_key: str | None = None
    """PEM file of the client's key, together with `certificate_chain`."""
    certificate_chain: str | None = None
    """PEM file of the client's certificate."""

    def __post_init__(self) -> None:
        for name in ("root_certificates", "private_key", "certificate_chain"):
            file = getattr(self, name)
            if file is not None and not Path(file).is_file():
                raise OptionError(f"{name} is to be a PEM file, and there is none at {file}.")
        if (self.private_key is None) != (self.certificate_chain is None):
            raise OptionError("private_key and certificate_chain belong together: give both, or neither.")

    @property
    def metadata(self) -> dict[str, str] | None:
        """The headers for gRPC, with names in lower case, or None."""
        return {name.lower(): value for name, value in self.headers.items()} or None


class Transport(ABC):
    """One way to speak to a server, through tritonclient's module for a protocol."""

    _module: Any
    _headers: dict[str, str] | None

    def infer(
        self, model: str, version: str, inputs: Mapping[str, Array | Placed], outputs: Mapping[str, Placed | None]
    ) -> dict[str, Array]:
        """Send one request.

        Args:
            model: Name of the model.
            version: Of the model, empty for the latest.
            inputs: Name to array [...], or to its place in shared memory.
            outputs: Name to a place in shared memory, or None for an array in the reply.

        Returns:
            The arrays [...] of the reply by name; those in shared memory are left out.
        """
        asked, wanted = requested(self._module, inputs, outputs)
        result = self._call("infer", model, asked, model_version=version, outputs=wanted, headers=self._headers)
        return {name: result.as_numpy(name) for name, place in outputs.items() if place is None}

    def config(self, model: str) -> dict[str, Any]:
        """The newest configuration of a model, and the `version` that it is served in."""
        return {**self._config(model), "version": newest(self._metadata(model)["versions"])}

    def build(self, model: str) -> str:
        """Name of the build that a model is of; empty where it has none."""
        return build_of(self._config(model))

    def register(self, name: str, key: str, size: int) -> None:
        """Register a shared memory region with the server."""
        self._call("register_system_shared_memory", name, key, size, headers=self._headers)

    def unregister(self, name: str) -> None:
        """Remove a shared memory region from the server."""
        self._call("unregister_system_shared_memory", name, headers=self._headers)

    @abstractmethod
    def forget_after_fork(self) -> None:
        """Leave the connections to the parent, in the child of a fork, which makes a transport of its own."""

    @abstractmethod
    def close(self) -> None:
        """End the connections."""

    @abstractmethod
    def _config(self, model: str) -> dict[str, Any]:
        """Configuration of a model as JSON."""

    @abstractmethod
    def _metadata(self, model: str) -> dict[str, Any]:
        """Metadata of a model as JSON."""

    @abstractmethod
    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of tritonclient's client."""


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
        raise MissingDependencyError(f"tritonclient is not installed: {install_hint('triton')}.") from error


def grpc_options(address: Address, security: Security) -> dict[str, Any]:
    """Arguments of both of tritonclient's gRPC clients, the blocking and the asynchronous one."""
    channel = [(f"grpc.max_{way}_message_length", _LARGEST) for way in ("send", "receive")]
    channel += [(f"grpc.{kind}_reconnect_backoff_ms", ms) for kind, ms in (("initial", 100), ("min", 100), ("max", 1000))]
    channel += [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own, not the one of a process that forked
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
    """Inputs (arrays [...] or places in shared memory) and outputs as objects of tritonclient's module for a protocol."""
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


class GrpcTransport(Transport):
    """gRPC; one channel for all threads."""

    _broken: ClassVar[bool] = False
    """Whether this process was forked while its parent was in the middle of a request, which gRPC does not survive."""

    def __init__(self, address: Address, security: Security, timeout_s: float) -> None:
        from tritonclient import grpc

        self._module = grpc
        self._timeout_s = timeout_s
        self._headers = security.metadata
        self._options = grpc_options(address, security)
        self._opening = threading.Lock()
        self._client: Any = None
        self._under_way = 0

    def forget_after_fork(self) -> None:
        """Leave the channel to the parent; gRPC's own handlers make it ready for another one, if it was idle."""
        GrpcTransport._broken |= self._under_way > 0

    def close(self) -> None:
        """End the channel."""
        with self._opening:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _config(self, model: str) -> dict[str, Any]:
        return self._call("get_model_config", model, as_json=True, headers=self._headers)["config"]

    def _metadata(self, model: str) -> dict[str, Any]:
        return self._call("get_model_metadata", model, as_json=True, headers=self._headers)

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        if GrpcTransport._broken:
            raise ServerUnavailableError(
                "This process was forked while another thread waited for the server over gRPC, which cannot be used here "
                "any more. Fork before or between requests, start processes by spawn, or use triton+http://."
            )
        with self._opening:
            if self._client is None:
                self._client = self._module.InferenceServerClient(**self._options)
            client = self._client
            self._under_way += 1
        try:
            return getattr(client, method)(*arguments, client_timeout=self._timeout_s, **options)
        except Exception as error:
            raise failure(error, self._timeout_s, method) from error
        finally:
            with self._opening:
                self._under_way -= 1


class HttpTransport(Transport):
    """HTTP with binary tensors; tritonclient's HTTP client is not for several threads, so each has its own."""

    def __init__(self, address: Address, security: Security, timeout_s: float) -> None:
        from tritonclient import http

        self._module = http
        self._timeout_s = timeout_s
        self._headers = dict(security.headers) or None
        self._options: dict[str, Any] = {"url": address.netloc, "ssl": address.tls, "connection_timeout": timeout_s}
        if address.tls:
            files = {"ca_certs": security.root_certificates, "keyfile": security.private_key}
            files["certfile"] = security.certificate_chain
            self._options["ssl_options"] = {name: file for name, file in files.items() if file is not None}
        self._of_thread = threading.local()

    def forget_after_fork(self) -> None:
        """Leave the connections to the parent; gevent, which they run on, would wait for ever without being told."""
        import gevent

        gevent.reinit()

    def close(self) -> None:
        """End this thread's connection; those of others end with their threads."""
        client = getattr(self._of_thread, "client", None)
        if client is not None:
            client.close()
            del self._of_thread.client

    def _config(self, model: str) -> dict[str, Any]:
        return self._call("get_model_config", model, headers=self._headers)

    def _metadata(self, model: str) -> dict[str, Any]:
        return self._call("get_model_metadata", model, headers=self._headers)

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        client = getattr(self._of_thread, "client", None)
        if client is None:
            client = self._module.InferenceServerClient(network_timeout=self._timeout_s, **self._options)
            self._of_thread.client = client
        try:
            return getattr(client, method)(*arguments, **options)
        except Exception as error:
            self.close()  # whatever is left on the connection belongs to the failed request
            raise failure(error, self._timeout_s, method) from error


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
