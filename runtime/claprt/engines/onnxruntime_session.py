"""Graphs on onnxruntime; the only module that imports it.

Two things are done here that a bare `InferenceSession` does not do. The provider that a session ended up with is compared
with the one asked for, since onnxruntime falls back without a word. And on the CPU the optimised graph is kept with its
weights packed as the kernels want them, in a file that the next process maps instead of reading and packing again.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from claprt.arrays import Array
from claprt.bundle.digests import unchanged_file
from claprt.bundle.graphs import GraphInfo, TensorSpec
from claprt.bundle.onnx_file import check_self_contained
from claprt.engines.graph_cache import GraphCache
from claprt.engines.hardware import cpu_features, cpu_identity, trim_heap
from claprt.engines.io_binding import IoBindingRunner
from claprt.engines.providers import ORT_NAMES, Provider
from claprt.errors import BundleCorruptError, MissingDependencyError, ProviderUnavailableError
from claprt.system.extras import install_hint
from claprt.system.foreign_errors import describe_error
from claprt.system.forks import never_end

if TYPE_CHECKING:
    import onnxruntime

_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}
_WORTH_KEEPING = 24_000_000
"""Bytes from which a prepared graph is kept: below that, preparing takes less than 0.1 s."""
_SPIN_US = 1000
"""How long onnxruntime's idle threads wait for work in a loop before they sleep. By its default they do so long after a
run, and take a core from whatever runs next."""

ProviderOptions = list[str | tuple[str, dict[str, str]]]


class Runner(Protocol):
    """A graph that has been loaded and can be run."""

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """The graph's one output."""
        ...

    def forget_after_fork(self) -> None:
        """Forget what the runtime holds without ending it, for the child of a fork, where ending it would hang."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to load, and how."""

    path: Path
    facts: GraphInfo
    threads: int
    cache: GraphCache | None
    verified: bool = False
    """Whether the file must be the one whose sha256 the manifest states. What is kept prepared must in any case."""
    single: bool = False
    """Whether OpenVINO runs the graph's form for one row (`claprt.engines.openvino_single`), row by row."""


class OrtSession:
    """A graph on onnxruntime."""

    def __init__(self, load: Load, provider: Provider, providers: ProviderOptions) -> None:
        """Create the session in the calling thread, where flush-to-zero stays on: let that be a thread of its own.

        Raises:
            BundleCorruptError: If the graph cannot be loaded on the CPU, differs from the manifest, or was replaced since
                it was compared with that.
            ProviderUnavailableError: If the provider cannot be loaded.
        """
        self._session = self._open(load, provider, providers)
        if (runs := self._session.get_providers()[0]) != ORT_NAMES[provider]:
            raise ProviderUnavailableError(
                f"onnxruntime runs {runs} instead; its log says which library could not be loaded"
            )
        _check_interface(load.path.name, load.facts, self._session)
        self._bound: IoBindingRunner | None = None
        if provider in (Provider.CUDA, Provider.TENSORRT):
            self._bound = IoBindingRunner(_onnxruntime(), self._session, load.facts, "cuda")

    def _open(self, load: Load, provider: Provider, providers: ProviderOptions) -> onnxruntime.InferenceSession:
        if provider is Provider.CPU and load.cache is not None and load.facts.bytes >= _WORTH_KEEPING:
            session = _kept(load, load.cache)
            if session is not None:
                return session
        sha256 = load.facts.sha256 if load.verified else None
        try:
            with unchanged_file(load.path, sha256) as name:
                return _create(name, _options(load.threads), providers)
        except BundleCorruptError:
            raise
        except Exception as error:  # onnxruntime's exceptions have no common parent but Exception
            if provider is Provider.CPU:
                raise BundleCorruptError(f"{load.path} cannot be loaded: {describe_error(error)}") from error
            raise ProviderUnavailableError(describe_error(error)) from error

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """The graph's one output."""
        if self._bound is not None:
            return self._bound(feeds)
        return np.asarray(self._session.run(None, dict(feeds))[0])

    def forget_after_fork(self) -> None:
        """Forget the session without ending it."""
        never_end(self._session, self._bound)


