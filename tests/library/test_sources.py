"""Finding sounds, without a model."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from claprt.library.sources import Sources


def test_a_scan_holds_no_list_of_what_a_folder_has(tmp_path: Path) -> None:
    count = 10_000
    for number in range(count):
        (tmp_path / f"{number}.wav").touch()
    scan = Sources([str(tmp_path)]).scan()
    next(scan)
    tracemalloc.start()
    try:
        found = 1 + sum(1 for _ in scan)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == count
    assert peak < 100_000  # bytes; a list of the names alone takes 650,000
