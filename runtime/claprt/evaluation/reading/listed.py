"""Datasets as CSV files that name sounds, and as folders of sounds for each class."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from claprt.audio.files.folders import is_sound_name
from claprt.errors import DatasetError
from claprt.evaluation.csv_rows import csv_rows
from claprt.evaluation.dataset import Item
from claprt.evaluation.reading.columns import Columns, choose, filled, merged

_FILE_COLUMNS = ("file", "filename", "file_name", "path", "audio")


def csv_items(table: Path, wanted: Columns) -> list[Item]:
    """The sounds that a CSV file names; rows of one file are one sound.

    Raises:
        DatasetError: If it cannot be read, or a column is missing.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = [
                {key.strip().lower(): (value or "").strip() for key, value in row.items()}
                for _, row in csv_rows(table, reader)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a CSV file: {error}") from error
    if not rows:
        raise DatasetError(f"{table} has no rows.")
    found = [column for column in rows[0] if column]
    file_column = next((column for column in _FILE_COLUMNS if column in found), None)
    if file_column is None:
        raise DatasetError(f"{table} has the columns {', '.join(found)}; one of {', '.join(_FILE_COLUMNS)} is needed.")
    columns = choose(str(table), found, wanted)
    places = [table.parent, table.parent / "audio", table.parent.parent / "audio"]
    return merged(
        str(table),
        (filled(Item(path=_place(row[file_column], places)), row, columns) for row in rows if row[file_column]),
    )


def _place(name: str, places: list[Path]) -> Path:
    return next((place / name for place in places if (place / name).exists()), places[0] / name)


def folder_items(root: Path) -> Iterator[Item]:
    """The sounds of a folder that has one folder for each class."""
    for folder in sorted(root.iterdir()):
        if folder.is_dir():
            for file in sorted(folder.rglob("*")):
                if is_sound_name(file.name):
                    yield Item(path=file, label=folder.name.replace("_", " "))
