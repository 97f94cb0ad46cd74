"""Graphs on OpenVINO's own runtime; beside `openvino_single`, which changes them for it, the only module that imports it.

onnxruntime has a plugin for OpenVINO as well. It offers no device on processors that are not Intel's, where OpenVINO
itself runs and is the fastest there is, and the same graph compiles to the same code either way: so OpenVINO is asked
directly. It computes in bfloat16 of its own accord where the processor can, so fp32 is asked for where fp32 is meant.

An audio tower whose form for one row was found right when it was exported (`claprt.bundle.engine_forms.SingleForm`) is run
in that form alone, row by row. That takes a tenth to a quarter less processor time for one sound, and for many too, since a
batch gains a few percent at most here (benchmarks/LOG.md). One session gives a sound the same vector alone and in a batch,
to the bit; another one, with other threads, may sum in another order.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from claprt.arrays import Array
from claprt.bundle.digests import unchanged_file
from claprt.bundle.graphs import Precision, TensorSpec
from claprt.bundle.onnx_file import check_self_contained
from claprt.engines.hardware import cpu_features, cpu_identity
from claprt.engines.onnxruntime_session import Load
from claprt.engines.openvino_single import form_digest, to_single_form
from claprt.errors import BundleCorruptError, ProviderError
from claprt.system.foreign_errors import describe_error
from claprt.system.forks import never_end

if TYPE_CHECKING:
    import openvino

_BLOB = "single.blob"
_DTYPES = {"f32": "float32", "i64": "int64", "boolean": "bool"}


class OpenVinoSession:
    """A graph compiled by OpenVINO for the CPU."""

    def __init__(self, load: Load, precision: Precision, *, streams: int = 1) -> None:
        """Compile the graph, or takes what an earlier process compiled.

        Args:
            load: What to load.
            precision: `fp32`; `bf16` for products of bfloat16; `int8` for what the graph says, the rest in bf16 where the
                processor can.
            streams: Calls that are computed at the same time, sharing the threads.

        Raises:
            BundleCorruptError: If the graph cannot be loaded, or is not what the manifest says.
            ProviderError: If OpenVINO does not compute in bf16 here, or was used before a fork.
        """
        options = {
            "INFERENCE_PRECISION_HINT": openvino_arithmetic(precision),
            "INFERENCE_NUM_THREADS": load.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if streams > 1:
            options |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
        self._single = load.single
        self._requests = threading.local()
        # what weights are mapped from comes last: attributes end in this order, and nothing may read it after its end
        self._model, self._mapped = _compiled(load, options)
        _check_interface(load, self._model)
        if precision is Precision.BF16 and self._model.get_property("INFERENCE_PRECISION_HINT").to_string() != "bf16":
            raise ProviderError(f"{load.path.name}: bf16 was asked for, and OpenVINO does not compute in it here.")

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """The graph's one output. May be called from several threads; each has a request of its own.

        Computed in a thread of OpenVINO's: a thread that has computed in OpenVINO itself keeps something of it that ends
        with the thread, and the child of a fork would wait there, at its own end, for threads that only its parent has.
        """
        if not self._single:
            return self._run(feeds)
        rows = range(len(next(iter(feeds.values()))))
        return np.concatenate([self._run({name: array[row : row + 1] for name, array in feeds.items()}) for row in rows])

    def _run(self, feeds: Mapping[str, Array]) -> Array:
        request: openvino.InferRequest | None = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._model.create_infer_request()
        try:
            request.start_async(dict(feeds), share_inputs=True)
            request.wait()
        except BaseException:
            del self._requests.request  # interrupted, it may be at work still, and would be busy for the next call
            raise
        return np.array(request.get_output_tensor(0).data)

    def forget_after_fork(self) -> None:
        """Forget the model without ending it."""
        never_end(self._model, self._requests, self._mapped)


_used_by: list[int] = []
"""The process that first used OpenVINO."""


def _check_not_forked() -> None:
    """Refuse OpenVINO in the child of a fork, where it would wait for ever for the parent's threads.

    Raises:
        ProviderError: If OpenVINO was used before the fork.
    """
    if not _used_by:
        _used_by.append(os.getpid())
    elif _used_by[0] != os.getpid():
        raise ProviderError(
            "OpenVINO was used before this process was forked, and cannot be used after that. Start processes with the "
            'spawn method (multiprocessing.get_context("spawn")), fork before loading, or use provider="cpu".'
        )


def _compiled(load: Load, options: dict[str, Any]) -> tuple[openvino.CompiledModel, Array | None]:
    """The model, and what must not end before it.

    Raises:
        BundleCorruptError: If the graph cannot be loaded.
        OSError: As the next two not to the caller: what is wrong with a prepared graph, which is then compiled anew.
        RuntimeError: As before.
        ValueError: As before.
    """
    import openvino

    _check_not_forked()
    core = openvino.Core()

    def compiled(folder: Path | None) -> tuple[openvino.CompiledModel, Array | None]:
        if load.single and folder is not None:
            return _imported(core, folder, options)
        if load.single:
            return _compiled_single(core, load.path, options), None
        kept = {} if folder is None else {"CACHE_DIR": str(folder)}
        return core.compile_model(str(load.path), "CPU", {**options, **kept}), None

    def prepare(folder: Path) -> None:
        try:
            with unchanged_file(load.path, load.facts.sha256, by_descriptor=False):
                check_self_contained(load.path)
                if load.single:
                    (folder / _BLOB).write_bytes(_compiled_single(core, load.path, options).export_model().getbuffer())
                else:
                    compiled(folder)
        except (RuntimeError, ValueError) as error:
            raise OSError(f"{load.path} cannot be prepared: {error}") from error

    key = {
        "graph": load.facts.sha256,
        "path": str(load.path.resolve()),  # OpenVINO's own key for a blob holds the path
        "runtime": f"openvino {openvino_version()}",
        "options": repr(sorted(options.items())),
        "cpu": cpu_identity(),
    }
    if load.single:
        key["form"] = form_digest()
    entry = None if load.cache is None else load.cache.entry(key, prepare)
    try:
        with unchanged_file(load.path, load.facts.sha256 if load.verified else None, by_descriptor=False):
            try:
                return compiled(entry)
            except (OSError, RuntimeError, ValueError):  # an entry may be gone by now, empty, or not OpenVINO's
                if entry is None:
                    raise
                return compiled(None)
    except BundleCorruptError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise BundleCorruptError(f"{load.path} cannot be loaded: {describe_error(error)}") from error


def _compiled_single(core: openvino.Core, path: Path, options: dict[str, Any]) -> openvino.CompiledModel:
    model = core.read_model(str(path))
    to_single_form(model)
    return core.compile_model(model, "CPU", options)


def _imported(core: openvino.Core, folder: Path, options: dict[str, Any]) -> tuple[openvino.CompiledModel, Array | None]:
    """What `_compiled_single` gave, from the file that it was exported to; the file is mapped where OpenVINO can do that.

    `CACHE_DIR` would keep it as well, and read and change the graph each time to find out which file is its own.
    """
    import openvino

    mapped = np.memmap(folder / _BLOB, np.uint8, mode="c")  # a tensor wants what can be written to
    try:
        return core.import_model(openvino.Tensor(mapped, shared_memory=True), "CPU", options), mapped
    except TypeError:  # before 2025.3 it took bytes, and copied them
        return core.import_model(bytes(mapped), "CPU", options), None


def openvino_arithmetic(precision: Precision) -> str:
    """What OpenVINO is asked to compute in on this processor where a graph leaves it open: `bf16` or `f32`."""
    lowered = precision is Precision.BF16 or (precision is Precision.INT8 and "bf16" in cpu_features())
    return "bf16" if lowered else "f32"


def openvino_name() -> str:
    """Name and version of the installed OpenVINO, as bundles state it."""
    return f"openvino {openvino_version()}"


def openvino_version() -> str | None:
    """Version of the installed OpenVINO; None where there is none."""
    if importlib.util.find_spec("openvino") is None:
        return None
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def _check_interface(load: Load, model: openvino.CompiledModel) -> None:
    facts = load.facts
    for kind, stated, found in (("inputs", facts.inputs, model.inputs), ("outputs", facts.outputs, model.outputs)):
        have = tuple((port.any_name, _DTYPES.get(port.element_type.get_type_name(), "unknown")) for port in found)
        if have != tuple((tensor.name, tensor.dtype) for tensor in stated) or not all(
            _fits(tensor, port.partial_shape, single=load.single) for tensor, port in zip(stated, found, strict=True)
        ):
            raise BundleCorruptError(
                f"{load.path.name}: the manifest states {kind} {stated}, the graph has {have}. Export again."
            )


def _fits(tensor: TensorSpec, shape: openvino.PartialShape, *, single: bool) -> bool:
    stated = tuple(1 if single and isinstance(axis, str) else axis for axis in tensor.shape)
    return len(shape) == len(stated) and all(
        axis.is_dynamic if isinstance(length, str) else axis.is_static and axis.get_length() == length
        for length, axis in zip(stated, shape, strict=True)
    )
