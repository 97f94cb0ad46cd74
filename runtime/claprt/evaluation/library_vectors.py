"""The vectors of a library, one for each sound: nothing is embedded again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.errors import DatasetError, FingerprintError
from claprt.library.library import open_library
from claprt.library.manifest import LIBRARY_FILE
from claprt.library.schema import WHOLE_SOUND
from claprt.model.clap import Clap
from claprt.model.results import mean_pool

_COLUMNS = ("path", "window", "embedding", "missing", "size", "mtime")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LibraryVectors:
    """Sounds of a library, in the order of their paths, those that have vanished left out."""

    paths: list[str]
    vectors: Embeddings
    """[sounds, dim] float32: that of the whole sound, or the mean of its windows."""
    files: list[tuple[int, float]]
    """Size in bytes and time of change of what was embedded."""


def is_library(folder: Path) -> bool:
    """Whether a folder is a library, as `claprt index` writes it."""
    return (folder / LIBRARY_FILE).is_file()


def library_vectors(clap: Clap, folder: Path) -> LibraryVectors:
    """Read the vectors of a library.

    Args:
        clap: The model that other vectors are made with.
        folder: Of the library.

    Raises:
        FingerprintError: If the library's vectors are of another model.
        DatasetError: If it holds no sounds, or a vector with NaN or infinity.
        LibraryError: If it cannot be read.
        MissingDependencyError: If pyarrow is not installed.
    """
    with open_library(folder) as library:
        if library.fingerprint != clap.fingerprint:
            raise FingerprintError(
                f"The library {folder} holds vectors of {library.fingerprint}; here they are {clap.fingerprint}. Load the "
                "model that made it."
            )
        table = library.to_arrow(list(_COLUMNS))
    columns = {name: table.column(name).combine_chunks() for name in _COLUMNS}
    rows = columns["embedding"].flatten().to_numpy(zero_copy_only=False).reshape(-1, clap.dim).astype(np.float32)
    path, window, missing, size, mtime = (
        columns[name].to_pylist() for name in ("path", "window", "missing", "size", "mtime")
    )
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DatasetError(
            f"The library {folder} holds {len(bad)} vectors with NaN or infinity, the first of {path[int(bad[0])]}; it is "
            "damaged. Index its sounds anew, into a new folder."
        )
    kept = sorted((path[place], window[place], place) for place in range(len(path)) if not missing[place])
    names: list[str] = []
    vectors: list[Embedding] = []
    files: list[tuple[int, float]] = []
    for name, group in itertools.groupby(kept, key=lambda row: row[0]):
        places = list(group)
        whole = [place for _, number, place in places if number == WHOLE_SOUND]
        names.append(name)
        vectors.append(rows[whole[0]] if whole else mean_pool(rows[[place for _, _, place in places]]))
        files.append((size[places[0][2]], mtime[places[0][2]]))
    if not names:
        raise DatasetError(f"The library {folder} holds no sounds.")
    return LibraryVectors(paths=names, vectors=np.stack(vectors), files=files)
