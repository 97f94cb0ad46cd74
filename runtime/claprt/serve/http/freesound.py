"""`GET /encode_text/`, the interface of Freesound's text encoder (`textencoder/server.py` of MTG/freesound).

`?input=TEXT&model=laion_clap` to `{"error": false, "result": {"embeddings": {"laion_clap": […]}}}`. Where the original
fails or leaves `embeddings` empty, this service replies `{"error": true, "result": MESSAGE}`, which Freesound's client
raises.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from claprt.errors import ClaprtError
from claprt.serve.errors import NotFoundError, retry_after, status_of
from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.http.request_bodies import json_response, while_connected
from claprt.serve.scheduling.models import Models
from claprt.serve.scheduling.service import Service

MODEL = "laion_clap"
"""Freesound's name for CLAP."""
_QUERY = {"input": "the text", "model": f"the name of a model; `{MODEL}`, where none has this name, is the default one"}


class FreesoundApi:
    """The handler of the endpoint; its docstring is in the OpenAPI document."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def endpoints(self) -> list[HttpEndpoint]:
        """The endpoint."""
        return [
            HttpEndpoint("GET", "/encode_text/", self.encode_text, query=_QUERY),
            HttpEndpoint("GET", "/encode_text", self.encode_text, is_documented=False),
        ]

    async def encode_text(self, request: Request) -> Response:
        """The vector of a text, in the format of Freesound's text encoder."""
        text, model = request.query_params.get("input", ""), request.query_params.get("model", MODEL)
        try:
            service = self._chosen(model)
            with service.admit(len(text)):
                (row,) = await while_connected(request, service.embed_texts([text]))
        except ClaprtError as error:
            return _refused(status_of(error), str(error))
        return json_response({"error": False, "result": {"embeddings": {model: row.tolist()}}})

    def _chosen(self, model: str) -> Service:
        """The service of a model.

        Raises:
            NotFoundError: If there is none of this name.
        """
        if model == MODEL:
            return self._models.services.get(MODEL, self._models.default)
        if self._models.are_named and model:
            return self._models.choose(model)
        raise NotFoundError(f"There is no model {model[:100]!r} here; there is {MODEL!r}.")


def _refused(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": True, "result": message}, status, retry_after(status))
