"""A repository of the toy bundle and a real server on it, started once; without the server these tests skip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import claprt
from claprt.bundle.folder import read_bundle
from claprt.triton.repository.builder import Build, build
from tests.triton.server import PYTHON, Server

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient (pip install 'claprt[triton]')")


@pytest.fixture(scope="session")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Build(bundle=read_bundle(bundle)), tmp_path_factory.mktemp("triton") / "repository")


@pytest.fixture(scope="session")
def needs_server() -> None:
    if not PYTHON.exists():
        pytest.skip("needs the Triton server of PyPI in .venv-triton (make setup WHAT=triton, Linux on x86-64)")


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory, needs_server: None) -> Iterator[Server]:
    with Server(repository, tmp_path_factory.mktemp("log") / "triton.log") as running:
        yield running
        running.stop()
        assert running.process is not None
        assert running.process.returncode == 0, running.said()


@pytest.fixture(scope="session")
def served(server: Server) -> claprt.Clap:
    """The toy bundle on the server."""
    return claprt.load(server.grpc)
