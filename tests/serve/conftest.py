"""Services that the tests share: one as it comes, one with narrow bounds. Without the service's packages they skip."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from tests.projected import with_projection
from tests.serve.malformed import SERVICE
from tests.serve.process import Process
from tests.tiny import write_tiny_bundle

pytest.importorskip("uvicorn", reason="needs the service's packages (pip install 'claprt[serve]')")

RATE = 16_000
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def sound() -> Any:
    """One second at 16 kHz."""
    return SOUNDS["rain"](RATE, RATE)


@pytest.fixture(scope="session")
def served_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy bundle under the name of mini, with a projection."""
    folder = tmp_path_factory.mktemp("served")
    return with_projection(write_tiny_bundle(folder / "plain", name="mini"), folder / "mini")


@pytest.fixture(scope="session")
def mini(served_bundle: Path) -> claprt.Clap:
    """What the services serve, in process."""
    return claprt.load(served_bundle, provider="cpu", preprocess="kromosynth")


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="session")
def service(served_bundle: Path, logs: Path) -> Iterator[Process]:
    """With the bounds that are the default."""
    with Process(logs / "service.log", "--bundle", str(served_bundle), "--device", "cpu") as running:
        yield running


@pytest.fixture(scope="session")
def strict(served_bundle: Path, mini: claprt.Clap, logs: Path) -> Iterator[Process]:
    """With bounds that clients meet within a second, and a library where its packages are installed."""
    arguments = ["--bundle", str(served_bundle), "--device", "cpu", *SERVICE]
    if find_spec("numkong") is not None:
        from claprt.library.create import index

        (logs / "sounds").mkdir()
        shutil.copy(claprt.sample_path("dog"), logs / "sounds" / "dog.flac")
        index([str(logs / "sounds")], logs / "library", mini, bundle=str(served_bundle))
        arguments += ["--library", str(logs / "library"), "--allow-audio"]
    with Process(logs / "strict.log", *arguments) as running:
        yield running


@pytest.fixture(scope="session")
def node() -> Path:
    """A folder in which Node finds npm's `ws`, got once from the registry."""
    folder = ROOT / "build" / "node"
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    if not (folder / "node_modules" / "ws").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        quick = ["--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=10000"]
        command = [npm, "install", "--prefix", str(folder), *quick, "ws@8"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except subprocess.SubprocessError:
            pytest.skip("npm cannot get ws: there is no registry")
    return folder
