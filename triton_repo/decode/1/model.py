"""Files or raw samples to windows."""

from claprt.triton.backend import AudioDecoder as TritonPythonModel

__all__ = ["TritonPythonModel"]
