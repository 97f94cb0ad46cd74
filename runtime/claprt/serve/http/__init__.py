"""HTTP: the endpoints, their bodies, and the page."""

from claprt.serve.http.routes import add_endpoints

__all__ = ["add_endpoints"]
