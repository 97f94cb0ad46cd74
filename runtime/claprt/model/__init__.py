"""The model: a bundle, its engine, and the vectors that it has computed before."""

from claprt.model.clap import Clap

__all__ = ["Clap"]
