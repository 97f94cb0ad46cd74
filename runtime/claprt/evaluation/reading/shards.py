"""Datasets as tar archives in webdataset's layout: `ID.flac` with what it is in `ID.json`, `ID.txt` or `ID.cls`."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from claprt.errors import DatasetError, LibraryError
from claprt.evaluation.dataset import Inside, Item, sounds_within
from claprt.evaluation.reading.columns import Columns, choose, filled
from claprt.library.paths import INSIDE

_TEXT = {"txt": "text", "cls": "cls"}
"""Columns that files with one value are."""
_MOST_BYTES = 16 << 20
_ERRORS = (tarfile.TarError, OSError, EOFError)


def shard_items(archive: Path, asked: Columns) -> list[Item]:
    """The sounds of a tar archive with what the files beside each say.

    Raises:
        DatasetError: If it cannot be read, or no file says what a sound is.
    """
    try:
        beside = _beside(archive)
        sounds = list(sounds_within(archive))
    except (*_ERRORS, LibraryError) as error:
        raise DatasetError(f"{archive} cannot be read as a tar archive: {error}") from error
    found = list(dict.fromkeys(name for row in beside.values() for name in row))
    columns = choose(str(archive), found, asked, wordless=[name for name in found if _all_numbers(beside, name)])
    items: list[Item] = []
    for number, sound in enumerate(sounds):
        item = Item(path=Path(sound.path), inside=Inside(archive=archive, number=number, name=sound.path))
        items.append(filled(item, beside.get(_key(sound.path.rpartition(INSIDE)[2]), {}), columns))
    return items


def _all_numbers(beside: dict[str, dict[str, Any]], name: str) -> bool:
    values = [row[name] for row in beside.values() if row.get(name) is not None]
    return all(isinstance(value, int | float) for value in values)


def _key(name: str) -> str:
    """What members of one sample have in common: the name up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _beside(archive: Path) -> dict[str, dict[str, Any]]:
    """What JSON, texts and classes say, by the key of the sample.

    Raises:
        DatasetError: If one cannot be understood.
        OSError: Or another of `_ERRORS`, if the archive cannot be read.
    """
    rows: dict[str, dict[str, Any]] = {}
    with tarfile.open(archive, "r:" if archive.name.lower().endswith(".tar") else "r|*") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            kind = name.rpartition("/")[2].partition(".")[2].rpartition(".")[2].lower()
            if not member.isfile() or kind not in ("json", *_TEXT):
                continue
            if member.size > _MOST_BYTES:
                raise DatasetError(f"{archive}{INSIDE}{name} has {member.size} bytes; what a sound is takes less.")
            opened = tar.extractfile(member)
            content = b"" if opened is None else opened.read()
            rows.setdefault(_key(name), {}).update(_row(f"{archive}{INSIDE}{name}", kind, content))
    return rows


def _row(where: str, kind: str, content: bytes) -> dict[str, Any]:
    """The fields of one file.

    Raises:
        DatasetError: If they cannot be understood.
    """
    try:
        text = content.decode("utf-8-sig")
        if kind == "json":
            row: Any = json.loads(text)
            if not isinstance(row, dict):
                raise DatasetError(f"{where} is not a JSON object; fields such as label and caption were expected.")
            return {str(key): value for key, value in row.items()}
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where} cannot be read as {kind}: {error}") from error
    value = text.strip()
    return {_TEXT[kind]: int(value) if kind == "cls" and value.lstrip("-").isdecimal() else value}
