"""The word that names what made a vector."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from claprt.bundle.fingerprint import fingerprint_of
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import Manifest


def with_graphs(manifest: Manifest, precision: Precision, stage: Stage, sha256: str) -> Manifest:
    """A manifest with both towers in a precision, one of them with another digest."""
    graphs = {
        of: {**held, precision: dataclasses.replace(held[Precision.FP32], sha256=sha256 if of is stage else 64 * "0")}
        for of, held in manifest.graphs.items()
    }
    return dataclasses.replace(manifest, graphs=graphs)


@pytest.mark.parametrize(
    ("precision", "counts"),
    [(Precision.INT8, True), (Precision.INT8_SYMMETRIC, True), (Precision.FP16, False), (Precision.FP32, False)],
)
@pytest.mark.parametrize("stage", [Stage.AUDIO, Stage.TEXT])
def test_what_was_calibrated_otherwise_has_another(bundle: Path, precision: Precision, stage: Stage, counts: bool) -> None:
    manifest = read_bundle(bundle).manifest
    made = {
        fingerprint_of(with_graphs(manifest, precision, stage, sha256), "laion", "windows-10s", str(precision))
        for sha256 in (64 * "1", 64 * "2")
    }
    assert len(made) == (2 if counts else 1)


def test_the_other_kind_of_int8_does_not_count(bundle: Path) -> None:
    """Fingerprints of int8 are those of bundles without `int8-symmetric`, and the other way round."""
    manifest = read_bundle(bundle).manifest
    for asked, other in (
        (Precision.INT8, Precision.INT8_SYMMETRIC),
        (Precision.INT8_SYMMETRIC, Precision.INT8),
    ):
        plain = with_graphs(manifest, asked, Stage.AUDIO, 64 * "1")
        both = with_graphs(plain, other, Stage.AUDIO, 64 * "2")
        found = {fingerprint_of(one, "laion", "windows-10s", str(asked)) for one in (plain, both)}
        assert len(found) == 1
