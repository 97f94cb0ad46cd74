"""Embeddings of sounds and texts to scores."""

from claprt.triton.backend import ZeroShot as TritonPythonModel

__all__ = ["TritonPythonModel"]
