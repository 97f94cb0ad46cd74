"""`read_dataset`: which kind of dataset a path names."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from claprt.errors import ClaprtError, DatasetError
from claprt.evaluation.dataset import Dataset, Item
from claprt.evaluation.library_vectors import is_library
from claprt.evaluation.reading.columns import Columns
from claprt.evaluation.reading.libraries import library_items
from claprt.evaluation.reading.listed import csv_items, folder_items
from claprt.evaluation.reading.shards import shard_items
from claprt.evaluation.reading.tables import table_items
from claprt.library.archives import TARS, is_archive

_SPLIT = re.compile(r"(.+?)-\d+-of-\d+")


def read_dataset(
    path: str | os.PathLike[str],
    *,
    folds: Sequence[str] = (),
    columns: Columns | None = None,
    library: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a dataset.

    Args:
        path: A CSV file; a Parquet or Arrow file, with sounds as Hugging Face stores them, as bytes, or named by paths; a
            tar archive in webdataset's layout; a pattern of such files (`shards/*.tar`); a library that `claprt index`
            made, where the folder of a sound is its class; or a folder with `labels.csv`, with ESC-50's `meta/esc50.csv`,
            with any one CSV file, with one folder of sounds for each class, or with tables or tar archives. A CSV has a
            header and a column for the file (`file`, `filename`, `file_name`, `path`, `audio`).
        folds: Keeps only the sounds of these folds, by the column `fold`.
        columns: Which columns hold classes and captions; see `Columns` for the default.
        library: A library whose vectors are used for the sounds that it holds.

    Raises:
        DatasetError: If there is no such dataset, a column is missing, or nothing is left.
        MissingDependencyError: If pyarrow is needed and not installed.
        ClaprtError: As readers raise it.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise DatasetError(f"A dataset's folder or file was expected, and {path!r} was given.")
    root, folds = Path(path), tuple(map(str, folds))
    try:
        items = tuple(_items(root, columns or Columns()))
        own = root if is_library(root) else None
    except ClaprtError:
        raise
    except (OSError, ValueError) as error:
        raise DatasetError(f"{root} cannot be read: {error}") from error
    if folds:
        known = {item.fold for item in items}
        missing = [fold for fold in folds if fold not in known]
        if missing:
            listed = ", ".join(sorted(filter(None, known))) or "none"
            raise DatasetError(f"{root} has no fold {', '.join(missing)}; it has {listed}.")
        items = tuple(item for item in items if item.fold in folds)
    if not items:
        raise DatasetError(f"{root} names no sound.")
    if all(item.label is None and not item.captions for item in items):
        raise DatasetError(f"{root} names {len(items)} sounds, and neither a class nor a caption of any of them.")
    return Dataset(name=root.name, items=items, library=own if library is None else Path(library))


def _items(root: Path, columns: Columns) -> Iterable[Item]:
    if root.is_file():
        return _items_of_file(root, columns)
    if root.is_dir():
        return library_items(root) if is_library(root) else _items_of_folder(root, columns)
    if glob.has_magic(str(root)):
        files = [Path(name) for name in sorted(glob.glob(str(root), recursive=True))]  # noqa: PTH207 - of any folder
        return _items_of_files(files, root, columns)
    raise DatasetError(f"A dataset was asked for at {root}, and there is no such file or folder.")


def _items_of_folder(root: Path, columns: Columns) -> Iterable[Item]:
    for table in (root / "labels.csv", root / "meta" / "esc50.csv"):
        if table.is_file():
            return csv_items(table, columns)
    tables = sorted(root.glob("*.csv"))
    if len(tables) > 1:
        raise DatasetError(f"{root} holds {', '.join(table.name for table in tables)}; name the one that is meant.")
    if tables:
        return csv_items(tables[0], columns)
    if found := list(folder_items(root)):
        return found
    archives = sorted(file for file in root.rglob("*") if is_archive(file.name) and file.is_file())
    if not archives:
        raise DatasetError(
            f"{root} holds neither a CSV file nor folders of sounds named after their class, and no tables or tar archives."
        )
    _check_splits(root, archives)
    return _items_of_files(archives, root, columns)


def _items_of_file(file: Path, columns: Columns) -> list[Item]:
    name = file.name.lower()
    if name.endswith(TARS):
        return shard_items(file, columns)
    return table_items(file, columns) if is_archive(name) else csv_items(file, columns)


def _items_of_files(files: Sequence[Path], root: Path, columns: Columns) -> Iterator[Item]:
    if not files:
        raise DatasetError(f"No file matches {root}.")
    for file in files:
        yield from _items_of_file(file, columns)


def _check_splits(root: Path, archives: Sequence[Path]) -> None:
    """Check that a folder's archives are of one split, by names such as `train-00000-of-00002.parquet`.

    Raises:
        DatasetError: If they are of several.
    """
    splits = {
        file.parent / match[1] if (match := _SPLIT.fullmatch(file.name.partition(".")[0])) else file.parent
        for file in archives
    }
    if len(splits) > 1:
        names = ", ".join(sorted(os.path.relpath(split, root) for split in splits))
        one = min(split for split in splits if split != root)
        example = f"such as {one}" if one.is_dir() else f"as a pattern such as {one}*"
        raise DatasetError(f"{root} holds several sets of files: {names}. Name one, {example}.")
