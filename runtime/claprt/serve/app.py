"""The ASGI application: HTTP, WebSockets and the page around one service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from claprt._version import __version__
from claprt.bundle.graphs import Stage
from claprt.errors import ClaprtError, OptionError
from claprt.model.clap import Clap
from claprt.serve.errors import error_response, response_to, to_client_error
from claprt.serve.http.freesound import FreesoundApi
from claprt.serve.http.openapi import HttpEndpoint, openapi_document
from claprt.serve.http.page import page_routes
from claprt.serve.http.rank import RankApi
from claprt.serve.http.routes import HttpApi
from claprt.serve.http.space import SpaceApi
from claprt.serve.http.timeline import TimelineApi
from claprt.serve.kserve.routes import KServeApi
from claprt.serve.limits import Limits
from claprt.serve.metrics import Metrics
from claprt.serve.middleware import RequestGuard
from claprt.serve.origins import Origins
from claprt.serve.projection import Projector
from claprt.serve.request_ids import HEADER
from claprt.serve.scheduling.idle import IdleUnload
from claprt.serve.scheduling.service import Service
from claprt.serve.scheduling.shared import Shared
from claprt.serve.websocket.endpoint import Endpoint, MessageProtocol
from claprt.serve.websocket.kromosynth import DEFAULT_RATE, Kromosynth, check_default_rate
from claprt.serve.websocket.stream import StreamProtocol

if TYPE_CHECKING:
    from claprt.serve.library.interface import SearchableLibrary

_DESCRIPTION = """\
CLAP embeddings of audio and texts, classification, tags, timelines and behaviour descriptors. On the same port, WebSockets:
`/clap` (kromosynth's protocol, also at every path without an endpoint of its own), `/clap-bd` (the same, with a behaviour
descriptor), `/project` and `/stream` (sound as it arrives, to windows and events).
"""


def create_app(
    clap: Clap,
    *,
    limits: Limits | None = None,
    sample_rate: int = DEFAULT_RATE,
    token: str | None = None,
    cors: Sequence[str] = (),
    library: SearchableLibrary | None = None,
    allow_audio: bool = False,
    only: Literal["audio", "text"] | None = None,
    idle_unload_s: float | None = None,
) -> Starlette:
    """Create the ASGI application around a loaded model.

    Its `state.service` is the `Service`. Call `await app.state.service.drain()` before the server closes connections, so
    that accepted requests are answered.

    Args:
        clap: The model; load it with `preprocess="kromosynth"` to replace kromosynth's service.
        limits: Limits on requests.
        sample_rate: Rate of binary messages at `/clap` and `/clap-bd`, in Hz.
        token: Bearer token that every request needs, except those for health and for the page.
        cors: Origins whose pages may use the service from a browser, such as `https://example.org`; none by default.
        library: A library of sounds to search: `claprt.serve.library.adapter.ServedLibrary` of an opened one.
        allow_audio: Whether the sounds of the library may be played.
        only: The one tower that is loaded and served; both by default. Load the model with `lazy=True` for texts only.
        idle_unload_s: Seconds without a request after which the towers are unloaded, until the next one; never by default.

    Raises:
        OptionError: If `sample_rate` is outside the supported range, `allow_audio` is set without a library, or
            `idle_unload_s` is not possible.
        FingerprintError: If the vectors of the library are not the model's.
    """
    check_default_rate(sample_rate)
    if library is None and allow_audio:
        raise OptionError("allow_audio=True is about the sounds of a library, and there is none; name one (library=).")
    shared = Shared(limits or Limits())
    service = Service(clap, shared, (Stage.AUDIO, Stage.TEXT) if only is None else (Stage(only),))
    idle = None if idle_unload_s is None else IdleUnload(service, idle_unload_s)
    endpoints, library_pages, close_library = _endpoints(service), list[Route](), None
    if library is not None:
        from claprt.serve.library.page import library_page_routes
        from claprt.serve.library.routes import LibraryApi
        from claprt.serve.library.search import LibraryService

        searched = LibraryService(service, library, allow_audio=allow_audio)
        endpoints += LibraryApi(searched, is_open=bool(cors)).endpoints()
        library_pages, close_library = library_page_routes(), searched.close

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await service.start()
        beside = [] if idle is None else [asyncio.create_task(idle.run())]
        if service.metrics.is_shared:
            beside.append(asyncio.create_task(_refresh(service.metrics)))
        yield
        for task in beside:
            task.cancel()
        await service.drain()
        if close_library is not None:
            await asyncio.to_thread(close_library)
        await service.end()

    document = openapi_document(endpoints, "claprt", __version__, _DESCRIPTION)

    async def openapi(_: Request) -> Response:
        return JSONResponse(document)

    page = [*page_routes(service, document, token=token is not None, library=library is not None), *library_pages]
    routes = [
        *_websocket_routes(service, token, sample_rate),
        *(Route(path, _upgrade_required, methods=["GET", "POST"]) for path in ("/clap", "/clap-bd", "/stream")),
        *(endpoint.route() for endpoint in endpoints),
        Route("/openapi.json", openapi),
        *page,
    ]
    paths, public = frozenset(route.path for route in routes), frozenset(route.path for route in page)
    middleware = [
        Middleware(RequestGuard, service=service, token=token, paths=paths, public=public),
        Middleware(Origins, named=tuple(cors)),
    ]
    if cors:
        crossing = Middleware(
            CORSMiddleware,
            allow_origins=cors,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "traceparent", "tracestate", HEADER],
            expose_headers=[HEADER, "server-timing"],
        )
        middleware.insert(0, crossing)
    handlers = {ClaprtError: _claprt_error, HTTPException: _http_error}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=lifespan)
    app.state.service = service
    return app


async def _refresh(metrics: Metrics) -> None:
    """Compute the gauges of this worker process every second."""
    while True:
        metrics.refresh()
        await asyncio.sleep(1)


def _endpoints(service: Service) -> list[HttpEndpoint]:
    """The endpoints of HTTP that every service has."""
    apis = (
        HttpApi(service),
        SpaceApi(service),
        RankApi(service),
        TimelineApi(service),
        FreesoundApi(service),
        KServeApi(service),
    )
    return [endpoint for api in apis for endpoint in api.endpoints()]


def _websocket_routes(service: Service, token: str | None, sample_rate: int) -> list[WebSocketRoute]:
    protocols: dict[str, Callable[[WebSocket], MessageProtocol]] = {
        "/clap-bd": lambda socket: Kromosynth(service, socket, sample_rate, with_descriptor=True),
        "/project": lambda _: Projector(service),
        "/stream": lambda _: StreamProtocol(service),
        "/clap": lambda socket: Kromosynth(service, socket, sample_rate),
    }
    endpoints = {path: Endpoint(service, token, path, protocol) for path, protocol in protocols.items()}
    routes = [
        WebSocketRoute(spelling, endpoint.connection)
        for path, endpoint in endpoints.items()
        for spelling in (path, f"{path}/")
    ]
    # kromosynth's service ignores the path, and its search connects to `/` to find out whether the service is there
    return [*routes, WebSocketRoute("/{path:path}", endpoints["/clap"].connection)]


async def _upgrade_required(request: Request) -> JSONResponse:
    path = request.url.path
    return error_response(
        426,
        f"{path} is a WebSocket: connect to ws://HOST:PORT{path}. Over HTTP, POST /v1/embeddings embeds audio.",
        headers={"upgrade": "websocket", "connection": "upgrade"},
    )


async def _claprt_error(_: Request, error: Exception) -> JSONResponse:
    response = response_to(to_client_error(error))
    error.__traceback__ = None  # Starlette before 1.10 keeps it, and with its frames the request's body
    return response


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers, path = dict(error.headers or {}), request.url.path[:200]
    messages = {
        404: f"There is no {path}; /docs lists the endpoints.",
        405: f"{path} does not take {request.method}; the Allow header lists its methods.",
    }
    return error_response(error.status_code, messages.get(error.status_code, str(error.detail)), headers=headers)
