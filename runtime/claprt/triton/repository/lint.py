"""What must agree in a model repository, checked without a server: configurations, graphs, manifest and each other.

Every finding is one sentence that begins with the file it is about. Nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from claprt.bundle.graphs import GraphInfo, Precision, Stage, TensorSpec
from claprt.bundle.manifest import Manifest
from claprt.engines.tensorrt import parse_profile, shape_profile
from claprt.errors import ClaprtError, MissingDependencyError
from claprt.system.extras import install_hint
from claprt.triton.repository.ensembles import Dims, ensemble, fit
from claprt.triton.repository.onnx_versions import onnx_versions

STAGES = {"log_mel": Stage.LOG_MEL, "audio_tower": Stage.AUDIO, "text_tower": Stage.TEXT}
"""Models that are graphs of the bundle."""

ENGINE_CACHE = "tensorrt-cache"
"""Folder of compiled engines in the committed configurations; a built one ends in the graph's digest, because
onnxruntime's name of an engine does not depend on weights."""

TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64", "bool": "TYPE_BOOL"}
_FILES = {"python": "model.py", "onnxruntime": "model.onnx", "tensorrt_plan": "model.plan"}
_LONGEST_DELAY_US = 500
_BASIC = -1
"""Triton's name of onnxruntime's basic optimisations, without fusions."""
_WITHOUT_GPU = ("cpu", "python")
_LIMITS = (("decode", "max_windows", "audio_tower"), ("tokenizer", "max_texts", "text_tower"))

LARGEST_IR, LARGEST_OPSETS = 10, {"": 21, "com.microsoft": 1}
"""What the onnxruntime of Triton 24.12, 1.20.1, reads: the oldest container whose Python `claprt` runs on."""


class RepositoryError(ClaprtError, ValueError):
    """A model repository and its bundle do not agree."""


def config_files(model: Path) -> list[Path]:
    """All configurations of a model: the default one first, then those that a server can be told to read."""
    return [model / "config.pbtxt", *sorted((model / "configs").glob("*.pbtxt"))]


def read_config(path: Path) -> Any:
    """A configuration as Triton's own message.

    Raises:
        RepositoryError: it is not one.
        MissingDependencyError: tritonclient, which brings the message, is not installed.
    """
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2 as messages
    except ImportError as error:
        raise MissingDependencyError(f"tritonclient is not installed: {install_hint('triton')}.") from error
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), getattr(messages, "ModelConfig")())  # noqa: B009 - made at runtime, which type checkers cannot see
    except (text_format.ParseError, UnicodeDecodeError, OSError) as error:
        raise RepositoryError(f"{path.parent.name}/{path.name} is not a model configuration: {error}") from error


def check(folder: Path, manifest: Manifest, precision: Precision) -> list[str]:
    """Everything in the repository that does not agree; empty if all does.

    Raises:
        RepositoryError: a configuration cannot be parsed at all.
    """
    models = {path.parent.name: path.parent for path in sorted(folder.glob("*/config.pbtxt"))}
    default = {name: read_config(model / "config.pbtxt") for name, model in models.items()}
    found = [f"{name}: the repository has no such model" for name in STAGES if name not in models]
    for name, model in models.items():
        for path in config_files(model):
            config = read_config(path)
            where = f"{name}/{path.relative_to(model)}"
            rules = (
                _named(name, config),
                _interfaces_agree(config, default[name]),
                _served(model, config),
                _sizes(config, manifest),
                _without_gpu(path, config),
                _relative(config),
                _batched(config),
                _warm(config),
                _graph(name, config, manifest, precision) if name in STAGES else (),
                ensemble(config, default) if config.platform == "ensemble" else (),
            )
            found += [f"{where}: {finding}" for rule in rules for finding in rule]
    return [*found, *_files(models, manifest, precision), *_limits(default)]


def _named(name: str, config: Any) -> Iterator[str]:
    if config.name != name:
        yield f"name is {config.name!r}, and the folder {name!r}"
    if not config.HasField("version_policy"):
        yield "there is no version_policy"
    if config.response_cache.enable and config.model_transaction_policy.decoupled:
        yield "a decoupled model cannot be cached"
    if config.response_cache.enable and len(config.output) > 1:
        yield "the cache does not tell requests for different outputs apart"


