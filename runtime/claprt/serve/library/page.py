"""The page at `/library`, whose files are in `static`; it uses some of the page's at `/`."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from claprt.serve.http.page import HEADERS, TYPES

PATH = "/library"
# the sounds of the service itself, besides those that the page holds
_HEADERS = {
    **HEADERS,
    "content-security-policy": HEADERS["content-security-policy"].replace("media-src blob:", "media-src 'self' blob:"),
}


def library_page_routes() -> list[Route]:
    """Routes of the page, which need no token."""
    folder = files("claprt.serve.library").joinpath("static")
    content = {
        f"{PATH}/page/{file.name}": file.read_bytes() for file in folder.iterdir() if file.name.endswith(tuple(TYPES))
    }
    content[PATH] = content.pop(f"{PATH}/page/library.html")

    async def serve_file(request: Request) -> Response:
        path = request.url.path
        suffix = path[path.rfind(".") :] if "." in path else ".html"
        return Response(content[path], media_type=TYPES[suffix], headers=_HEADERS)

    return [Route(path, serve_file) for path in content]
