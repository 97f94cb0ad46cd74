"""The ASGI application: HTTP, WebSockets and the page around one model, or several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from claprt._version import __version__
from claprt.bundle.graphs import Stage
from claprt.errors import ClaprtError, OptionError
from claprt.model.clap import Clap
from claprt.serve.errors import error_response, response_to, to_client_error
from claprt.serve.http.openapi import openapi_document
from claprt.serve.http.page import model_page_routes, page_routes
from claprt.serve.limits import Limits
from claprt.serve.metrics import Metrics
from claprt.serve.middleware import RequestGuard
from claprt.serve.origins import Origins
from claprt.serve.request_ids import HEADER
from claprt.serve.routes import endpoints_of, prefix_routes, socket_routes
from claprt.serve.scheduling.idle import IdleUnload
from claprt.serve.scheduling.models import Models
from claprt.serve.websocket.kromosynth import DEFAULT_RATE, check_default_rate

if TYPE_CHECKING:
    from claprt.serve.library.interface import SearchableLibrary

_DESCRIPTION = """\
CLAP embeddings of audio and texts, classification, tags, timelines and behaviour descriptors. On the same port, WebSockets:
`/clap` (kromosynth's protocol, also at every path without an endpoint of its own), `/clap-bd` (the same, with a behaviour
descriptor), `/project` and `/stream` (sound as it arrives, to windows and events).
"""


def create_app(
    clap: Clap | Mapping[str, Clap],
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
    """Create the ASGI application around a loaded model, or several.

    Its `state.service` is the `Service` of the default model. Call `await app.state.service.drain()` before the server
    closes connections, so that accepted requests are answered, those for other models too.

    Args:
        clap: The model; load it with `preprocess="kromosynth"` to replace kromosynth's service. Or models by their names,
            the default one first: each is under `/models/NAME` too, and a field `model` of requests names one.
        limits: Limits on requests, of all models together.
        sample_rate: Rate of binary messages at `/clap` and `/clap-bd`, in Hz.
        token: Bearer token that every request needs, except those for health and for the page.
        cors: Origins whose pages may use the service from a browser, such as `https://example.org`; none by default.
        library: A library of sounds to search: `claprt.serve.library.adapter.ServedLibrary` of an opened one. Its searches
            are computed by the model that has its vectors.
        allow_audio: Whether the sounds of the library may be played.
        only: The one tower that is loaded and served; both by default. Load the model with `lazy=True` for texts only.
        idle_unload_s: Seconds without a request after which a model's towers are unloaded, until the next one; never by
            default.

    Raises:
        OptionError: If there is no model, or a name is not possible; `sample_rate` is outside the supported range;
            `allow_audio` is set without a library; or `idle_unload_s` is not possible.
        FingerprintError: If the vectors of the library are not those of a model.
    """
    check_default_rate(sample_rate)
    if library is None and allow_audio:
        raise OptionError("allow_audio=True is about the sounds of a library, and there is none; name one (library=).")
    models = Models.of(clap, limits or Limits(), (Stage.AUDIO, Stage.TEXT) if only is None else (Stage(only),))
    services = models.services.values()
    idle = [] if idle_unload_s is None else [IdleUnload(service, idle_unload_s) for service in services]
    endpoints, library_pages, close_library, searching = endpoints_of(models), list[Route](), None, None
    if library is not None:
        from claprt.serve.library.page import library_page_routes
        from claprt.serve.library.routes import LibraryApi
        from claprt.serve.library.search import LibraryService

        fitting = (service for service in services if service.clap.fingerprint == library.fingerprint)
        searching = next(fitting, models.default)
        searched = LibraryService(searching, library, allow_audio=allow_audio)
        endpoints += LibraryApi(searched, is_open=bool(cors)).endpoints()
        library_pages, close_library = library_page_routes(), searched.close

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await models.start()
        beside = [asyncio.create_task(one.run()) for one in idle]
        if models.shared.metrics.is_shared:
            beside.append(asyncio.create_task(_refresh(models.shared.metrics)))
        yield
        for task in beside:
            task.cancel()
        await models.shared.drain()
        if close_library is not None:
            await asyncio.to_thread(close_library)
        await models.end()

    description = _DESCRIPTION + (_several(models) if models.are_named else "")
    document = openapi_document(endpoints, "claprt", __version__, description, _prefixes(models))

    async def openapi(_: Request) -> Response:
        return JSONResponse(document)

    facts = model_page_routes(models, models, token=token is not None, library=searching)
    page = [*facts, *page_routes(document), *library_pages]
    routes = [
        *socket_routes(models, token, sample_rate),
        *(endpoint.route() for endpoint in endpoints),
        Route("/openapi.json", openapi),
        *page,
    ]
    paths = frozenset(route.path for route in routes)
    public = frozenset(route.path for route in page)
    middleware = [
        Middleware(RequestGuard, models=models, token=token, paths=paths, public=public),
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
    prefixed = prefix_routes(models, token, sample_rate, searching)
    app = Starlette(routes=[*prefixed, *routes], middleware=middleware, exception_handlers=handlers, lifespan=lifespan)
    app.state.models, app.state.service = models, models.default
    return app


async def _refresh(metrics: Metrics) -> None:
    """Compute the gauges of this worker process every second."""
    while True:
        metrics.refresh()
        await asyncio.sleep(1)


def _prefixes(models: Models) -> dict[str, str]:
    """Where the endpoints of models are, and of which; empty where models have no names."""
    if not models.are_named:
        return {}
    each = {models.only(name).prefix: name for name in models.services}
    return {"/": f"{models.default.name}, the default model", **each}


def _several(models: Models) -> str:
    """What the API reference says of several models."""
    names = ", ".join(f"`{name}`" for name in models.services)
    return (
        f"Models: {names}; the first one is the default. All endpoints and WebSockets of a model are under `/models/NAME` "
        "too, and a field `model` names one.\n"
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
