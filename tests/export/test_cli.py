"""The `claprt-export` command."""

from __future__ import annotations

import pytest

import claprt
from claprt_export.cli import main


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([option])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"claprt-export {claprt.__version__}\n"
