"""Fixtures that every kind of test uses."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import claprt
from claprt.evaluation.latency import measure_latency
from tests.run import keep_to
from tests.tiny import write_tiny_bundle

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a shell that has no job control
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared" / "data"
_MARKERS = {"serve": "server", "triton": "server", "browser": "browser", "export": "export"}
"""Markers of all tests in a folder."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests the marker of their folder, and put those of durations last, when no work of others is left."""
    for item in items:
        top, folder, *_ = item.nodeid.split("/")
        if top == "tests" and folder in _MARKERS:
            item.add_marker(_MARKERS[folder])
    items.sort(key=lambda item: item.get_closest_marker("timing") is not None)


def pytest_configure(config: pytest.Config) -> None:
    """Keep each worker of pytest-xdist to its share of the processors, so that not all start threads for all of them."""
    if worker := getattr(config, "workerinput", None):
        keep_to(int(worker["workerid"].removeprefix("gw")), worker["workercount"])


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later collection of garbage, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own, for them and for the processes that they start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAPRT_GRAPH_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What warns once in a process warns in every test anew, whichever ran before."""
    monkeypatch.setattr("claprt.system.advice._given", set[str]())


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy bundle; tests that alter it copy it first."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def fused_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy bundle of a fused checkpoint."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny-fused", fused=True)


@pytest.fixture(scope="session")
def clap(bundle: Path) -> claprt.Clap:
    """The toy bundle, loaded."""
    return claprt.load(bundle)


@pytest.fixture(scope="session")
def fused_clap(fused_bundle: Path) -> claprt.Clap:
    """The fused toy bundle, loaded."""
    return claprt.load(fused_bundle)


@pytest.fixture
def brief_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """`claprt latency` measures one sound of a second only."""
    monkeypatch.setattr("claprt.cli.latency.measure_latency", partial(measure_latency, calls=((1, 1),)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the shared data beside the checkout (../shared/data)")
    return SHARED
