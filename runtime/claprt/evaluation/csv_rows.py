"""Rows of CSV files that people write."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from claprt.errors import DatasetError

_OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def csv_rows(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Rows with the number of the line that each ends on; fields by the header, None where a row ends before.

    Raises:
        DatasetError: If the header names a column twice, or separates names otherwise than by commas; if a row has more
            fields than the header: a text with a comma and without quotes, which would be cut.
    """
    header = [name.strip().lower() for name in reader.fieldnames or ()]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DatasetError(f"{path} has the column {', '.join(twice)} more than once, so what it means is not certain.")
    if len(header) == 1 and (marks := [name for mark, name in _OTHERS.items() if mark in header[0]]):
        raise DatasetError(f"{path} separates fields by {marks[0]}; they are separated by commas here.")
    for row in reader:
        more = [value for key, values in row.items() if key is None for value in values or ()]
        if any(value.strip() for value in more):
            raise DatasetError(
                f"Line {reader.line_num} of {path} has more fields than the header's {len(reader.fieldnames or ())}. Put "
                'texts with commas between quotes: "a dog, barking".'
            )
        yield reader.line_num, {key: value for key, value in row.items() if key is not None}
