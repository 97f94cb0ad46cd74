"""TensorRT engines from a bundle's graphs, and what can be said about them where TensorRT is not installed.

An engine belongs to one TensorRT version and one kind of GPU, so it is built where it will run and never part of a bundle.
Its shape profile is derived from the manifest. Precision is the graph's own: TensorRT 11 has no builder flag for it any
more, and TensorRT 10 is asked for strong typing, so an fp32 graph gives an fp32 engine (with TF32 switched off) and an fp16
graph, whose float32 islands stand in the graph, an fp16 one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from claprt.bundle.folder import Bundle, read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.tensorrt import shape_profile
from claprt.errors import ClaprtError, MissingDependencyError
from claprt_export.errors import ExportError
from claprt_export.graphs.tensorrt_operators import CONSTANT_INPUTS, FLOATS_ONLY, OPERATORS, OPSETS

DEFAULT_MAX_BATCH, TEXT_MAX_BATCH = 64, 256
_INTEGERS = (TensorProto.INT32, TensorProto.INT64)


def objections(model: onnx.ModelProto) -> list[str]:
    """What TensorRT's parser would not take of a graph, by its published list; empty if nothing.

    float64 is no objection: the parser demotes it to float32.
    """
    found = [
        f"opset {entry.version} of domain {entry.domain or 'ai.onnx'!r} is outside {OPSETS.start} to {OPSETS.stop - 1}"
        for entry in model.opset_import
        if entry.domain or entry.version not in OPSETS
    ]
    constants = {initializer.name for initializer in model.graph.initializer}
    types = _types(model)
    for node in model.graph.node:
        found.extend(_node_objections(node, constants, types))
    return found


def _node_objections(node: onnx.NodeProto, constants: set[str], types: dict[str, int]) -> Iterator[str]:
    if node.op_type not in OPERATORS:
        yield f"{node.name}: operator {node.op_type} is not supported"
    if node.op_type in FLOATS_ONLY and types.get(node.input[0]) in _INTEGERS:
        yield f"{node.name}: {node.op_type} of integers is not supported"
    for position in CONSTANT_INPUTS.get(node.op_type, ()):
        if len(node.input) > position and node.input[position] and node.input[position] not in constants:
            yield f"{node.name}: input {position} of {node.op_type} must be a constant"


def _types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {initializer.name: initializer.data_type for initializer in model.graph.initializer}


def build_engine(
    bundle: Bundle, stage: Stage, out: Path, *, precision: Precision = Precision.FP32, max_batch: int = DEFAULT_MAX_BATCH
) -> None:
    """Build the TensorRT engine of one graph and write it to `out`.

    Args:
        bundle: holds the graph.
        stage: which graph.
        out: file of the engine.
        precision: of the graph.
        max_batch: largest batch that the engine takes.

    Raises:
        MissingDependencyError: If TensorRT is not installed.
        ExportError: If the parser does not take the graph, or no engine could be built.
    """
    tensorrt = _tensorrt()
    facts = bundle.manifest.graph(stage, precision)
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    # types as they stand in the graph: TensorRT 11 knows nothing else, 10 has to be asked
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(bundle.graph_path(stage, precision))):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"TensorRT's parser does not take {facts.file}: {errors}")
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    for name, bounds in shape_profile(facts, max_batch=max_batch, max_tokens=bundle.manifest.text.max_tokens).items():
        shapes.set_shape(name, *bounds)
    config.add_optimization_profile(shapes)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT built no engine from {facts.file}; its log says why.")
    out.write_bytes(bytes(engine))


def _tensorrt() -> Any:
    try:
        import tensorrt  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError(
            "TensorRT is not installed; on the machine with the GPU, install it with: pip install tensorrt"
        ) from error
    return tensorrt


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m claprt_export.graphs.tensorrt BUNDLE --out FOLDER`: engines of all three graphs; `--check` only checks."""
    parser = argparse.ArgumentParser(prog="python -m claprt_export.graphs.tensorrt", description=main.__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, help="folder for the engines")
    parser.add_argument("--precision", type=Precision, default=Precision.FP32)
    parser.add_argument("--max-batch", type=int, help="largest batch (64; texts 256), which the server's must not exceed")
    parser.add_argument("--check", action="store_true", help="compare the graphs with the parser's published list only")
    options = parser.parse_args(arguments)
    try:
        bundle = read_bundle(options.bundle)
        if options.check or options.out is None:
            return _check(bundle, options.precision)
        _tensorrt()
        options.out.mkdir(parents=True, exist_ok=True)
        for stage in Stage:
            target = options.out / f"{stage}.{options.precision}.plan"
            max_batch = options.max_batch or (TEXT_MAX_BATCH if stage is Stage.TEXT else DEFAULT_MAX_BATCH)
            build_engine(bundle, stage, target, precision=options.precision, max_batch=max_batch)
            print(target)
    except ClaprtError as error:
        print(f"to_tensorrt: {error}", file=sys.stderr)
        return 1
    return 0


def _check(bundle: Bundle, precision: Precision) -> int:
    status = 0
    for stage in Stage:
        path = bundle.graph_path(stage, precision)
        found = objections(onnx.load(path))
        status |= bool(found)
        print(f"{path.name}: {'; '.join(found) or 'nothing that the parser would not take'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
