"""The page at `/` and its files, read once and served with a strict content security policy."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from claprt.samples import sample_path
from claprt.serve.http.api_page import api_page
from claprt.serve.scheduling.models import Models
from claprt.serve.scheduling.service import Service

FACTS = "/page/facts"
API = "/docs"
EXAMPLE = "/page/dog.flac"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".flac": "audio/flac",
}
"""Media types of the pages' files by their suffix."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Of all files of the pages."""


def static_files(package: str, under: str) -> dict[str, bytes]:
    """The files in the folder `static` of a package, by their path on the server."""
    folder = files(package).joinpath("static")
    return {f"{under}/{file.name}": file.read_bytes() for file in folder.iterdir() if file.name.endswith(tuple(TYPES))}


def file_routes(content: Mapping[str, bytes], headers: Mapping[str, str]) -> list[Route]:
    """Routes of files that are kept in memory; a path without a suffix is a page."""

    def route(path: str, file: bytes) -> Route:
        suffix = path[path.rfind(".") :] if "." in path else ".html"

        async def serve_file(_: Request) -> Response:
            return Response(file, media_type=TYPES[suffix], headers=headers)

        return Route(path, serve_file)

    return [route(path, file) for path, file in content.items()]


def page_files() -> dict[str, bytes]:
    """Files of the page by their path on the server."""
    content = static_files("claprt.serve.http", "/page")
    content["/"] = content.pop("/page/index.html")
    content[EXAMPLE] = Path(sample_path("dog")).read_bytes()
    return content


def page_routes(document: Mapping[str, Any]) -> list[Route]:
    """Routes of the page, its files and the API reference, which need no token; `document` is the OpenAPI document."""
    api = api_page(document)

    async def docs(_: Request) -> Response:
        return Response(api, media_type=TYPES[".html"], headers=HEADERS)

    return [Route(API, docs), *file_routes(page_files(), HEADERS)]


def model_page_routes(models: Models, all_models: Models, *, token: bool, library: Service | None) -> list[Route]:
    """Routes of what the page needs to know of a model, and of the page under its prefix; neither needs a token.

    Args:
        models: The model, as its prefix or the root serves it.
        all_models: All models, between which the page chooses.
        token: Whether other requests need a token.
        library: The service of the model that searches a library, if there is one.
    """
    service = models.default

    async def facts(_: Request) -> Response:
        limits = {"bytes": service.limits.message_bytes, "texts": service.limits.texts, "windows": service.limits.windows}
        manifest = service.clap.manifest
        values = {
            **service.facts(),
            "token": token,
            "library": library is not None,
            "limits": limits,
            "window_s": manifest.audio.window_s,
            "trained_on": manifest.source.trained_on if manifest.source.trained_words else None,
            "example": EXAMPLE,
        }
        if all_models.are_named:
            values |= {"bundle": manifest.name, "models": list(all_models.services)}
            values |= {} if library is None else {"library_model": library.name}
        return JSONResponse(values, headers=HEADERS)

    page = file_routes({"/": page_files()["/"]}, HEADERS) if models.prefix else []
    return [Route(FACTS, facts), *page]
