"""The network as an ONNX graph, written node by node and run against torch before it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import claprt
from claprt.bundle.graphs import PROJECTION_INPUT, PROJECTION_OUTPUT, ParityReport, Precision, ProjectionInfo
from claprt_export.errors import ParityError
from claprt_export.graphs.onnx_metadata import OPSET, finished, graph_facts
from claprt_export.parity import BATCHES, Graph
from claprt_export.projection.network import ProjectionNetwork, StoredProjection

TOLERANCE = 1e-5
"""Largest difference of a descriptor from torch's. The same float32 sums in another order leave 1e-7; a cell of an archive
with a thousand cells along each axis is a hundred times as wide as this."""

_OPERATORS: MappingProxyType[type[nn.Module], str] = MappingProxyType(
    {nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.LeakyReLU: "LeakyRelu", nn.Sigmoid: "Sigmoid"}
)


def projection_graph(network: ProjectionNetwork) -> onnx.ModelProto:
    """`embeddings` to `behavior_descriptors`, the batch dynamic; dropout does nothing here and is left out."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    flow = PROJECTION_INPUT
    for number, layer in network.net.named_children():
        if isinstance(layer, nn.Dropout):
            continue
        before, flow = flow, PROJECTION_OUTPUT if isinstance(layer, nn.Sigmoid) else f"net.{number}"
        if isinstance(layer, nn.Linear):
            names = [f"net.{number}.weight", f"net.{number}.bias"]
            tensors = (layer.weight, layer.bias)
            constants += [
                numpy_helper.from_array(tensor.detach().numpy(), name) for tensor, name in zip(tensors, names, strict=True)
            ]
            nodes.append(helper.make_node("Gemm", [before, *names], [flow], transB=1))
        else:
            nodes.append(helper.make_node(_OPERATORS[type(layer)], [before], [flow]))
    graph = helper.make_graph(
        nodes,
        "projection",
        [helper.make_tensor_value_info(PROJECTION_INPUT, TensorProto.FLOAT, ["batch", network.config.input_dim])],
        [helper.make_tensor_value_info(PROJECTION_OUTPUT, TensorProto.FLOAT, ["batch", network.config.output_dim])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def write_graph(stored: StoredProjection, path: Path, file: str) -> ProjectionInfo:
    """Write the graph to `path`, check it there, and give what a manifest says of it under the name `file`.

    Raises:
        ParityError: it does not compute what torch does; the file is then not to be used.
    """
    metadata = {
        "claprt": claprt.__version__,
        "stage": "projection",
        "checkpoint": stored.name,
        "checkpoint_sha256": stored.sha256,
        "activation": stored.network.config.activation,
    }
    onnx.save(finished(projection_graph(stored.network), metadata), path)
    return ProjectionInfo(
        graph=replace(graph_facts(path), file=file),
        input_dim=stored.network.config.input_dim,
        output_dim=stored.network.config.output_dim,
        activation=stored.network.config.activation,
        source=stored.name,
        source_sha256=stored.sha256,
        parity=check_projection(path, stored.network),
    )


@torch.inference_mode()
def check_projection(path: Path, network: ProjectionNetwork) -> ParityReport:
    """Hold a written graph against its network on random and extreme inputs, in batches of every size.

    Raises:
        ParityError: it is further away than `TOLERANCE`.
    """
    inputs = _inputs(network.config.input_dim)
    expected = network(torch.from_numpy(inputs)).numpy()
    graph = Graph(path)
    worst = 0.0
    for size in (*BATCHES, len(inputs)):
        for start in range(0, len(inputs), size):
            found = graph({PROJECTION_INPUT: inputs[start : start + size]})
            worst = max(worst, float(np.abs(found - expected[start : start + size]).max()))
    if not worst <= TOLERANCE:  # NaN is not
        raise ParityError(
            f"The projection's graph differs from torch by up to {worst:.3g} (allowed {TOLERANCE:g}) over {len(inputs)} "
            "inputs; nothing was written."
        )
    return ParityReport(
        graph="projection",
        precision=Precision.FP32,
        against="torch network",
        cases=len(inputs),
        max_abs=worst,
        max_abs_limit=TOLERANCE,
    )


def _inputs(dim: int) -> NDArray[np.float32]:
    """Unit vectors, some of them nearly alike, single axes, nothing at all, and vectors that are much too short or long."""
    random = np.random.default_rng(2)
    unit = random.standard_normal((64, dim))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    alike = unit[:1] + 1e-4 * random.standard_normal((8, dim))
    axes = np.eye(dim)[:: max(1, dim // 8)]
    flat = np.full((1, dim), dim**-0.5)
    rows = [unit, alike, axes, -axes, flat, -flat, np.zeros((1, dim)), 1e-20 * unit[:4], 10 * unit[:4]]
    return np.concatenate(rows).astype(np.float32)
