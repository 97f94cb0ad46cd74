"""What may be installed beside this project: nothing with a known hole, and for its developers one version of each."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT, EXPORTER = (
    tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"] for folder in ("", "export")
)
ALL = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values(), EXPORTER["dependencies"])
    for line in lines
]


@pytest.mark.parametrize(
    ("package", "holed"),
    [
        ("python-multipart", "0.0.17"), ("starlette", "0.47.1"), ("starlette", "0.49.0"), ("h11", "0.15.0"),
        ("onnx", "1.17.0"), ("onnx", "1.18.0"), ("torch", "2.5.1"),
    ],
)  # fmt: skip
def test_versions_with_known_holes_are_not_taken(package: str, holed: str) -> None:
    found = [requirement for requirement in ALL if requirement.name == package]
    assert found
    assert all(not requirement.specifier.contains(holed) for requirement in found)


def test_what_is_installed_fits() -> None:
    for requirement in ALL:
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            continue
        assert requirement.specifier.contains(installed, prereleases=True), requirement


@pytest.mark.parametrize("file", sorted(path.name for path in ROOT.glob("constraints*.txt")))
def test_constraints_leave_nothing_open(file: str) -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if line and not re.fullmatch(r"[\w.-]+==[\w.+]+", line)] == []
