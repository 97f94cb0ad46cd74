"""The server process: sockets, signals, shutdown, and limits on connections."""

from claprt.serve.server.run import Bounds, is_private, listen, serve, urls

__all__ = ["Bounds", "is_private", "listen", "serve", "urls"]
