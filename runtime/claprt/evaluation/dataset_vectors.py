"""The vectors of a dataset: those that a library has, and the others embedded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from claprt.arrays import Embeddings
from claprt.errors import DatasetError
from claprt.evaluation.dataset import Dataset, Item, dataset_sounds
from claprt.evaluation.library_vectors import library_vectors
from claprt.evaluation.progress import Report, no_progress
from claprt.library.paths import stored_path
from claprt.model.clap import Clap

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetVectors:
    """Vectors of all sounds of a dataset."""

    rows: Embeddings
    """[sounds, dim] float32, in the order of the dataset."""
    from_library: int
    """How many of them were not embedded here."""


def dataset_vectors(clap: Clap, dataset: Dataset, progress: Report = no_progress) -> DatasetVectors:
    """Embed every sound of a dataset, unless its library has the vector of that very content.

    The library's vector is used unless the file is there with another size or time of change; of a sound within an archive,
    the archive with another time of change.

    Args:
        clap: The model.
        dataset: The sounds.
        progress: Shows progress over the sounds that are embedded; see `claprt.evaluation.progress`.

    Raises:
        DatasetError: If files are not there, or the library is damaged or empty.
        FingerprintError: If the library's vectors are of another model.
        AudioError: If a sound cannot be embedded.
    """
    rows = np.empty((len(dataset.items), clap.dim), np.float32)
    known = np.zeros(len(dataset.items), np.bool_)
    if dataset.library is not None:
        library = library_vectors(clap, dataset.library)
        places = {path: place for place, path in enumerate(library.paths)}
        for number, item in enumerate(dataset.items):
            place = places.get(_stored(item))
            if place is not None and _is_content(item, *library.files[place]):
                rows[number], known[number] = library.vectors[place], True
    left = np.flatnonzero(~known).tolist()
    items = [dataset.items[number] for number in left]
    _check_there(dataset, items)
    for number, sound in zip(left, progress(clap.iter_audio(dataset_sounds(items)), len(items)), strict=True):
        if sound.error is not None:
            raise sound.error
        rows[number] = sound.vector
    return DatasetVectors(rows=rows, from_library=int(known.sum()))


def _stored(item: Item) -> str:
    return stored_path(str(item.path)) if item.inside is None else item.inside.name


def _is_content(item: Item, size: int, mtime: float) -> bool:
    try:
        now = (item.path if item.inside is None else item.inside.archive).stat()
    except OSError:  # it is not there, and the library's vector is all that there is
        return True
    return now.st_mtime == mtime and (item.inside is not None or now.st_size == size)


def _check_there(dataset: Dataset, items: list[Item]) -> None:
    """Check that all files are there, before the first is embedded.

    Raises:
        DatasetError: If some are not.
    """
    lost = [item.path for item in items if item.inside is None and not item.path.is_file()]
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        shown = ", ".join(map(str, lost[:_SHOWN]))
        raise DatasetError(
            f"{dataset.name} names {len(lost)} of {len(dataset.items)} sounds that are not there, or no files: "
            f"{shown}{more}."
        )
