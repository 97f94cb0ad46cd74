"""A library of sounds as a dataset: the folder that a sound lies in is its class."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from claprt.errors import DatasetError
from claprt.evaluation.dataset import Inside, Item
from claprt.library.library import open_library
from claprt.library.paths import INSIDE, local_path
from claprt.library.sound_tables import TABLES


def library_items(folder: Path) -> list[Item]:
    """The sounds of a library, without those that have vanished.

    Raises:
        DatasetError: If all sounds lie in one folder, so that nothing says what they are.
        LibraryError: If it cannot be read.
        MissingDependencyError: If pyarrow is not installed.
    """
    with open_library(folder) as library:
        table = library.to_arrow(["path", "missing"])
    rows = zip(table.column("path").to_pylist(), table.column("missing").to_pylist(), strict=True)
    paths = sorted({path for path, missing in rows if not missing})
    items = [_item(path) for path in paths]
    if len({item.label for item in items}) < 2:
        raise DatasetError(
            f"The library {folder} holds no sounds in two folders, whose names would be their classes. As the dataset, "
            "name what says what its sounds are, such as a CSV file, and the library with --vectors (in Python, library=)."
        )
    return items


def _item(path: str) -> Item:
    holder, _, name = path.rpartition(INSIDE)
    in_table = holder.lower().endswith(TABLES)  # where a sound is called by the number of its row
    label = None if in_table else PurePosixPath(name).parent.name.replace("_", " ") or None
    if (local := local_path(path)) is not None:
        return Item(path=Path(local), label=label)
    archive = Path(holder or path)
    return Item(path=Path(path), label=label, inside=Inside(archive=archive, number=-1, name=path))
