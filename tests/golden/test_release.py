"""Fingerprints and vectors of `mini`, and of a fused toy bundle, are those of release 0.1.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.arrays import Embedding
from tests.golden.compare import FOLDER, embedded
from tests.golden.inputs import TEXTS
from tests.golden.record import COMPONENTS, digest, processor

RECORDED: dict[str, Any] = json.loads((FOLDER / "claprt-0.1.0.json").read_text(encoding="utf-8"))
SAME_MACHINE = processor() == RECORDED["processor"]
"""Whether bits can be compared: matrix products differ in the last ones between kinds of processor."""


def assert_unchanged(found: Embedding, recorded: dict[str, str], limit: float) -> None:
    values = np.array(recorded["values"].split(), np.float32)
    assert np.abs(found[COMPONENTS] - values).max() <= limit
    assert digest(found) == recorded["sha256"] or not SAME_MACHINE


def named(row: dict[str, Any]) -> str:
    return row["fingerprint"].rsplit("/", 2)[0]


@pytest.mark.parametrize("row", RECORDED["mini"], ids=named)
def test_mini(row: dict[str, Any]) -> None:
    assert_row_unchanged("mini", row)


@pytest.mark.parametrize("row", RECORDED["fused"], ids=named)
def test_fused(fused_bundle: Path, row: dict[str, Any]) -> None:
    assert_row_unchanged(fused_bundle, row)


def assert_row_unchanged(bundle: str | Path, row: dict[str, Any]) -> None:
    options = {name: row[name] for name in ("preprocess", "long", "hop_s", "seed") if name in row}
    clap = claprt.load(bundle, provider="cpu", threads=1, **options)
    assert clap.fingerprint == row["fingerprint"]
    for name, vector in zip(row["sounds"], embedded(clap, row["sounds"]), strict=True):
        # a resampler's last bits decide which samples fall into the next of 16 bits
        assert_unchanged(vector, row["sounds"][name], 1e-4 if name == "stereo" else 1e-6)
    if "texts" in row:
        for vector, recorded in zip(clap.embed_text(TEXTS), row["texts"], strict=True):
            assert_unchanged(vector, recorded, 1e-6)
