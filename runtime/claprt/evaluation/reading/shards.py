"""Datasets as tar archives in webdataset's layout: `ID.flac` with what it is in `ID.json`, `ID.txt` or `ID.cls`."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from claprt.audio.files.folders import is_sound_name
from claprt.errors import DatasetError
from claprt.evaluation.dataset import Inside, Item
from claprt.evaluation.reading.columns import Columns, choose, filled
from claprt.library.archives import tar_files
from claprt.library.paths import INSIDE, stored_path

_TEXT = {"txt": "text", "cls": "cls"}
"""Columns that files with one value are."""
_MOST_BYTES = 16 << 20


def shard_items(archive: Path, wanted: Columns) -> list[Item]:
    """The sounds of a tar archive with what the files beside each say.

    Raises:
        DatasetError: If it cannot be read, or no file says what a sound is.
    """
    try:
        sounds, beside = _content(archive)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DatasetError(f"{archive} cannot be read as a tar archive: {error}") from error
    found = list(dict.fromkeys(name for row in beside.values() for name in row))
    columns = choose(str(archive), found, wanted, wordless=[name for name in found if _all_numbers(beside, name)])
    stored = stored_path(str(archive))
    items: list[Item] = []
    for number, name in enumerate(sounds):
        path = f"{stored}{INSIDE}{name}"
        item = Item(path=Path(path), inside=Inside(archive=archive, number=number, name=path))
        items.append(filled(item, beside.get(_key(name), {}), columns))
    return items


def _all_numbers(beside: dict[str, dict[str, Any]], name: str) -> bool:
    values = [row[name] for row in beside.values() if row.get(name) is not None]
    return all(isinstance(value, int | float) for value in values)


def _key(name: str) -> str:
    """What members of one sample have in common: the name up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _content(archive: Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Names of the sounds, and what JSON, texts and classes say, by the key of the sample.

    Raises:
        DatasetError: If one cannot be understood.
        tarfile.TarError: If the archive cannot be read; so may EOFError and OSError be.
    """
    sounds: list[str] = []
    rows: dict[str, dict[str, Any]] = {}
    for name, member, tar in tar_files(str(archive)):
        kind = name.rpartition("/")[2].partition(".")[2].rpartition(".")[2].lower()
        if is_sound_name(name):
            sounds.append(name)
        elif kind in ("json", *_TEXT):
            if member.size > _MOST_BYTES:
                raise DatasetError(f"{archive}{INSIDE}{name} has {member.size} bytes; what a sound is takes less.")
            opened = tar.extractfile(member)
            content = b"" if opened is None else opened.read()
            rows.setdefault(_key(name), {}).update(_row(f"{archive}{INSIDE}{name}", kind, content))
    return sounds, rows


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
