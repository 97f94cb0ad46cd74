"""TensorRT engines from a bundle's graphs, and what TensorRT's parser says of them.

An engine of TensorRT belongs to one version and one kind of GPU, so it is built where it will run and never part of a
bundle. (Those of TensorRT-RTX, `claprt_export.graphs.tensorrt_rtx`, are built ahead of time.) Its shape profile is derived
from the manifest. Precision is the graph's own: TensorRT 11 has no builder flag for it any more, and TensorRT 10 and
TensorRT-RTX are asked for strong typing, so an fp32 graph gives an fp32 engine (with TF32 switched off) and an fp16 graph,
whose float32 islands stand in the graph, an fp16 one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from claprt.bundle.folder import Bundle, read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.tensorrt import Shapes, error_log, shape_profile
from claprt.errors import ClaprtError, MissingDependencyError
from claprt.system.extras import install_hint
from claprt_export.errors import ExportError

DEFAULT_MAX_BATCH, TEXT_MAX_BATCH = 64, 256
_QUOTED = 3
"""Errors of the parser and lines of the log that a message quotes at most."""


@dataclass(frozen=True, slots=True)
class Network:
    """A graph as TensorRT has read it. The parser and the log stay alive with the network."""

    tensorrt: Any
    builder: Any
    network: Any
    parser: Any
    log: Any

    @property
    def errors(self) -> list[str]:
        """What TensorRT has logged as errors."""
        return self.log.errors


def new_network(tensorrt: Any) -> Network:
    """An empty strongly typed network of the module `tensorrt` or `tensorrt_rtx`, and its parser."""
    log = error_log(tensorrt)
    builder = tensorrt.Builder(log)
    # types as they stand in the graph: TensorRT 11 knows nothing else, 10 has to be asked
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    return Network(tensorrt, builder, network, tensorrt.OnnxParser(network, log), log)


def parser_errors(parser: Any) -> list[str]:
    """What a parser refuses: each node by name, with its operator and the reason."""
    return [_sentence(parser.get_error(index)) for index in range(parser.num_errors)]


def _sentence(error: Any) -> str:
    reason = " ".join(error.desc().split())
    return f"node {error.node_name()}, operator {error.node_operator()}: {reason}" if error.node_operator() else reason


def read_graph(tensorrt: Any, path: str, file: str) -> Network:
    """A graph as the module `tensorrt` or `tensorrt_rtx` reads it.

    Args:
        tensorrt: the module.
        path: of the graph.
        file: name of the graph in messages.

    Raises:
        ExportError: If the parser does not take it; the message names node, operator and reason.
    """
    found = new_network(tensorrt)
    if not found.parser.parse_from_file(path):
        raise ExportError(
            f"{_name(tensorrt)}'s parser does not take {file}: {'; '.join(parser_errors(found.parser)[:_QUOTED])}"
        )
    return found


def serialized(found: Network, file: str, shapes: Mapping[str, Shapes], cards: Sequence[Any] = ()) -> Any:
    """The engine of a network, as TensorRT's own buffer.

    Args:
        found: the network.
        file: name of its graph in messages.
        shapes: smallest, usual and largest shape of each input.
        cards: members of `ComputeCapability` that TensorRT-RTX builds for; none for the GPU that is there.

    Raises:
        ExportError: If no engine could be built; the message quotes TensorRT's log.
    """
    tensorrt, builder = found.tensorrt, found.builder
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if cards:
        config.num_compute_capabilities = len(cards)
        for index, card in enumerate(cards):
            config.set_compute_capability(card, index)
    profile = builder.create_optimization_profile()
    for name, bounds in shapes.items():
        profile.set_shape(name, *bounds)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(found.network, config)
    if engine is None:
        log = "; ".join(found.errors[:_QUOTED]) or "its log says nothing"
        raise ExportError(f"{_name(tensorrt)} built no engine from {file}: {log}")
    return engine


def objections(model: onnx.ModelProto) -> list[str]:
    """What TensorRT's parser does not take of a graph, each by node, operator and reason; empty if it takes all.

    float64 is no objection: the parser demotes it to float32.

    Raises:
        MissingDependencyError: If neither TensorRT nor TensorRT-RTX is installed, whose parser could say.
    """
    return _objections(_any_parser(), model)


def _objections(tensorrt: Any, model: onnx.ModelProto) -> list[str]:
    found = new_network(tensorrt)
    if found.parser.parse(model.SerializeToString()):
        return []
    return parser_errors(found.parser) or found.errors[:_QUOTED] or ["the parser gives no reason"]


def build_engine(
    bundle: Bundle, stage: Stage, out: Path, *, precision: Precision = Precision.FP32, max_batch: int = DEFAULT_MAX_BATCH
) -> None:
    """Build the TensorRT engine of one graph for the GPU of this machine and write it to `out`.

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
    facts = bundle.manifest.graph(stage, precision)
    found = read_graph(_tensorrt(), str(bundle.graph_path(stage, precision)), facts.file)
    shapes = shape_profile(facts, max_batch=max_batch, max_tokens=bundle.manifest.text.max_tokens)
    out.write_bytes(serialized(found, facts.file, shapes))


