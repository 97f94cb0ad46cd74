"""Log-mels to embeddings."""

from claprt.triton.backend import AudioTower as TritonPythonModel

__all__ = ["TritonPythonModel"]
