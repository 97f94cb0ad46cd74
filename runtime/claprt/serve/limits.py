"""How much one request, and all of them together, may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from claprt.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that a service keeps; what is beyond them is answered with an error."""

    message_bytes: int = 64 << 20
    """Largest message or request body."""
    windows: int = 60
    """Windows of ten seconds that one sound may have: ten minutes."""
    texts: int = 1024
    """Texts or labels in one request."""
    sounds: int = 64
    """Sounds in one request."""
    waiting: int = 256
    """Requests that are accepted and not yet answered; one more is told that the service is overloaded."""

    def __post_init__(self) -> None:
        for name in ("message_bytes", "windows", "texts", "sounds", "waiting"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} is not possible; give 1 or more.")
