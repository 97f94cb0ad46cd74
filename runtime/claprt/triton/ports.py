"""Where a Triton server of this machine listens."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from claprt.errors import ServerError

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the server listens, on 127.0.0.1."""

    http: int = HTTP_PORT
    grpc: int = GRPC_PORT
    metrics: int = METRICS_PORT

    @staticmethod
    def free() -> Ports:
        """Three ports that nothing listens on."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            http, grpc, metrics = (each.getsockname()[1] for each in sockets)
        return Ports(http=http, grpc=grpc, metrics=metrics)

    def check_free(self) -> None:
        """Refuses ports that somebody listens on, who would be taken for the server.

        Raises:
            ServerError: one of them is taken.
        """
        for port in (self.http, self.grpc, self.metrics):
            with socket.socket() as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what a server has left a moment ago is free
                try:
                    tried.bind(("127.0.0.1", port))
                except OSError as error:
                    message = f"Port {port} of 127.0.0.1 cannot be had: {error.strerror}. Choose another."
                    raise ServerError(message) from error
