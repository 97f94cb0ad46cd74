"""Embeddings of windows to embeddings of files."""

from claprt.triton.backend import Pooling as TritonPythonModel

__all__ = ["TritonPythonModel"]
