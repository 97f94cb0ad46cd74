"""The server process: sockets, signals, shutdown, and the bounds of connections."""

from claprt.serve.server.run import Bounds, Service, is_private, listen, serve, urls

__all__ = ["Bounds", "Service", "is_private", "listen", "serve", "urls"]
