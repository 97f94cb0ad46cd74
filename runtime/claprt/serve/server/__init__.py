"""The server process: sockets, signals, shutdown, and limits on connections.

    run                  `serve`: the application on uvicorn
    workers              several processes that do so behind one port
    signals              what SIGTERM and SIGINT do
    uvicorn_protocols    uvicorn's protocols with timeouts for each phase
    uvicorn_server       uvicorn's server, which checks these and answers what was accepted before it ends

`claprt serve` runs it.
"""

from claprt.serve.server.run import Bounds, is_private, listen, serve, urls

__all__ = ["Bounds", "is_private", "listen", "serve", "urls"]
