"""Finding sounds, without a model."""

from __future__ import annotations

import errno
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from claprt.errors import OptionError
from claprt.library.sources import Sources


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tmp_path / "list.txt"
    names.touch()

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(names))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(OptionError, match=r"list\.txt means a list of sources, which cannot be read: Permission denied"):
        Sources([f"@{names}"])


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
