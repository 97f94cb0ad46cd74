"""A copy of a bundle with a projection of one matrix and a sigmoid, written without torch."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import claprt
from claprt.bundle.graphs import PROJECTION_FILE, ParityReport, Precision, ProjectionInfo
from claprt.bundle.manifest import MANIFEST_FILE
from claprt_export.graphs.onnx_metadata import OPSET, finished, graph_facts

DESCRIPTORS = 6


def weight(dim: int = 512) -> NDArray[np.float32]:
    """The matrix [dim, descriptors]."""
    return np.random.default_rng(5).standard_normal((dim, DESCRIPTORS)).astype(np.float32)


def expected(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """What it gives for embeddings [n, dim]."""
    return 1 / (1 + np.exp(-(embeddings.astype(np.float64) @ weight(embeddings.shape[1]))))


def with_projection(bundle: Path, folder: Path) -> Path:
    """Copies the bundle to `folder` and puts the projection in."""
    shutil.copytree(bundle, folder)
    manifest = claprt.read_bundle(folder).manifest
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["embeddings", "weight"], ["sums"]),
            helper.make_node("Sigmoid", ["sums"], ["behavior_descriptors"]),
        ],
        "projection",
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", manifest.embedding_dim])],
        [helper.make_tensor_value_info("behavior_descriptors", TensorProto.FLOAT, ["batch", DESCRIPTORS])],
        [numpy_helper.from_array(weight(manifest.embedding_dim), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.save(finished(model, {"stage": "projection"}), folder / PROJECTION_FILE)
    facts = ProjectionInfo(
        graph=graph_facts(folder / PROJECTION_FILE),
        input_dim=manifest.embedding_dim,
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
