"""A copy of a bundle with the projection of `tests/toy`: one matrix and a sigmoid."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import claprt
from claprt.bundle.digests import sha256_of
from claprt.bundle.graphs import PROJECTION_FILE, GraphInfo, ParityReport, Precision, ProjectionInfo, TensorSpec
from claprt.bundle.manifest import MANIFEST_FILE
from tests.golden.inputs import signs
from tests.tiny import TOYS, unpack

DIM, DESCRIPTORS = 512, 6


def weight() -> NDArray[np.float32]:
    """The matrix [dim, descriptors]."""
    return signs("projection", DIM, DESCRIPTORS)


def expected(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """What it gives for embeddings [n, dim]."""
    return 1 / (1 + np.exp(-(embeddings.astype(np.float64) @ weight())))


def with_projection(bundle: Path, folder: Path) -> Path:
    """Copies the bundle to `folder` and puts the projection in."""
    shutil.copytree(bundle, folder)
    manifest = claprt.read_bundle(folder).manifest
    path = unpack(TOYS / f"{PROJECTION_FILE}.xz", folder)
    tensors = (("embeddings", DIM), ("behavior_descriptors", DESCRIPTORS))
    ends = [(TensorSpec(name=name, dtype="float32", shape=("batch", numbers)),) for name, numbers in tensors]
    graph = GraphInfo(file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size, inputs=ends[0], outputs=ends[1])
    facts = ProjectionInfo(
        graph=graph,
        input_dim=DIM,
        output_dim=DESCRIPTORS,
        activation="relu",
        source="toy.pt",
        source_sha256="1" * 64,
        parity=ParityReport(
            graph="projection", precision=Precision.FP32, against="torch network", cases=1, max_abs=3e-8, max_abs_limit=1e-5
        ),
    )
    manifest = dataclasses.replace(manifest, projection=facts)
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return folder
