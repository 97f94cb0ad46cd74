"""What a kind of sound is, and where the kinds are listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from claprt_export.synthesis.signals import Random, Signal

Make = Callable[[Random, float], Signal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of sound."""

    name: str
    make: Make
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]
    """Wordings that training never sees."""


KINDS: dict[str, Kind] = {}
"""Every kind by name."""


def kind(wordings: str, held_out: str) -> Callable[[Make], Make]:
    """Register a function under its own name, with wordings separated by bars."""

    def register(make: Make) -> Make:
        name = make.__name__.removeprefix("_").replace("_", " ")
        KINDS[name] = Kind(
            name=name,
            make=make,
            wordings=tuple(part.strip() for part in wordings.split("|")),
            held_out=tuple(part.strip() for part in held_out.split("|")),
        )
        return make

    return register
