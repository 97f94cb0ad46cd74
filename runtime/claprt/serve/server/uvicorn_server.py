"""uvicorn's server, with the time limits of `uvicorn_protocols` and a shutdown that answers what was accepted.

It uses the hooks of `uvicorn.Server`, whose versions are bounded as `uvicorn_protocols` says.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import cast

import uvicorn

from claprt.serve.server.uvicorn_protocols import TimedConnection

_LAST_S = 15.0  # after `shutdown_s`, for connections and the application's threads


class Server(uvicorn.Server):
    """uvicorn's server; checks the phases of its connections, and exits with status 0 when it is told to stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        backlog: int,
        limits_s: Mapping[str, float],
        shutdown_s: float,
        ready: Callable[[], None],
        drain: Callable[[float], Awaitable[None]],
    ) -> None:
        """Prepare the server.

        Args:
            config: Configuration of uvicorn.
            backlog: Connections that may wait to be accepted, whatever `config` says of those that are accepted at once.
            limits_s: Seconds that a connection may be in each phase.
            shutdown_s: Seconds for `drain`.
            ready: Called once the server accepts connections.
            drain: Called at shutdown with `shutdown_s`; answers accepted requests.
        """
        super().__init__(config)
        self._backlog, self._limits_s, self._shutdown_s = backlog, limits_s, shutdown_s
        self._ready, self._drain = ready, drain
        logging.getLogger("uvicorn.error").addFilter(_is_worth_logging)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and call `ready`."""
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(self._backlog)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Check the connections, ten times a second."""
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            cast("TimedConnection", connection).check_timeout(now, self._limits_s)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer accepted requests, then close; exit the process if that takes too long."""
        guard = threading.Timer(self._shutdown_s + _LAST_S, os._exit, (1,))
        guard.daemon = True
        guard.start()
        await self._drain(self._shutdown_s)  # before uvicorn closes WebSockets, which it does without waiting for replies
        await super().shutdown(sockets)
        guard.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as `signal` calls it
        """Shut down at the first signal, exit at the second. uvicorn's own method raises the signal again at the end."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Whether a log record of uvicorn concerns the service.

    There are tracebacks for a client that sends invalid UTF-8, and for one that does not read at shutdown.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], UnicodeDecodeError | asyncio.CancelledError)
