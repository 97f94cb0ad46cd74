"""What runs inside Triton's python backend: the Python models of a repository.

    models     a class for each model
    adapter    requests to arrays, arrays and errors to responses

Repositories that were built import the classes from here, by these names.
"""

from claprt.triton.backend.models import (
    AudioDecoder,
    AudioTower,
    LogMelFrontEnd,
    Pooling,
    TextTokenizer,
    TextTower,
    ZeroShot,
)

__all__ = ["AudioDecoder", "AudioTower", "LogMelFrontEnd", "Pooling", "TextTokenizer", "TextTower", "ZeroShot"]