def tensors(config: Any) -> dict[str, tuple[str, Dims]]:
    """Inputs and outputs of a configuration by name, with Triton's name of the type, and dims without the batch."""
    descriptor: Any = type(config).DESCRIPTOR
    kinds = descriptor.fields_by_name["input"].message_type.fields_by_name["data_type"].enum_type.values_by_number
    return {tensor.name: (kinds[tensor.data_type].name, tuple(tensor.dims)) for tensor in (*config.input, *config.output)}


def _interfaces_agree(config: Any, default: Any) -> Iterator[str]:
    if tensors(config) != tensors(default) or config.max_batch_size != default.max_batch_size:
        yield "inputs, outputs or max_batch_size are not those of config.pbtxt"


def _served(model: Path, config: Any) -> Iterator[str]:
    needed = _FILES.get(config.backend or config.platform)
    versions = [path for path in model.iterdir() if path.name.isdigit()]
    if not versions:
        yield "the model has no version folder"
    if config.platform != "ensemble" and needed is None:
        yield f"backend {config.backend or config.platform!r} is none of {', '.join(_FILES)}"
    yield from (f"version {path.name} has no {needed}" for path in versions if needed and not (path / needed).is_file())


def _sizes(config: Any, manifest: Manifest) -> Iterator[str]:
    """Dims that every model shares: windows of so many samples, vectors of so many numbers."""
    shared = {"waveforms": manifest.audio.window_samples, "audio_embeddings": manifest.embedding_dim}
    shared |= {"text_embeddings": manifest.embedding_dim, "window_embeddings": manifest.embedding_dim}
    for name, (_, dims) in tensors(config).items():
        if name in shared and dims[-1:] != (shared[name],):
            yield f"{name} has dims {list(dims)}, and the bundle {shared[name]}"


def _without_gpu(path: Path, config: Any) -> Iterator[str]:
    if path.stem not in _WITHOUT_GPU:
        return
    if config.optimization.execution_accelerators.gpu_execution_accelerator:
        yield "there is a GPU accelerator"
    for group in config.instance_group:
        if group.kind == group.KIND_GPU or group.gpus:
            yield "an instance wants a GPU"
    if config.platform != "ensemble" and not config.instance_group:
        yield "no instance_group says that it runs on the CPU"


def _relative(config: Any) -> Iterator[str]:
    values = [(key, value.string_value) for key, value in config.parameters.items()]
    for accelerator in _accelerators(config):
        values += accelerator.parameters.items()
    yield from (f"{key} is the absolute path {value}" for key, value in values if value.startswith("/"))


def _accelerators(config: Any) -> list[Any]:
    found = config.optimization.execution_accelerators
    return [*found.gpu_execution_accelerator, *found.cpu_execution_accelerator]


def _batched(config: Any) -> Iterator[str]:
    if config.platform == "ensemble":
        return
    batching = config.dynamic_batching
    if config.max_batch_size > 0 and not config.HasField("dynamic_batching"):
        yield "batches are possible, and there is no dynamic_batching"
    if batching.max_queue_delay_microseconds > _LONGEST_DELAY_US:
        yield f"a lone request would wait longer than {_LONGEST_DELAY_US} µs for company"
    policy = batching.default_queue_policy
    rejects = (
        policy.max_queue_size > 0 and policy.default_timeout_microseconds > 0 and policy.timeout_action == policy.REJECT
    )
    if batching.HasField("default_queue_policy") and not rejects:
        yield "there is a queue policy that does not reject what is too much and what waits too long"


def _warm(config: Any) -> Iterator[str]:
    inputs = {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in config.input}
    for warmup in config.model_warmup:
        if warmup.batch_size > max(1, config.max_batch_size):
            yield f"warm-up {warmup.name!r} has a batch of {warmup.batch_size}, the model takes {config.max_batch_size}"
        given = {name: (tensor.data_type, tuple(tensor.dims)) for name, tensor in warmup.inputs.items()}
        if given.keys() != inputs.keys():
            yield f"warm-up {warmup.name!r} gives {sorted(given)}, the model takes {sorted(inputs)}"
            continue
        for name, (kind, dims) in given.items():
            if kind != inputs[name][0] or not fit(dims, inputs[name][1]):
                yield f"warm-up {warmup.name!r} gives {name} with other dims or another type than the model takes"


