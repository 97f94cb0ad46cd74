"""The page at `/` and what belongs to it: files of the package, read once, served with a strict content security policy."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from claprt.samples import sample_path
from claprt.serve.errors import refusal
from claprt.serve.http.api_page import api_page
from claprt.serve.scheduling.service import Service

FACTS = "/page/facts"
API = "/docs"
EXAMPLE = "/page/dog.flac"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".flac": "audio/flac",
}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def page_files() -> dict[str, bytes]:
    """The files of the page by their path on the server."""
    folder = files("claprt").joinpath("serve", "http", "static")
    found = {f"/page/{file.name}": file.read_bytes() for file in folder.iterdir() if file.name.endswith(tuple(_TYPES))}
    found["/"] = found.pop("/page/index.html")
    found[EXAMPLE] = Path(sample_path("dog")).read_bytes()
    return found


def add_page(app: FastAPI, service: Service, *, token: bool) -> frozenset[str]:
    """Adds the page; gives the paths that are served to everybody."""
    content = page_files()

    async def serve(request: Request) -> Response:
        path = request.url.path
        if path not in content:
            return refusal(404, f"There is no {path[:200]}.", "NotFoundError")
        suffix = path[path.rfind(".") :] if "." in path else ".html"
        return Response(content[path], media_type=_TYPES[suffix], headers=_HEADERS)

    async def facts(_: Request) -> Response:
        limits = {"bytes": service.limits.message_bytes, "texts": service.limits.texts, "windows": service.limits.windows}
        manifest = service.clap.manifest
        found = {
            **service.facts(),
            "token": token,
            "limits": limits,
            "window_s": manifest.audio.window_s,
            "trained_on": manifest.source.trained_on if manifest.source.trained_words else None,
            "example": EXAMPLE,
        }
        return JSONResponse(found, headers=_HEADERS)

    async def api(_: Request) -> Response:
        return Response(api_page(app), media_type=_TYPES[".html"], headers=_HEADERS)

    app.add_api_route(FACTS, facts, methods=["GET"], include_in_schema=False)
    app.add_api_route(API, api, methods=["GET"], include_in_schema=False)
    for path in content:
        app.add_api_route(path, serve, methods=["GET"], include_in_schema=False)
    return frozenset({FACTS, API, *content})
