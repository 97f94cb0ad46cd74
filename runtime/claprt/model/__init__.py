"""The model: a bundle on an engine.

    clap                 `Clap`: sounds and texts to vectors
    load                 `load`: from a path, name or address to a `Clap`
    loaded               life cycle: closing, copies, pickles
    batching             many sounds in order, in bounded memory
    parallel             the same with readers and callers side by side
    text_batching        many texts in batches of similar length
    dense                windows of one sound that overlap
    stream               `Stream`: sound in blocks
    results              `EmbeddedSound`
    embedding_cache      the model's use of a vector cache
    vector_cache         `VectorCache`, in memory and on disk
    vector_cache_file    its part on disk (SQLite)

Imports `checkpoints` and below.
"""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.model.clap import Clap

__all__ = ["Clap"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
