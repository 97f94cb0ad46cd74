"""Token ids to embeddings."""

from claprt.triton.backend import TextTower as TritonPythonModel

__all__ = ["TritonPythonModel"]
