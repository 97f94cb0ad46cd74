"""Rows of CSV files that people write."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from claprt.errors import DatasetError


def csv_rows(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Rows with the number of the line that each ends on; fields by the header, None where a row ends before.

    Raises:
        DatasetError: If a row has more fields than the header: a text with a comma and without quotes, which would be cut.
    """
    for row in reader:
        more = [value for key, values in row.items() if key is None for value in values or ()]
        if any(value.strip() for value in more):
            raise DatasetError(
                f"Line {reader.line_num} of {path} has more fields than the header's {len(reader.fieldnames or ())}. Put "
                'texts with commas between quotes: "a dog, barking".'
            )
        yield reader.line_num, {key: value for key, value in row.items() if key is not None}
