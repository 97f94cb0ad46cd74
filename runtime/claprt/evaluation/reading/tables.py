"""Datasets as Parquet and Arrow files: sounds as Hugging Face stores them, as bytes, or named by paths."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from claprt.errors import DatasetError, LibraryError
from claprt.evaluation.dataset import Inside, Item, sounds_within
from claprt.evaluation.reading.columns import Chosen, Columns, choose, filled, merged
from claprt.library.items import Inline, LocalFile
from claprt.library.schema import arrow
from claprt.library.sound_tables import open_table

_SHOWN = 3


def table_items(table: Path, wanted: Columns) -> list[Item]:
    """The sounds of a Parquet or Arrow file, one a row, or one for each file where it names files.

    Raises:
        DatasetError: If it cannot be read, a column is missing, or it names files that are not there.
        MissingDependencyError: If pyarrow is not installed.
    """
    pa = arrow(purpose=f"{table} is read")
    try:
        with open_table(str(table), table.name) as file:
            schema = file.schema
            named = _named_classes(schema)
            columns = choose(str(table), _columns(pa, schema), wanted, wordless=_wordless(pa, schema, named))
            content: Mapping[str, list[Any]] = file.columns(columns.names)
        sounds = list(sounds_within(table))
    except DatasetError:
        raise
    except (OSError, ValueError, LibraryError, pa.ArrowException) as error:
        raise DatasetError(f"{table} cannot be read as a table of sounds: {error}") from error
    lost = [sound.error for sound in sounds if isinstance(sound, Inline) and sound.error is not None]
    if lost:
        raise DatasetError(
            f"{table} names {len(lost)} of {len(sounds)} sounds that are not there: {' '.join(lost[:_SHOWN])}"
        )
    items = [
        Item(path=Path(sound.file))
        if isinstance(sound, LocalFile)
        else Item(path=Path(sound.path), inside=Inside(archive=table, number=number, name=sound.path))
        for number, sound in enumerate(sounds)
    ]
    return merged(str(table), _filled(items, content, columns, named))


def _filled(
    items: list[Item], content: Mapping[str, list[Any]], columns: Chosen, named: Mapping[str, list[str]]
) -> Iterable[Item]:
    names = named.get(columns.label or "")
    for number, item in enumerate(items):
        row = {name: values[number] for name, values in content.items()}
        if columns.label is not None and names is not None:
            row[columns.label] = _name(row[columns.label], names, columns)
        yield filled(item, row, columns)


def _name(value: Any, names: list[str], columns: Chosen) -> str | None:
    if value is None or value == -1:  # datasets' mark of an unknown class
        return None
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise DatasetError(f"{columns.where}: {columns.label!r} holds {value!r}, and it names {len(names)} classes.")
    return names[value]


def _columns(pa: Any, schema: Any) -> list[str]:
    """Columns that may be named: all but those of sounds."""
    return [field.name for field in schema if not pa.types.is_struct(field.type)]


def _wordless(pa: Any, schema: Any, named: Mapping[str, list[str]]) -> list[str]:
    """Columns that hold numbers or bytes."""
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_binary, pa.types.is_large_binary)
    return [field.name for field in schema if field.name not in named and any(kind(field.type) for kind in kinds)]


def _named_classes(schema: Any) -> dict[str, list[str]]:
    """Names of the classes of columns of numbers, as Hugging Face's datasets keep them in the file (ClassLabel)."""
    try:
        kept: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features: dict[str, Any] = kept["info"]["features"]
        found = {name: feature.get("names") for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {
        name: cast("list[str]", names)
        for name, names in found.items()
        if isinstance(names, list) and all(isinstance(one, str) for one in cast("list[Any]", names))
    }
