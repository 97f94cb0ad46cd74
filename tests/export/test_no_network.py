"""The exporter uses no network where it has its files, and its libraries leave none of theirs behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import no_network

pytestmark = pytest.mark.skipif(not no_network.AVAILABLE, reason="needs seccomp (Linux on x86-64 or arm64)")

_EXPORT = """
from claprt_export.cli import main
sys.exit(main(["--checkpoint", {checkpoint!r}, "--tokenizer", {tokenizer!r}, "--out", {out!r}]))
"""


def test_export(laion_file: Path, tokenizer_file: Path, exported: Path, tmp_path: Path) -> None:
    """Another process, which traces the towers again, gives the same bytes."""
    home, out = tmp_path / "home", tmp_path / "bundle"
    home.mkdir()
    program = _EXPORT.format(checkpoint=str(laion_file), tokenizer=str(tokenizer_file), out=str(out))
    done = no_network.run(program, home)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {path.name for path in exported.iterdir()}
    for path in exported.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name
    assert no_network.left_behind(home) == []
