"""Texts to token ids."""

from claprt.triton.backend import TextTokenizer as TritonPythonModel

__all__ = ["TritonPythonModel"]
