"""Labelled sounds on disk, in the layouts that people have them in."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claprt.audio.files.folders import is_sound_name
from claprt.errors import DatasetError

_FILE_COLUMNS = ("file", "filename", "file_name", "path", "audio")
_LABEL_COLUMNS = ("label", "category", "class", "class_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sound of a dataset."""

    path: Path
    label: str | None = None
    """Its class, with spaces for underscores."""
    captions: tuple[str, ...] = ()
    fold: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Sounds with labels, captions or both."""

    name: str
    items: tuple[Item, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted({item.label for item in self.items if item.label is not None}))


def read_dataset(path: str | os.PathLike[str], *, folds: Sequence[str] = ()) -> Dataset:
    """Reads a dataset.

    Args:
        path: A CSV file; or a folder with `labels.csv`, with ESC-50's `meta/esc50.csv`, with any one CSV file, or with
            one folder of sounds for each class. A CSV has a header and columns for the file (`file`, `filename`, `path`),
            the class (`label`, `category`, `class`), captions (every column whose name begins with `caption`), and
            `fold`; any but the first may be missing.
        folds: Keeps only the sounds of these folds.

    Raises:
        DatasetError: If there is no such dataset, a column is missing, or nothing is left.
    """
    if not isinstance(path, str | os.PathLike):
        raise DatasetError(f"A dataset's folder or CSV file was expected, and {path!r} was given.")
    root, folds = Path(path), tuple(map(str, folds))
    try:
        items = tuple(_items(root))
    except DatasetError:
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
    return Dataset(name=root.name, items=items)


def _items(root: Path) -> Iterable[Item]:
    if root.is_file():
        return _items_of_csv(root)
    if not root.is_dir():
        raise DatasetError(f"A dataset was asked for at {root}, and there is no such file or folder.")
    for table in (root / "labels.csv", root / "meta" / "esc50.csv"):
        if table.is_file():
            return _items_of_csv(table)
    tables = sorted(root.glob("*.csv"))
    if len(tables) > 1:
        raise DatasetError(f"{root} holds {', '.join(table.name for table in tables)}; name the one that is meant.")
    if tables:
        return _items_of_csv(tables[0])
    classes = [folder for folder in sorted(root.iterdir()) if folder.is_dir()]
    found = [
        Item(path=file, label=folder.name.replace("_", " "))
        for folder in classes
        for file in sorted(folder.rglob("*"))
        if is_sound_name(file.name)
    ]
    if not found:
        raise DatasetError(f"{root} holds neither a CSV file nor folders of sounds named after their class.")
    return found


def _items_of_csv(table: Path) -> Iterable[Item]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = [{(key or "").strip().lower(): (value or "").strip() for key, value in row.items() if key is not None}
                    for row in reader]  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a CSV file: {error}") from error
    if not rows:
        raise DatasetError(f"{table} has no rows.")
    columns = [column for column in rows[0] if column]
    file_column = next((column for column in _FILE_COLUMNS if column in columns), None)
    label_column = next((column for column in _LABEL_COLUMNS if column in columns), None)
    caption_columns = [column for column in columns if column.startswith("caption")]
    if file_column is None or not (label_column or caption_columns):
        raise DatasetError(
            f"{table} has the columns {', '.join(columns)}; one of {', '.join(_FILE_COLUMNS)} is needed, and one of "
            f"{', '.join(_LABEL_COLUMNS)} or caption columns."
        )
    places = [table.parent, table.parent / "audio", table.parent.parent / "audio"]
    return [
        Item(
            path=next((place / row[file_column] for place in places if (place / row[file_column]).exists()),
                      table.parent / row[file_column]),
            label=row[label_column].replace("_", " ") if label_column and row[label_column] else None,
            captions=tuple(row[column] for column in caption_columns if row[column]),
            fold=row.get("fold"),
        )
        for row in rows
        if row[file_column]
    ]  # fmt: skip
