"""The vectors of a library of sounds as a set: nothing is embedded again."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.errors import DatasetError, FingerprintError, OptionError
from claprt.evaluation.scores.protocols.table import Protocol
from claprt.library.library import open_library
from claprt.library.manifest import LIBRARY_FILE
from claprt.library.schema import WHOLE_SOUND
from claprt.model.clap import Clap
from claprt.model.results import mean_pool

_COLUMNS = ("path", "window", "embedding", "missing")


def is_library(folder: Path) -> bool:
    """Whether a folder is a library, as `claprt index` writes it."""
    return (folder / LIBRARY_FILE).is_file()


def vectors_of_library(clap: Clap, folder: Path, protocol: Protocol) -> tuple[list[str], Embeddings]:
    """Paths and vectors of the sounds of a library, those that have vanished left out.

    Args:
        clap: The model that the other set is embedded with.
        folder: Of the library.
        protocol: Must be the default one.

    Returns:
        Paths, and one vector for each, [sounds, dim] float32: the one of the whole sound, or the mean of its windows.

    Raises:
        OptionError: If the protocol has other vectors than the model.
        FingerprintError: If the library's vectors are of another model.
        DatasetError: If it holds no sounds.
        LibraryError: If it cannot be read.
    """
    if not protocol.is_default:
        raise OptionError(f"{folder} is a library; its vectors are not those of protocol {protocol.name}. Name its sounds.")
    with open_library(folder) as library:
        if library.fingerprint != clap.fingerprint:
            raise FingerprintError(
                f"The library {folder} holds vectors of {library.fingerprint}; here they are {clap.fingerprint}. Score it "
                "with the model that made it."
            )
        table = library.to_arrow(list(_COLUMNS))
    columns = {name: table.column(name).combine_chunks() for name in _COLUMNS}
    rows = columns["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(-1, clap.dim).astype(np.float32)
    facts = zip(columns["path"].to_pylist(), columns["window"].to_pylist(), columns["missing"].to_pylist(), strict=True)
    kept = sorted((path, window, place) for place, (path, window, missing) in enumerate(facts) if not missing)
    names: list[str] = []
    vectors: list[Embedding] = []
    for path, group in itertools.groupby(kept, key=lambda row: row[0]):
        places = list(group)
        whole = [place for _, window, place in places if window == WHOLE_SOUND]
        names.append(path)
        vectors.append(rows[whole[0]] if whole else mean_pool(rows[[place for _, _, place in places]]))
    if not names:
        raise DatasetError(f"The library {folder} holds no sounds.")
    return names, np.stack(vectors)