def _graph(name: str, config: Any, manifest: Manifest, precision: Precision) -> Iterator[str]:
    facts = manifest.graph(STAGES[name], precision)
    for kind, stated, listed in (("input", facts.inputs, config.input), ("output", facts.outputs, config.output)):
        have = {tensor.name: tensors(config)[tensor.name] for tensor in listed}
        want = {tensor.name: (TYPES[tensor.dtype], _dims(tensor)) for tensor in stated}
        if have != want:
            yield f"{kind}s are {have}, the graph's {want}"
    if STAGES[name] is Stage.LOG_MEL and config.backend == "onnxruntime" and config.optimization.graph.level != _BASIC:
        yield f"onnxruntime up to 1.25 cannot run the fused float64 products of this graph: its level must be {_BASIC}"
    if config.max_batch_size < 1:
        yield "max_batch_size must be 1 or more: the graph's batch is dynamic"
    for accelerator in _accelerators(config):
        caches = {accelerator.parameters.get(f"trt_{kind}_cache_path") for kind in ("engine", "timing")}
        if caches != {f"{ENGINE_CACHE}-{facts.sha256[:12]}"}:
            yield f"engines are kept in {sorted(map(str, caches))}, where those of another checkpoint may lie"
        yield from _profiles(dict(accelerator.parameters), facts, config.max_batch_size, manifest.text.max_tokens)


def _dims(tensor: TensorSpec) -> Dims:
    """Dims as Triton has them: without the batch, -1 where the length is dynamic."""
    return tuple(axis if isinstance(axis, int) else -1 for axis in tensor.shape[1:])


def _profiles(options: Mapping[str, str], facts: GraphInfo, max_batch: int, max_tokens: int) -> Iterator[str]:
    """TensorRT's shapes: all inputs, the graph's own dims, from one row to the largest batch."""
    found = parse_profile(options)
    largest = {name: shapes[2] for name, shapes in shape_profile(facts, max_batch=max_batch, max_tokens=max_tokens).items()}
    for tensor in facts.inputs:
        shapes = least, usual, most = found.pop(tensor.name, ((), (), ()))
        if most != largest[tensor.name]:
            yield f"TensorRT's largest {tensor.name} is {list(most)}, and should be {list(largest[tensor.name])}"
        elif least[:1] != (1,) or not all(
            fit(dims[1:], _dims(tensor)) and all(a <= b for a, b in zip(dims, most, strict=True)) for dims in shapes
        ):
            yield f"TensorRT's shapes of {tensor.name}, {[list(dims) for dims in shapes]}, do not fit {list(tensor.shape)}"
        elif any(a > b for a, b in zip(least, usual, strict=True)):
            yield f"TensorRT's usual {tensor.name} is smaller than its smallest"
    for name in found:
        yield f"TensorRT's shapes name {name}, which the graph does not take"


def _files(models: Mapping[str, Path], manifest: Manifest, precision: Precision) -> Iterator[str]:
    for name, stage in STAGES.items():
        facts = manifest.graph(stage, precision)
        for path in sorted(models[name].glob("*/model.onnx")) if name in models else ():
            where = f"{name}/{path.parent.name}/model.onnx"
            yield from (f"{where} {finding}" for finding in _readable(path))
            size = path.stat().st_size
            if path.with_name(facts.file).exists() and size != facts.bytes:
                yield f"{where} has {size} bytes, and the manifest says {facts.bytes}"


def _readable(path: Path) -> Iterator[str]:
    """Whether the onnxruntime of the oldest server knows what the graph is written in."""
    try:
        ir_version, opsets = onnx_versions(path)
    except ValueError as error:
        yield f"cannot be read: {error}"
        return
    if ir_version > LARGEST_IR:
        yield f"is of ONNX's file format {ir_version}, and servers read up to {LARGEST_IR}"
    for domain, version in opsets.items():
        if version > LARGEST_OPSETS.get(domain, 0):
            known = LARGEST_OPSETS.get(domain, "none")
            yield f"has operators of {domain or 'ONNX'} {version}, and servers know {known}"


def _limits(models: Mapping[str, Any]) -> Iterator[str]:
    for name, limit, tower in _LIMITS:
        if name in models and tower in models:
            stated = models[name].parameters[limit].string_value
            if not stated.isdigit() or int(stated) > models[tower].max_batch_size:
                yield f"{name}/config.pbtxt: {limit} is {stated!r}, and {tower} takes {models[tower].max_batch_size}"
