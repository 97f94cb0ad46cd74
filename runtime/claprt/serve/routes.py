"""Routes of the application: those of every model, at the root and under the prefix of each, and refusals of others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from claprt.serve import access
from claprt.serve.errors import error_response, response_to
from claprt.serve.http.freesound import FreesoundApi
from claprt.serve.http.health import HealthApi
from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.http.page import model_page_routes
from claprt.serve.http.rank import RankApi
from claprt.serve.http.routes import HttpApi
from claprt.serve.http.space import SpaceApi
from claprt.serve.http.timeline import TimelineApi
from claprt.serve.kserve.routes import KServeApi
from claprt.serve.middleware import is_authorized
from claprt.serve.projection import Projector
from claprt.serve.scheduling.models import PREFIX, Models
from claprt.serve.scheduling.service import Service
from claprt.serve.websocket.endpoint import Endpoint, MessageProtocol
from claprt.serve.websocket.kromosynth import Kromosynth
from claprt.serve.websocket.stream import StreamProtocol

_SOCKETS = ("/clap", "/clap-bd", "/stream")
"""WebSockets whose paths are no endpoint of HTTP."""


def endpoints_of(models: Models) -> list[HttpEndpoint]:
    """The endpoints of HTTP that every service has, at the root or under a prefix."""
    apis = (HealthApi, HttpApi, SpaceApi, RankApi, TimelineApi, FreesoundApi, KServeApi)
    return [endpoint for api in apis for endpoint in api(models).endpoints()]


def socket_routes(models: Models, token: str | None, sample_rate: int) -> list[Route | WebSocketRoute]:
    """WebSockets at the root or under a prefix, and their refusals over plain HTTP.

    Args:
        models: The models; WebSockets are of the default one.
        token: Bearer token that handshakes need, if any.
        sample_rate: Rate of binary messages that state none, in Hz.
    """
    service = models.default
    protocols: dict[str, Callable[[WebSocket], MessageProtocol]] = {
        "/clap-bd": lambda socket: Kromosynth(service, socket, sample_rate, with_descriptor=True),
        "/project": lambda _: Projector(service),
        "/stream": lambda _: StreamProtocol(service),
        "/clap": lambda socket: Kromosynth(service, socket, sample_rate),
    }
    endpoints = {path: Endpoint(service, token, path, protocol) for path, protocol in protocols.items()}
    return [
        *(
            WebSocketRoute(spelling, endpoint.connection)
            for path, endpoint in endpoints.items()
            for spelling in (path, f"{path}/")
        ),
        # kromosynth's service ignores the path, and its search connects to `/` to find out whether the service is there
        WebSocketRoute("/{path:path}", endpoints["/clap"].connection),
        *(Route(path, _upgrade_required, methods=["GET", "POST"]) for path in _SOCKETS),
    ]


def prefix_routes(models: Models, token: str | None, sample_rate: int, library: Service | None) -> list[BaseRoute]:
    """Everything of each model under its own prefix; names that no model has are refused there.

    Args:
        models: All models; there are no prefixes where they have no names.
        token: Bearer token that requests need, if any.
        sample_rate: Rate of binary messages that state none, in Hz.
        library: The service of the model that searches a library, if there is one.
    """
    if not models.are_named:
        return []
    routes = list[BaseRoute]()
    for one in map(models.only, models.services):
        inside = [
            *socket_routes(one, token, sample_rate),
            *(endpoint.route() for endpoint in endpoints_of(one)),
            *model_page_routes(one, models, token=token is not None, library=library),
        ]
        bare = next(route for route in inside if isinstance(route, WebSocketRoute) and route.path == "/clap")
        routes += [Mount(one.prefix, routes=inside), WebSocketRoute(one.prefix, bare.endpoint)]

    async def unknown(request: Request) -> JSONResponse:
        return response_to(models.unknown(request.path_params["name"]))

    async def unknown_socket(socket: WebSocket) -> None:
        error = models.unknown(socket.path_params["path"].partition("/")[0])
        if not is_authorized(socket.headers, token):
            models.shared.metrics.reject("token")
            access.request("WS", PREFIX, 403, 0.0)
            await socket.close(1008, "A bearer token is needed.")
            return
        models.shared.metrics.request("other", 404, 0.0, "")
        access.request("WS", socket.scope["path"], 404, 0.0)
        with contextlib.suppress(RuntimeError):  # the server sends no response in place of a handshake
            await socket.send_denial_response(response_to(error))
            return
        await socket.close(1008, str(error)[:120])

    return [
        *routes,
        Route(f"{PREFIX}/{{name}}/{{path:path}}", unknown, methods=["GET", "POST"]),
        WebSocketRoute(f"{PREFIX}/{{path:path}}", unknown_socket),  # an empty name too
    ]


async def _upgrade_required(request: Request) -> JSONResponse:
    path = request.url.path
    return error_response(
        426,
        f"{path} is a WebSocket: connect to ws://HOST:PORT{path}. Over HTTP, POST /v1/embeddings embeds audio.",
        headers={"upgrade": "websocket", "connection": "upgrade"},
    )
