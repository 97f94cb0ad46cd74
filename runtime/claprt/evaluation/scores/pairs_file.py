"""Pairs of a sound and a text, as files hold them."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claprt.errors import DatasetError
from claprt.evaluation.csv_rows import csv_rows

_PATH_COLUMNS = ("path", "file", "filename", "file_name", "audio")
_TEXT_COLUMNS = ("text", "caption", "prompt")
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A sound, and the text that it is held against."""

    path: Path
    text: str
    id: str | None = None


def read_pairs(file: str | os.PathLike[str]) -> tuple[Pair, ...]:
    """Read pairs from a CSV file with a header, or from JSON lines (.jsonl, .ndjson, .json).

    The columns, or keys, are `path` (also `file`, `filename`, `file_name`, `audio`), `text` (also `caption`, `prompt`)
    and, where there is one, `id`. A relative path is looked for in the folder of the file first, then in the working
    folder.

    Raises:
        DatasetError: If the file cannot be read, lacks a column, holds no pair, names sounds that are not there, has an
            empty text, or an id occurs twice.
    """
    path = Path(file)
    rows = list(_rows(path))
    if not rows:
        raise DatasetError(f"{path} holds no pair; each row needs a path and a text.")
    keys = set[str]().union(*(row.keys() for _, row in rows))
    path_key, text_key = _column(path, keys, _PATH_COLUMNS), _column(path, keys, _TEXT_COLUMNS)
    _refuse(path, rows, "an empty path", path_key)
    _refuse(path, rows, "an empty text", text_key)
    pairs = tuple(
        Pair(path=_place(row[path_key], path.parent), text=row[text_key], id=row.get("id") or None) for _, row in rows
    )
    missing = [str(pair.path) for pair in pairs if not pair.path.is_file()]
    if missing:
        raise DatasetError(
            f"{path} names {len(missing)} of {len(pairs)} sounds that are not there, or no files: {_some(missing)}. "
            f"Relative paths are looked for in {path.parent.absolute()}, then in {Path.cwd()}."
        )
    twice = [name for name, times in Counter(pair.id for pair in pairs if pair.id is not None).items() if times > 1]
    if twice:
        raise DatasetError(f"{path} has {len(twice)} ids more than once: {_some(twice)}. Each pair counts once.")
    return pairs


def _rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    """Number of the line and its fields, with names in lower case.

    Raises:
        DatasetError: If the file cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() in _JSON_LINES:
                lines = list(enumerate(file, 1))
            else:
                reader = csv.DictReader(file, skipinitialspace=True)
                return [(number, _plain(row)) for number, row in csv_rows(path, reader)]
    except FileNotFoundError as error:
        raise DatasetError(f"Pairs were asked for from {path}, and there is no such file.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not text in UTF-8, as CSV and JSON lines are here: {error}") from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as CSV or JSON lines: {error}") from error
    return [(number, _of_json(path, number, line)) for number, line in lines if line.strip()]


def _of_json(path: Path, number: int, line: str) -> dict[str, str]:
    """The fields of one line.

    Raises:
        DatasetError: If it is not a JSON object.
    """
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"Line {number} of {path} is not JSON: {error}. Each line is an object of its own.") from error
    if not isinstance(row, dict):
        raise DatasetError(f"Line {number} of {path} is not an object with a path and a text: {line.strip():.60}")
    return _plain(row)


def _plain(row: Mapping[Any, Any]) -> dict[str, str]:
    """Fields as text; those of other kinds are as if they were not there."""
    return {
        str(key).strip().lower(): str(value).strip()
        for key, value in row.items()
        if key is not None and isinstance(value, str | int) and not isinstance(value, bool)
    }


def _column(path: Path, found: Iterable[str], known: Sequence[str]) -> str:
    """The first of the known columns that is there.

    Raises:
        DatasetError: If there is none.
    """
    for name in known:
        if name in found:
            return name
    columns = ", ".join(sorted(name for name in found if name)) or "none"
    raise DatasetError(f"{path} has the columns {columns}; one of {', '.join(known)} is needed.")


def _refuse(path: Path, rows: Sequence[tuple[int, Mapping[str, str]]], what: str, key: str) -> None:
    """Check that no row is empty there.

    Raises:
        DatasetError: If one is.
    """
    empty = [str(number) for number, row in rows if not row.get(key)]
    if empty:
        raise DatasetError(f"{path} has {what} in {len(empty)} of {len(rows)} rows: line {_some(empty)}.")


def _place(name: str, folder: Path) -> Path:
    beside = folder / name
    return Path(name) if not beside.exists() and Path(name).exists() else beside


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
