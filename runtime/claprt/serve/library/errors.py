"""Errors of the library's endpoints, each with its HTTP status."""

from __future__ import annotations

from claprt.serve.errors import HttpError


class UnknownSoundError(HttpError):
    """The library has no sound of this id."""

    status = 404


class LibraryUnavailableError(HttpError):
    """The library cannot be read; the log says why."""

    status = 503

    def __init__(self) -> None:
        super().__init__("The library cannot be searched at the moment; the log of the service says why.")


class NotServedError(HttpError):
    """The sound's file is not offered: audio is switched off, or it is not a file in the library's folders."""

    status = 403


class SoundGoneError(HttpError):
    """The sound's file was removed since it was indexed."""

    status = 410


class SoundChangedError(HttpError):
    """The sound's file was changed since it was indexed."""

    status = 409


class NotPlayableError(HttpError):
    """The sound's format is one that browsers do not play, and that is not converted here."""

    status = 406


class RangeError(HttpError):
    """A request asks for a range of bytes that the sound does not have."""

    status = 416
