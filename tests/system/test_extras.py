"""The command that a message names really installs: from where the package came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claprt.system import extras

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    monkeypatch.setattr(extras, "origin", lambda: found)
    return found


def test_from_an_index(recorded: dict[str, Any]) -> None:
    assert extras.install_hint("serve") == "pip install 'claprt[serve]'"
    assert extras.install_hint("cpu", "export") == "pip install 'claprt[cpu,export]'"


def test_from_a_folder_or_wheel(recorded: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "my claprt"
    folder.mkdir()
    recorded.update(url=folder.as_uri(), dir_info={})
    assert extras.install_hint("cpu") == f"pip install '{folder}[cpu]'"
    recorded["dir_info"] = {"editable": True}
    assert extras.install_hint("cpu") == f"pip install -e '{folder}[cpu]'"
    wheel = tmp_path / "claprt-0.1.0-py3-none-any.whl"
    wheel.touch()
    recorded.clear()
    recorded.update(url=wheel.as_uri(), archive_info={})
    assert extras.install_hint("cpu") == f"pip install '{wheel}[cpu]'"
    exporter = tmp_path / "claprt_export-0.1.0-py3-none-any.whl"
    assert extras.install_hint("export") == f"pip install '{wheel}[export]'"
    exporter.touch()
    assert extras.install_hint("export") == f"pip install '{wheel}[export]' {exporter}"
    wheel.unlink()
    assert extras.install_hint("cpu") == "pip install 'claprt[cpu]'"


def test_the_exporter_comes_from_the_same_clone(recorded: dict[str, Any]) -> None:
    """Its distribution is built from a folder of the repository; an index has those of releases alone."""
    recorded.update(url=ROOT.as_uri(), dir_info={})
    assert extras.install_hint("cpu", "export") == f"pip install '{ROOT}[cpu,export]' {ROOT}/export"
    recorded["dir_info"] = {"editable": True}
    assert extras.install_hint("cpu", "export") == f"pip install -e '{ROOT}[cpu,export]' -e {ROOT}/export"
    recorded.clear()
    recorded.update(url="https://example.org/claprt.git", vcs_info={"vcs": "git", "commit_id": "abc"})
    assert extras.install_hint("cpu", "export") == (
        "pip install 'claprt[cpu,export] @ git+https://example.org/claprt.git' "
        "'claprt-export @ git+https://example.org/claprt.git#subdirectory=export'"
    )


def test_from_a_repository(recorded: dict[str, Any]) -> None:
    recorded.update(url="https://example.org/claprt.git", vcs_info={"vcs": "git", "commit_id": "abc"})
    assert extras.install_hint("gpu") == "pip install 'claprt[gpu] @ git+https://example.org/claprt.git'"


def test_what_the_installer_recorded_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorded:
        def __init__(self, text: str | None) -> None:
            self.text = text

        def read_text(self, _: str) -> str | None:
            return self.text

    for text in (None, "", "{", "[]", json.dumps({"url": 5})):
        monkeypatch.setattr("importlib.metadata.distribution", lambda _, text=text: Recorded(text))
        extras.origin.cache_clear()
        assert extras.install_hint("cpu").startswith("pip install")
    extras.origin.cache_clear()


def test_so_does_the_native_engine_which_is_compiled(recorded: dict[str, Any], tmp_path: Path) -> None:
    recorded.update(url=ROOT.as_uri(), dir_info={"editable": True})
    assert extras.install_hint("native") == f"pip install -e '{ROOT}[native]' {ROOT}/native"
    wheel, engine = tmp_path / "claprt-0.1.0-py3-none-any.whl", tmp_path / "claprt_native-0.1.0-py3-none-linux_x86_64.whl"
    wheel.touch()
    engine.touch()
    (tmp_path / "claprt_native-0.2.0-py3-none-linux_x86_64.whl").touch()
    recorded.clear()
    recorded.update(url=wheel.as_uri(), archive_info={})
    assert extras.install_hint("native") == f"pip install '{wheel}[native]' {engine}"
    archive = tmp_path / "main.zip"  # whose name has no version
    archive.touch()
    recorded.update(url=archive.as_uri())
    assert extras.install_hint("native") == f"pip install '{archive}[native]'"
