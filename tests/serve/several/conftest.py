"""Two models in one service, whose vectors differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.serve.app import create_app
from claprt.serve.limits import Limits
from tests.serve.test_http import RATE, base64_of, wav

SAMPLES = SOUNDS["rain"](RATE, RATE).astype("<f4")
NAMES = ["plain", "fused"]


@pytest.fixture(scope="package")
def rain() -> bytes:
    return wav(SAMPLES, RATE)


@pytest.fixture(scope="package")
def sound(rain: bytes) -> str:
    return base64_of(rain)


@pytest.fixture(scope="package")
def other_texts(fused_bundle: Path) -> claprt.Clap:
    """A fused model with vectors of texts of its own; the toys have the same ones, which would hide a wrong choice."""
    fused = claprt.load(fused_bundle)
    through = fused.engine.text
    fused.engine.text = lambda ids, mask: -through(ids, mask)  # pyright: ignore[reportAttributeAccessIssue]
    return fused


@pytest.fixture(scope="package")
def models(clap: claprt.Clap, other_texts: claprt.Clap) -> dict[str, claprt.Clap]:
    return {"plain": clap, "fused": other_texts}


@pytest.fixture(scope="package")
def client(models: dict[str, claprt.Clap]) -> Iterator[TestClient]:
    with TestClient(create_app(models, limits=Limits(texts=9, sounds=3, timeline_labels=5))) as client:
        yield client
