"""A library of sounds as a set: its vectors as they are."""

from __future__ import annotations

from pathlib import Path

from claprt.arrays import Embeddings
from claprt.errors import OptionError
from claprt.evaluation.library_vectors import library_vectors
from claprt.evaluation.scores.protocols.table import Protocol
from claprt.model.clap import Clap


def vectors_of_library(clap: Clap, folder: Path, protocol: Protocol) -> tuple[list[str], Embeddings]:
    """Paths and vectors of the sounds of a library.

    Args:
        clap: The model that the other set is embedded with.
        folder: Of the library.
        protocol: Must be the default one.

    Returns:
        Paths, and one vector for each, [sounds, dim] float32.

    Raises:
        OptionError: If the protocol has other vectors than the model.
        FingerprintError: If the library's vectors are of another model.
        DatasetError: If it holds no sounds, or a vector with NaN or infinity.
        LibraryError: If it cannot be read.
    """
    if not protocol.is_default:
        raise OptionError(f"{folder} is a library; its vectors are not those of protocol {protocol.name}. Name its sounds.")
    found = library_vectors(clap, folder)
    return found.paths, found.vectors
