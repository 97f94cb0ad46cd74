"""What every graph of a bundle has in common: one opset, metadata that say what it is, and facts read back from the file.

Needs onnx only, not torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto

from claprt.bundle.digests import sha256_of
from claprt.bundle.graphs import GraphInfo, TensorSpec
from claprt_export.errors import ExportError

OPSET = 20
"""Opset of every graph: the newest that TensorRT 10 parses whole, and the first with Gelu."""

IR_VERSION = 10
"""Version of the ONNX file format, which onnxruntime 1.18 and later read."""

_DTYPES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64", TensorProto.BOOL: "bool"}


def finished(model: onnx.ModelProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The same graph without traces of where it was made, with metadata, and checked.

    Raises:
        ExportError: onnx's checker finds it invalid.
    """
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "claprt", metadata.get("claprt", "")
    model.doc_string = model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info,
                 *model.graph.initializer):  # fmt: skip
        part.doc_string = ""
        del part.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    del model.functions[:]
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=f"claprt.{key}", value=value)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"The exported graph {model.graph.name!r} is not valid ONNX: {error}") from error
    return model


def graph_facts(path: Path) -> GraphInfo:
    """What the manifest says of a written graph, read back from the file itself."""
    model = onnx.load(path, load_external_data=False)
    return GraphInfo(
        file=path.name,
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        inputs=tuple(map(_tensor_facts, model.graph.input)),
        outputs=tuple(map(_tensor_facts, model.graph.output)),
    )


def _tensor_facts(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(axis.dim_param or axis.dim_value for axis in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=_DTYPES[tensor.elem_type], shape=shape)
