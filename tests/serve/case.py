"""One request as no good client sends it, and the register of their kinds."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MESSAGE_MB = 1
"""Largest message of the service that is to be asked."""
TIMEOUT_S = 0.8
"""Seconds that it gives a request."""


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes to send, one part after the other."""

    kind: str
    parts: tuple[bytes, ...]
    upgraded: bool = False
    """Whether a good WebSocket handshake comes first."""
    path: str = "/clap"
    """Of that handshake."""
    pause_s: float = 0.0
    """Between the parts."""
    leaves: bool = False
    """Whether the client hangs up after the last part."""


Maker = Callable[[random.Random], Case]


class Register:
    """Takes functions that draw what a case of their kind is made of; the function's name is the kind's."""

    def __init__(self) -> None:
        self.makers: dict[str, tuple[Maker, int]] = {}

    def __call__(self, weight: int = 10) -> Callable[[Callable[[random.Random], dict[str, Any]]], None]:
        def register(made: Callable[[random.Random], dict[str, Any]]) -> None:
            name = made.__name__
            self.makers[name] = (lambda draw: Case(kind=name, **made(draw)), weight)

        return register


def junk(draw: random.Random, most: int = 400) -> bytes:
    return draw.randbytes(draw.randint(1, most))


def printable(draw: random.Random, most: int = 60) -> str:
    return "".join(draw.choices(string.printable, k=draw.randint(1, most)))


def samples(count: int = 400) -> bytes:
    """A sound that would be answered, as raw float32."""
    return np.linspace(-1, 1, count, dtype="<f4").tobytes()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
