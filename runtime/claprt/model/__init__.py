"""The model: a bundle, its engine, and the vectors that it has computed before."""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.model.clap import Clap

__all__ = ["Clap"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
