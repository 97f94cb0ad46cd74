"""The endpoints under `/v2`. Errors are `{"error": MESSAGE}`, as the protocol has them.

Requests that are refused before they come here (`claprt.serve.middleware`) have the service's own form of errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from claprt.serve import access
from claprt.serve.errors import ShapeError, retry_after, status_of, to_client_error
from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.http.request_bodies import JSON, check_media_type, json_response, while_connected
from claprt.serve.kserve.models import MODEL_VERSION, Inputs, Model, find_model, served_models, server_metadata
from claprt.serve.kserve.tensors import LENGTH_HEADER, InferRequest, check_outputs, decode_request, encode_response
from claprt.serve.scheduling.models import Models
from claprt.serve.scheduling.service import Service

_BINARY = "application/octet-stream"
_ENTRIES = 64
"""Strings of a request besides the elements of its tensors: names, types, parameters."""

Handler = Callable[[Any, Request], Awaitable[Response]]


def _with_errors(handler: Handler) -> Handler:
    """Reply errors as the protocol has them."""

    @wraps(handler)
    async def handled(self: Any, request: Request) -> Response:
        try:
            return await handler(self, request)
        except ClientDisconnect:
            raise
        except Exception as cause:  # noqa: BLE001 - a fault has the form of all errors
            error = to_client_error(cause)
            status = status_of(error)
            return JSONResponse({"error": str(error)}, status, retry_after(status))

    return handled


class KServeApi:
    """Handlers of the endpoints; their docstrings are in the OpenAPI document."""

    def __init__(self, models: Models) -> None:
        self._models, self._served = models, served_models(models)

    def endpoints(self) -> list[HttpEndpoint]:
        """All endpoints; those of a model with its version too."""
        endpoints = [
            HttpEndpoint("GET", "/v2", self.server),
            HttpEndpoint("GET", "/v2/health/live", self.live),
            HttpEndpoint("GET", "/v2/health/ready", self.ready, errors={503: "not ready"}),
            HttpEndpoint("POST", "/v2/repository/index", self.index),
        ]
        for model, is_documented in (("/v2/models/{name}", True), ("/v2/models/{name}/versions/{version}", False)):
            endpoints += [
                HttpEndpoint("GET", model, self.model_metadata, is_documented=is_documented),
                HttpEndpoint("GET", f"{model}/ready", self.model_ready, is_documented=is_documented),
                HttpEndpoint("POST", f"{model}/infer", self.infer, is_documented=is_documented),
            ]
        return endpoints

    async def server(self, _: Request) -> Response:
        """Name, version and extensions of the server."""
        return json_response(server_metadata())

    async def live(self, _: Request) -> Response:
        """Whether the process answers."""
        return json_response({"live": True})

    async def ready(self, _: Request) -> Response:
        """Whether every model is ready."""
        is_ready = not any((await self._models.ready()).values())
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def index(self, _: Request) -> Response:
        """The models, as Triton's index of its repository lists them."""
        reasons = await self._models.ready()
        by_service = dict(zip(self._models.services.values(), reasons.values(), strict=True))
        return json_response(
            [
                {
                    "name": name,
                    "version": MODEL_VERSION,
                    "state": "UNAVAILABLE" if by_service[service] else "READY",
                    "reason": by_service[service] or "",
                }
                for name, (service, _) in self._served.items()
            ]
        )

    @_with_errors
    async def model_metadata(self, request: Request) -> Response:
        """Tensors of a model: clap_text, clap_audio_file or clap_classify."""
        request.state.endpoint = "/v2/models/{name}"
        service, model = self._find(request)
        return json_response(model.metadata(service.clap.dim))

    @_with_errors
    async def model_ready(self, request: Request) -> Response:
        """Whether a model is ready."""
        request.state.endpoint = "/v2/models/{name}/ready"
        service, model = self._find(request)
        reason = await service.ready()
        return JSONResponse({"name": model.name, "ready": reason is None}, 200 if reason is None else 503)

    @_with_errors
    async def infer(self, request: Request) -> Response:
        """Run a model on tensors, in JSON or with the binary extension."""
        request.state.endpoint = "/v2/models/{name}/infer"
        service, model = self._find(request)
        limits = service.limits
        check_media_type(request, JSON, _BINARY)
        json_bytes = _length(request.headers.get(LENGTH_HEADER))
        body = await request.body()
        most = limits.texts + limits.sounds + _ENTRIES

        def decoded() -> tuple[InferRequest, Inputs]:
            given, inputs = decode_request(body, json_bytes, most, model.texts)
            model.check(inputs, {tensor.name: tensor.datatype for tensor in given.inputs})
            check_outputs(given, [name for name, _ in model.outputs])
            return given, inputs

        async def work() -> Response:
            given, inputs = await service.threads.run(decoded)
            outputs = await model.infer(service, inputs)
            names = {"model_name": model.name, "model_version": MODEL_VERSION}
            parts, head = await service.threads.run(lambda: encode_response(given, names, outputs))
            if head is None:
                return Response(parts[0], media_type=JSON)
            return Response(b"".join(parts), media_type=_BINARY, headers={LENGTH_HEADER: str(head)})

        with service.admit(len(body)):
            return await while_connected(request, work())

    def _find(self, request: Request) -> tuple[Service, Model]:
        """The model of a request's path, and the service that runs it.

        Raises:
            NotFoundError: If there is no such model.
        """
        service, model = find_model(self._served, request.path_params["name"], request.path_params.get("version"))
        access.note_model(service.label)
        return service, model


def _length(stated: str | None) -> int | None:
    """The number of bytes that are JSON, as the header states it.

    Raises:
        ShapeError: If it is no number.
    """
    if stated is None:
        return None
    if not (stated.isascii() and stated.isdigit() and len(stated) < 12):
        raise ShapeError(f"{LENGTH_HEADER} is {stated[:20]!r}; a number of bytes was expected.")
    return int(stated)
