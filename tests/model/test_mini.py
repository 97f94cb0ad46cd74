"""The model that ships is whole, has a name, and finds recordings that it was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

import claprt
from claprt.bundle.folder import read_bundle

SHIPPED = Path(claprt.__file__).parent / "mini"


def test_it_is_trained_and_verified() -> None:
    bundle = claprt.read_bundle(SHIPPED)
    bundle.verify()
    assert bundle.manifest.source.trained
    assert bundle.manifest.embedding_dim == 512
    assert {row.graph for row in bundle.manifest.parity} == {"log_mel", "audio", "text"}


@pytest.mark.parametrize("named", ["mini", "MINI", "Mini"])
def test_its_name_has_no_case(named: str) -> None:
    assert read_bundle(named).path == SHIPPED


@pytest.mark.seconds
def test_shared_recordings(shared: Path) -> None:
    """Recordings of ESC-10, which the shipped weights were trained on: a check of the wiring, not a figure to quote."""
    from claprt.evaluation.reading.read import read_dataset
    from claprt.evaluation.zero_shot import evaluate

    result = evaluate(claprt.load(SHIPPED), read_dataset(shared / "esc10", folds=["4"]))
    assert result.zero_shot[0].top1 >= 0.9