def _name(tensorrt: Any) -> str:
    product = "TensorRT-RTX" if tensorrt.__name__ == "tensorrt_rtx" else "TensorRT"
    return f"{product} {tensorrt.__version__}"


def _tensorrt() -> Any:
    try:
        import tensorrt  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError(
            "TensorRT is not installed; on the machine with the GPU, install it with: pip install tensorrt"
        ) from error
    return tensorrt


def tensorrt_rtx() -> Any:
    """The module `tensorrt_rtx`.

    Raises:
        MissingDependencyError: If TensorRT-RTX is not installed.
    """
    try:
        import tensorrt_rtx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError(
            f"TensorRT-RTX is not installed; it comes with the extra tensorrt-rtx, for Linux and Windows: "
            f"{install_hint('tensorrt-rtx')}"
        ) from error
    return tensorrt_rtx


def _any_parser() -> Any:
    """TensorRT's module or, where that is missing, TensorRT-RTX's, which has the same parser and needs no GPU.

    Raises:
        MissingDependencyError: If neither is installed.
    """
    try:
        return _tensorrt()
    except MissingDependencyError:
        return tensorrt_rtx()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m claprt_export.graphs.tensorrt BUNDLE --out FOLDER`: engines of all three graphs; `--check` only checks."""
    parser = argparse.ArgumentParser(prog="python -m claprt_export.graphs.tensorrt", description=main.__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, help="folder for the engines")
    parser.add_argument("--precision", type=Precision, default=Precision.FP32)
    parser.add_argument("--max-batch", type=int, help="largest batch (64; texts 256), which the server's must not exceed")
    parser.add_argument(
        "--check", action="store_true", help="ask the parser of TensorRT, or else of TensorRT-RTX, and build nothing"
    )
    options = parser.parse_args(arguments)
    try:
        bundle = read_bundle(options.bundle)
        if options.check or options.out is None:
            return _check(bundle, options.precision)
        _tensorrt()
        options.out.mkdir(parents=True, exist_ok=True)
        for stage in Stage:
            target = options.out / f"{stage}.{options.precision}.plan"
            build_engine(
                bundle, stage, target, precision=options.precision, max_batch=options.max_batch or largest_batch(stage)
            )
            print(target)
    except ClaprtError as error:
        print(f"to_tensorrt: {error}", file=sys.stderr)
        return 1
    return 0


def largest_batch(stage: Stage) -> int:
    """Largest batch that engines of a stage are built for, unless another is asked for."""
    return TEXT_MAX_BATCH if stage is Stage.TEXT else DEFAULT_MAX_BATCH


def _check(bundle: Bundle, precision: Precision) -> int:
    tensorrt = _any_parser()
    status = 0
    for line, refused in _verdicts(tensorrt, bundle, precision):
        status |= refused
        print(line)
    return status


def _verdicts(tensorrt: Any, bundle: Bundle, precision: Precision) -> Iterator[tuple[str, bool]]:
    for stage in Stage:
        path = bundle.graph_path(stage, precision)
        found = _objections(tensorrt, onnx.load(path))
        yield f"{path.name}: {'; '.join(found) or f'taken whole by the parser of {_name(tensorrt)}'}", bool(found)


if __name__ == "__main__":
    sys.exit(main())