def _kept(load: Load, cache: GraphCache) -> onnxruntime.InferenceSession | None:
    """A session of the graph as an earlier process prepared it; None where none can be kept."""

    def prepare(folder: Path) -> None:
        options = _options(load.threads)
        options.optimized_model_filepath = str(folder / "graph.onnx")
        for name, value in (
            ("session.optimized_model_external_initializers_file_name", "graph.onnx.data"),
            ("session.optimized_model_external_initializers_min_size_in_bytes", "1024"),
            ("session.save_external_prepacked_constant_initializers", "1"),
        ):
            options.add_session_config_entry(name, value)
        try:
            with unchanged_file(load.path, load.facts.sha256) as name:
                check_self_contained(load.path)
                _create(name, options, [ORT_NAMES[Provider.CPU]])
        except Exception as error:  # a full disk, another file, or a graph that cannot be loaded: that is found out without
            raise OSError(f"{load.path} cannot be prepared: {error}") from error
        trim_heap()

    key = {
        "graph": load.facts.sha256,
        "runtime": f"onnxruntime {onnxruntime_version()}",
        "options": repr(sorted(_entries().items())),  # some change what a graph is optimised to
        "cpu": cpu_identity(),
    }
    entry = cache.entry(key, prepare)
    if entry is None:
        return None
    options = _options(load.threads)
    options.graph_optimization_level = _onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return _create(str(entry / "graph.onnx"), options, [ORT_NAMES[Provider.CPU]])
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the bundle's own graph will do
        return None


def _options(threads: int) -> Any:
    options = _onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))  # from 1.26
    for name, value in _entries().items():
        options.add_session_config_entry(name, value)
    return options


def _entries() -> dict[str, str]:
    """Session options by onnxruntime's names."""
    entries = {"session.set_denormal_as_zero": "1"}
    if "vnni" not in cpu_features():
        # sums of products of unsigned and signed bytes saturate at 16 bits there, unless this asks for exact ones; with
        # VNNI they are exact anyway, and this would make them half as fast
        entries["session.x64quantprecision"] = "1"
    return entries


def _create(name: str, options: Any, providers: ProviderOptions) -> onnxruntime.InferenceSession:
    return _onnxruntime().InferenceSession(name, options, providers=providers, enable_fallback=0)


def ort_providers() -> frozenset[str]:
    """Providers that onnxruntime was built with, by its own names."""
    return frozenset(_onnxruntime().get_available_providers())


@cache
def preload_gpu_libraries() -> None:
    """Load CUDA and cuDNN from the packages that the extra `gpu` installs, where onnxruntime itself would not look.

    What cannot be loaded shows when a session is created. onnxruntime prints what it misses, which must not land among
    a command's answers.
    """
    preload = getattr(_onnxruntime(), "preload_dlls", None)  # which some builds leave out
    if preload is not None:
        with contextlib.suppress(OSError, RuntimeError), contextlib.redirect_stdout(sys.stderr):
            preload()


def onnxruntime_version() -> str:
    """Version of the installed onnxruntime."""
    return str(_onnxruntime().__version__)


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"onnxruntime is not installed: {install_hint('cpu')}; on a machine with an NVIDIA GPU, {install_hint('gpu')}."
        ) from error
    return onnxruntime


def _check_interface(file: str, facts: GraphInfo, session: onnxruntime.InferenceSession) -> None:
    for kind, stated, found in (
        ("inputs", facts.inputs, session.get_inputs()),
        ("outputs", facts.outputs, session.get_outputs()),
    ):
        have = tuple(
            TensorSpec(name=tensor.name, dtype=_DTYPES.get(str(tensor.type), "unknown"), shape=tuple(tensor.shape))
            for tensor in found
        )
        if have != stated:
            raise BundleCorruptError(f"{file}: the manifest states {kind} {stated}, the graph has {have}. Export again.")
