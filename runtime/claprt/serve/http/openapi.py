"""HTTP endpoints: their routes, and the OpenAPI document that describes them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, Literal, cast

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FILE = {"type": "string", "format": "binary", "description": "an audio file"}
_LABELS = {
    "type": "string",
    "description": "a JSON list, or words with commas or line breaks between them; or the field several times",
}
"""Labels in a form: the one string that they are sent as, which is split before the form is validated."""


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """One endpoint; the docstring of its handler is its description."""

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[[Request], Awaitable[Response]]
    json: type[Struct] | None = None
    """Shape of a body in JSON."""
    form: type[Struct] | None = None
    """Fields of a form, besides its file."""
    reply: type[Struct] | type[str] | type[bytes] | None = None
    """Shape of the reply; `str` for plain text, `bytes` for audio, None for any JSON."""
    is_list: bool = False
    """Whether the reply is a list of that shape."""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    """Parameters of the address and what they mean; all may be left out."""
    errors: Mapping[int, str] = field(default_factory=dict[int, str])
    """What error statuses mean, where they are specific to the endpoint."""
    is_documented: bool = True
    is_of_model: bool = True
    """Whether it is under the prefix of each model too, where models have names."""

    def route(self) -> Route:
        """The route of the endpoint."""
        return Route(self.path, self.handler, methods=[self.method])

    def operation(self, path: str) -> dict[str, Any]:
        """The OpenAPI operation of the endpoint."""
        name = cast("MethodType", self.handler).__name__
        operation: dict[str, Any] = {
            "summary": name.replace("_", " ").title(),
            "description": self.handler.__doc__,
            "operationId": re.sub(r"\W", "_", f"{name}{path}") + f"_{self.method.lower()}",
            "responses": {
                "200": {"description": "Successful Response", "content": self._reply()},
                **{str(status): {"description": meaning} for status, meaning in self.errors.items()},
            },
        }
        parameters: list[dict[str, Any]] = [
            *({"name": one, "in": "path", "required": True} for one in re.findall(r"\{(\w+)\}", path)),
            *({"name": one, "in": "query", "description": meaning} for one, meaning in self.query.items()),
        ]
        if parameters:
            operation["parameters"] = [{**one, "schema": {"type": "string"}} for one in parameters]
        if body := self._body():
            operation["requestBody"] = {"required": True, "content": body}
        return operation

    def _reply(self) -> dict[str, Any]:
        if self.reply is str:
            return {"text/plain": {"schema": {"type": "string"}}}
        if self.reply is bytes:
            return {"audio/*": {"schema": {"type": "string", "format": "binary"}}}
        schema = {} if self.reply is None else {"$ref": f"#/components/schemas/{self.reply.__name__}"}
        return {"application/json": {"schema": {"type": "array", "items": schema} if self.is_list else schema}}

    def _body(self) -> dict[str, Any]:
        content: dict[str, Any] = {}
        if self.json is not None:
            content["application/json"] = {"schema": _schema(self.json)}
        if self.form is not None:
            schema = _schema(self.form)
            labels = {name: _LABELS for name in schema["properties"] if name in ("labels", "tags")}
            schema["properties"] = {"file": _FILE, **schema["properties"], **labels}
            schema["required"] = ["file", *schema.get("required", [])]
            content["multipart/form-data"] = {"schema": schema}
        return content


def openapi_document(
    endpoints: Iterable[HttpEndpoint], title: str, version: str, description: str, prefixes: Mapping[str, str]
) -> dict[str, Any]:
    """Build the OpenAPI document.

    Args:
        endpoints: The endpoints; those that are not documented are left out.
        title: Name of the service.
        version: Version of the service.
        description: Of the whole.
        prefixes: Under which the endpoints of a model are, the root included, and what these are; may be empty.
    """
    paths: dict[str, dict[str, Any]] = {}
    replies: set[type[Struct]] = set()
    for endpoint in endpoints:
        if endpoint.is_documented:
            path = re.sub(r":\w+\}", "}", endpoint.path)
            item = paths.setdefault(path, {})
            item[endpoint.method.lower()] = endpoint.operation(path)
            if prefixes and not endpoint.is_of_model:
                item["servers"] = [{"url": "/"}]
            if endpoint.reply not in (None, str, bytes):
                replies.add(cast("type[Struct]", endpoint.reply))
    _, schemas = msgspec.json.schema_components(replies, ref_template="#/components/schemas/{name}")
    info = {"title": title, "version": version, "description": description}
    servers = [{"url": prefix, "description": meaning} for prefix, meaning in prefixes.items()]
    document = {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}
    return document | ({"servers": servers} if servers else {})


def _schema(shape: type[Struct]) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components((shape,))
    return schemas[shape.__name__]
