"""What runs inside Triton's python backend: the Python models of a repository.

`models` has a class for each model, `adapter` turns Triton's requests into arrays, and errors into responses. Repositories
that were built import the classes from here, by these names.
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
