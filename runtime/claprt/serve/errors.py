"""Error types of the service, their HTTP status codes, and their JSON.

Messages of claprt's own errors are sent to clients. Any other exception is a bug or a fault of the machine: its traceback
is logged, and clients get a `ServiceFault`. The names of the classes are the `type` of error replies.
"""

from __future__ import annotations

import logging
import traceback

from starlette.responses import JSONResponse

from claprt.errors import BundleError, ClaprtError, ProviderError, ServerUnavailableError
from claprt.serve.request_ids import current_id

log = logging.getLogger("claprt.serve")


class OverloadedError(ClaprtError):
    """More requests wait than the service accepts; the same request may succeed a moment later."""


class ShuttingDownError(ClaprtError):
    """The service is shutting down and accepts no new requests."""

    def __init__(self) -> None:
        super().__init__("The service is shutting down. Send the request to another one, or again later.")


class ServiceFault(ClaprtError):  # noqa: N818 - the name is sent to clients
    """The service failed; the traceback is in its log."""

    def __init__(self) -> None:
        super().__init__("The service failed on this request; its log says how.")


class HttpError(ClaprtError):
    """An error with an HTTP status of its own."""

    status = 400


class NotFoundError(HttpError):
    """The service has no model of this name."""

    status = 404


class OtherTowerError(HttpError):
    """The service has only the other tower. The status is one that clients do not try again, as they do 409 and 501."""

    status = 404


class ModelUnavailableError(ClaprtError):
    """A tower that was unloaded cannot be loaded again."""

    def __init__(self, cause: BundleError) -> None:
        super().__init__(f"The model was unloaded while nobody asked for it, and cannot be loaded again. {cause}")


class MediaTypeError(ClaprtError, ValueError):
    """A request body has a media type that the endpoint does not take."""


class ShapeError(ClaprtError, ValueError):
    """A request is not JSON, or not a form, of the shape that the endpoint takes."""


def to_client_error(error: BaseException) -> ClaprtError:
    """The error itself if it is claprt's; any other is logged, and a `ServiceFault` returned. Clears its frames."""
    if not isinstance(error, ClaprtError):
        log.error("a request failed%s", f" (id {number})" if (number := current_id()) else "", exc_info=error)
    clear_frames(error)
    return error if isinstance(error, ClaprtError) else ServiceFault()


def as_exception(error: BaseException) -> Exception:
    """The error, or one that stands for it if it is not an `Exception`, which would end the event loop."""
    return error if isinstance(error, Exception) else to_client_error(error)


def clear_frames(error: BaseException | None) -> None:
    """Clear the local variables of the frames of an error and of its causes.

    A future holds the error, and the frames lead to the future: a reference cycle that would keep megabytes of audio until
    a garbage collection, which counts objects, not bytes. Tracebacks print as before.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def status_of(error: ClaprtError) -> int:
    """HTTP status code of an error.

    Example:
        >>> status_of(OverloadedError("…")), status_of(ServiceFault()), status_of(ClaprtError("…"))
        (503, 500, 400)
    """
    if isinstance(error, OverloadedError | ShuttingDownError | ServerUnavailableError | ModelUnavailableError):
        return 503
    if isinstance(error, HttpError):
        return error.status
    if isinstance(error, MediaTypeError):
        return 415
    if isinstance(error, ShapeError):
        return 422
    return 500 if isinstance(error, ServiceFault | ProviderError) else 400


def retry_after(status: int) -> dict[str, str]:
    """Headers that tell a client when to try again, of a status after which it may."""
    return {"retry-after": "1"} if status == 503 else {}


def error_response(
    status: int, message: str, kind: str = "InvalidRequestError", headers: dict[str, str] | None = None
) -> JSONResponse:
    """Build an error response in OpenAI's shape, as infinity does.

    Args:
        status: HTTP status code.
        message: For people.
        kind: The `type`, for programs.
        headers: Of the response, besides those of its body.
    """
    content = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return JSONResponse(content, status, {**retry_after(status), **(headers or {})})


def response_to(error: ClaprtError, headers: dict[str, str] | None = None) -> JSONResponse:
    """Build the response to a request that failed with this error."""
    return error_response(status_of(error), str(error), type(error).__name__, headers)
