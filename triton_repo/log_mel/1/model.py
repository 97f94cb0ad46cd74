"""Waveforms to log-mels."""

from claprt.triton.backend import LogMelFrontEnd as TritonPythonModel

__all__ = ["TritonPythonModel"]
