"""The page at `/library`, whose files are in `static`; it uses some of the page's at `/`."""

from __future__ import annotations

from starlette.routing import Route

from claprt.serve.http.page import HEADERS, file_routes, static_files

PATH = "/library"
# the sounds of the service itself, besides those that the page holds
_HEADERS = {
    **HEADERS,
    "content-security-policy": HEADERS["content-security-policy"].replace("media-src blob:", "media-src 'self' blob:"),
}


def library_page_routes() -> list[Route]:
    """Routes of the page, which need no token."""
    content = static_files("claprt.serve.library", f"{PATH}/page")
    content[PATH] = content.pop(f"{PATH}/page/library.html")
    return file_routes(content, _HEADERS)
