"""What a service says when it does not answer, and with which status.

Sentences are those of our own errors. Whatever else is raised is a fault of the service: its traceback goes to the log, and
clients are told that there is one.
"""

from __future__ import annotations

import logging

from starlette.responses import JSONResponse

from claprt.errors import ClaprtError, ProviderError, ServerUnavailableError

log = logging.getLogger("claprt.serve")

FAULT = "The service failed on this request; its log says how."


class OverloadedError(ClaprtError):
    """More requests wait than the service accepts; the same one may be answered a moment later."""


class ShuttingDownError(ClaprtError):
    """The service ends and accepts nothing new."""

    def __init__(self) -> None:
        super().__init__("The service is shutting down. Ask another one, or this one when it is back.")


class ServiceFault(ClaprtError):  # noqa: N818 - not the client's error
    """The service failed; the traceback is in its log."""

    def __init__(self) -> None:
        super().__init__(FAULT)


class MediaTypeError(ClaprtError, ValueError):
    """A request body is of a type that the endpoint does not take."""


class ShapeError(ClaprtError, ValueError):
    """A request is no JSON or no form of the shape that the endpoint takes."""


def explained(error: BaseException) -> ClaprtError:
    """The error itself if it is ours; any other is logged, and stands for a fault of the service from here on."""
    if isinstance(error, ClaprtError):
        return error
    log.error("a request failed", exc_info=error)
    return ServiceFault()


def status_of(error: ClaprtError) -> int:
    """The HTTP status that goes with an error.

    Example:
        >>> status_of(OverloadedError("…")), status_of(ServiceFault()), status_of(ClaprtError("…"))
        (503, 500, 400)
    """
    if isinstance(error, OverloadedError | ShuttingDownError | ServerUnavailableError):
        return 503
    if isinstance(error, MediaTypeError):
        return 415
    if isinstance(error, ShapeError):
        return 422
    return 500 if isinstance(error, ServiceFault | ProviderError) else 400


def refusal(
    status: int, message: str, kind: str = "InvalidRequestError", headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error in OpenAI's shape, as infinity gives it."""
    content = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    if status == 503:
        headers = {"retry-after": "1", **(headers or {})}
    return JSONResponse(content, status, headers)


def refusal_of(error: ClaprtError) -> JSONResponse:
    """The reply to a request that ended in this error."""
    return refusal(status_of(error), str(error), type(error).__name__)
