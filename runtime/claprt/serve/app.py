"""The ASGI application: WebSockets, HTTP and the page around one service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from claprt import __version__
from claprt.errors import ClaprtError
from claprt.model.clap import Clap
from claprt.serve.errors import explained, refusal, refusal_of
from claprt.serve.http.page import add_page
from claprt.serve.http.routes import add_endpoints
from claprt.serve.limits import Limits
from claprt.serve.middleware import Gate
from claprt.serve.origins import Origins
from claprt.serve.projection import Projector
from claprt.serve.scheduling.service import Service
from claprt.serve.websocket.endpoint import Endpoint, Talk
from claprt.serve.websocket.kromosynth import DEFAULT_RATE, Kromosynth, check_default_rate

_DESCRIPTION = """\
CLAP embeddings of sounds and texts, classification, tags and behaviour descriptors. On the same port, WebSockets: `/clap`
(kromosynth's protocol, also at every path that is not another endpoint's), `/clap-bd` (the same, with a behaviour
descriptor) and `/project`.
"""


def create_app(
    clap: Clap,
    *,
    limits: Limits | None = None,
    sample_rate: int = DEFAULT_RATE,
    token: str | None = None,
    cors: Sequence[str] = (),
) -> FastAPI:
    """Create the ASGI application around a loaded model.

    Its `state.service` is the `Service`. Call `await app.state.service.drain()` before the server closes connections, so
    that accepted requests are answered.

    Args:
        clap: The model; load it with `preprocess="kromosynth"` to replace kromosynth's service.
        limits: Limits on requests.
        sample_rate: Rate of binary messages at `/clap` and `/clap-bd`, in Hz.
        token: Bearer token that every request needs, except those for health and for the page.
        cors: Origins whose pages may use the service from a browser, such as `https://example.org`; none by default.

    Raises:
        OptionError: If `sample_rate` is outside the supported range.
    """
    check_default_rate(sample_rate)
    service = Service(clap, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await service.start()
        yield
        await service.drain()
        await service.end()

    app = FastAPI(
        title="claprt", version=__version__, description=_DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.service = service
    clap_at_any = Endpoint(service, token, "/clap", lambda socket: Kromosynth(service, socket, sample_rate))
    others: dict[str, Callable[[WebSocket], Talk]] = {
        "/clap-bd": lambda socket: Kromosynth(service, socket, sample_rate, describes=True),
        "/project": lambda _: Projector(service),
    }
    for path, talk in others.items():
        endpoint = Endpoint(service, token, path, talk)
        for spelt in (path, f"{path}/"):
            app.router.routes.append(WebSocketRoute(spelt, endpoint.connection))
    # kromosynth's service ignores the path, and its search asks at `/` whether the service is there
    app.router.routes.append(WebSocketRoute("/{path:path}", clap_at_any.connection))
    for path in ("/clap", "/clap-bd"):
        app.add_api_route(path, _upgrade_required, methods=["GET", "POST"], include_in_schema=False)
    add_endpoints(app, service)
    public = add_page(app, service, token=token is not None)
    _explain(app)
    paths = frozenset(path for route in app.routes if (path := getattr(route, "path", None)) is not None)
    app.add_middleware(Origins, named=tuple(cors))
    app.add_middleware(Gate, service=service, token=token, paths=paths, public=public)
    if cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return app


async def _upgrade_required(request: Request) -> JSONResponse:
    path = request.url.path
    return refusal(
        426,
        f"{path} is a WebSocket: connect to ws://HOST:PORT{path}. Over HTTP, POST /v1/embeddings gives vectors of sounds.",
        headers={"upgrade": "websocket", "connection": "upgrade"},
    )


def _explain(app: FastAPI) -> None:
    """Errors as JSON with our sentences and without tracebacks."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        return refusal_of(explained(error))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        headers, path = dict(error.headers or {}), request.url.path[:200]
        said = {
            404: f"There is no {path}; /docs shows what there is.",
            405: f"{path} is asked with {headers.get('allow', 'another method')}, not with {request.method}.",
        }
        return refusal(error.status_code, said.get(error.status_code, str(error.detail)), headers=headers)

    app.add_exception_handler(ClaprtError, ours)
    app.add_exception_handler(HTTPException, http)
