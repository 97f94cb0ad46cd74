"""What the exceptions of tritonclient mean.

They differ with the protocol and the moment; here they become one of three: the server refused (`ServerError`), it was lost
and asking again may help (`LostError`), or it took too long.
"""

from __future__ import annotations

import re

from claprt.errors import ServerError, ServerUnavailableError

_LOST = ("not healthy", "Stream removed", "Socket closed", "Connection reset", "shutting down", "not ready", "no available")
_BUSY = ("xceeds maximum queue size",)
_FORGOTTEN = "Unable to find shared memory region"
_RESTRICTED = re.compile(r"is restricted, expecting header '([^']+)'")
_UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed", "is not in peer certificate")
_PLAIN = "WRONG_VERSION_NUMBER"
_NOT_HTTP = "Expected HTTP/"


class LostError(Exception):
    """The server or a step of it was lost, or is too busy: the same request may be answered a moment later."""


class ForgottenError(LostError):
    """The server does not know a shared memory region any more, as after a restart."""


def failure(error: Exception, timeout_s: float, request: str = "this request") -> Exception:
    """What an exception of tritonclient means, as one of ours; `request` is what was asked for, as messages say it."""
    status, message = str(getattr(error, "status", lambda: "")()), str(getattr(error, "message", lambda: "")() or error)
    if refusal := _not_allowed(message, request):  # for gRPC "unavailable" like a lost server, and asking again is no help
        return ServerError(refusal)
    if "DEADLINE_EXCEEDED" in status or isinstance(error, TimeoutError) or "timed out" in message:
        return ServerUnavailableError(f"The server gave no answer within {timeout_s:g} s.")
    if _FORGOTTEN in message:
        return ForgottenError(message)
    of_connection = isinstance(error, OSError | EOFError) or type(error).__module__.startswith(
        ("geventhttpclient", "gevent.")
    )
    lost = of_connection or "UNAVAILABLE" in status or status == "503"
    if lost or any(sign in message for sign in (*_LOST, *_BUSY)):
        return LostError(message)
    return ServerError(message)


def _not_allowed(message: str, request: str) -> str | None:
    """What to do where a server wants a key, or is not the one that it should be; None where it is neither."""
    if wanted := _RESTRICTED.search(message):
        return (
            f"The server answers {request} only with the header {wanted[1]} and its right value; give it as "
            f"server={{'security': Security(headers={{'{wanted[1]}': …}})}}."
        )
    if any(sign in message for sign in _UNTRUSTED):
        return (
            "The server's certificate is not trusted, or is for another name than the address has; root_certificates names "
            f"whom to trust. ({message})"
        )
    if _NOT_HTTP in message:
        return (
            "What answers there does not speak HTTP. The address triton:// is for the gRPC port, triton+http:// for HTTP's."
        )
    if _PLAIN in message:
        return f"The server does not speak TLS; leave the s out of the address, or ask another port. ({message})"
    return None
