"""The exporter uses no network where it has its files, and its libraries leave none of theirs behind."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from claprt_export.pipeline import export_bundle
from tests import no_network
from tests.export.traced import Made


def same_files(one: Path, other: Path) -> bool:
    """Whether two bundles have the same files, byte for byte."""
    files = [{path.name: path.read_bytes() for path in bundle.iterdir()} for bundle in (one, other)]
    return files[0] == files[1]


@pytest.mark.skipif(not no_network.AVAILABLE, reason="needs seccomp (Linux on x86-64 or arm64)")
def test_export(first_exports: Path, exported: Path, laion_file: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    """It ended well in a process that may use none; of the same graphs another process makes the same bytes."""
    assert no_network.left_behind(first_exports / "home") == []
    export_bundle(tmp_path / "again", checkpoint=laion_file, tokenizer=tokenizer_file)
    assert same_files(exported, tmp_path / "again")


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(
    exported: Path, laion_file: Path, tokenizer_file: Path, made: Made, tmp_path: Path
) -> None:
    """It traces and compares everything anew; the test above takes the graphs as they were traced."""
    with patch.dict(made.graphs, clear=True), patch.dict(made.reports, clear=True):
        export_bundle(tmp_path / "again", checkpoint=laion_file, tokenizer=tokenizer_file)
    assert same_files(exported, tmp_path / "again")
