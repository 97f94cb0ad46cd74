"""Engines of TensorRT-RTX that the bundle holds; the only module that imports its runtime.

Experimental: it was never run on a card. Everything up to the card is tested, and so is what happens where the card gives
other vectors than it should: an engine's answer to a fixed input is compared with onnxruntime's, which the manifest states,
before it is used.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import weakref
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from claprt.arrays import Array
from claprt.bundle.digests import unchanged_file
from claprt.bundle.engine_forms import EngineInfo
from claprt.bundle.graphs import GraphInfo, Precision
from claprt.engines.cuda_driver import CudaDriver
from claprt.engines.onnxruntime_session import Load
from claprt.engines.tensorrt import error_log
from claprt.errors import BundleCorruptError, MissingDependencyError, ProviderError, ProviderUnavailableError
from claprt.system.extras import install_hint
from claprt.system.forks import never_end

PROBE_LIMITS: Mapping[Precision, float] = MappingProxyType(
    {Precision.FP32: 0.9999, Precision.FP16: 0.999, Precision.INT8_SYMMETRIC: 0.99}
)
"""Smallest cosine of an engine's vector with onnxruntime's. The same graph in the same precision differs by rounding alone;
a step of int8 that rounds to its other side counts most."""
_PACKAGES = ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx")
_QUOTED = 2
"""Lines of TensorRT-RTX's log that a message quotes at most."""


class TensorRtxSession:
    """One engine on the first GPU, one run at a time."""

    def __init__(
        self, load: Load, engine: EngineInfo, probe: Mapping[str, Array], driver: CudaDriver | None = None
    ) -> None:
        """Load the engine and compare what it makes of a fixed input with what the manifest states.

        Args:
            load: The engine's file, and the facts of the graph that it was built from.
            engine: What the manifest says of the engine.
            probe: The fixed input, of `claprt.engines.tensorrt.probe_feeds`: `log_mels` [2, views, frames, mels], or
                `token_ids` and `attention_mask` [2, tokens].
            driver: The GPU; by default the first one.

        Raises:
            MissingDependencyError: If TensorRT-RTX is not installed.
            BundleCorruptError: If the file is not the one that was built, or has other inputs and outputs.
            ProviderUnavailableError: If TensorRT-RTX cannot load the engine on this GPU, or it gives other vectors.
        """
        self._facts, self._record = load.facts, engine
        self._tensorrt = _tensorrt_rtx()
        self._driver = CudaDriver() if driver is None else driver
        self._log = error_log(self._tensorrt)
        self._buffers: dict[str, tuple[int, int]] = {}
        self._parts: list[Any] = []
        self._release = weakref.finalize(self, _release, self._driver, self._buffers, self._parts, owned=driver is None)
        self._release.atexit = False  # the driver may have ended by then
        with self._driver.current():
            self._load(load)
        self._check_vectors(probe)

    def _load(self, load: Load) -> None:
        """Load the runtime, the engine and its execution context, into `_parts`: what depends on others comes last.

        Raises:
            ProviderUnavailableError: If TensorRT-RTX gives no execution context.
        """
        self._parts.append(self._tensorrt.Runtime(self._log))
        self._parts.append(self._deserialized(load))
        _check_interface(self._record.file, load.facts, self._parts[-1])
        context = self._parts[-1].create_execution_context()
        if context is None:
            raise ProviderUnavailableError(self._refusal("gives no execution context for"))
        self._parts.append(context)

    @property
    def _context(self) -> Any:
        return self._parts[-1]

    def _deserialized(self, load: Load) -> Any:
        """The engine as TensorRT-RTX loads it.

        Raises:
            ProviderUnavailableError: If it does not.
        """
        with unchanged_file(load.path, self._record.sha256 if load.verified else None) as name:
            content = Path(name).read_bytes()
        engine = self._parts[0].deserialize_cuda_engine(content)
        if engine is None:
            raise ProviderUnavailableError(self._refusal("does not load"))
        return engine

    def _refusal(self, what: str) -> str:
        record, said = self._record, "; ".join(self._log.errors[:_QUOTED]) or "its log says nothing"
        return (
            f"TensorRT-RTX {self._tensorrt.__version__} {what} {record.file}, which version {record.tensorrt_rtx} built "
            f"for {', '.join(record.cards)}: {said}. Build it with the installed version: claprt-export tensorrt --force"
        )

    def _check_vectors(self, probe: Mapping[str, Array]) -> None:
        """Compare the engine's vectors of the fixed input with onnxruntime's.

        Raises:
            BundleCorruptError: If the manifest does not state any.
            ProviderUnavailableError: If they differ by more than rounding.
        """
        record, limit = self._record, PROBE_LIMITS[self._record.precision]
        try:
            found = self(probe)
        except ProviderError as error:
            raise ProviderUnavailableError(f"{record.file} cannot be run: {error}") from error
        try:
            stated: Array = np.frombuffer(base64.b64decode(record.probe or "", validate=True), "<f4").reshape(found.shape)
        except (binascii.Error, ValueError) as error:
            raise BundleCorruptError(
                f"The manifest states no vectors {list(found.shape)} to compare those of {record.file} with. Build the "
                "engine again: claprt-export tensorrt --force."
            ) from error
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(stated, axis=1)
        cosine = float(np.nan_to_num((found * stated).sum(1) / np.maximum(lengths, 1e-12), nan=-1.0).min())
        if cosine < limit:
            raise ProviderUnavailableError(
                f"{record.file} gives other vectors on this GPU than its graph does on onnxruntime: their cosine is "
                f"{cosine:.4f}, and {limit} is the least for {record.precision}"
            )

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """The graph's one output; rows beyond the largest batch of the engine are run after the others.

        Raises:
            ProviderError: If the engine does not take the shapes, or a run fails.
        """
        rows = len(next(iter(feeds.values())))
        most = self._record.profile[self._facts.inputs[0].name][2][0]
        parts = [
            self._run({name: array[start : start + most] for name, array in feeds.items()})
            for start in range(0, rows, most)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, feeds: Mapping[str, Array]) -> Array:
        self._log.errors.clear()  # of earlier runs
        with self._driver.current():
            return self._computed(feeds)

    def _computed(self, feeds: Mapping[str, Array]) -> Array:
        for tensor in self._facts.inputs:
            array = np.ascontiguousarray(feeds[tensor.name])
            if not self._context.set_input_shape(tensor.name, array.shape):
                low, _, high = map(list, self._record.profile[tensor.name])
                raise ProviderError(
                    f"{tensor.name} has the shape {list(array.shape)}, and {self._record.file} takes {low} to {high}"
                )
            self._driver.to_device(self._bound(tensor.name, array.nbytes), array)
        (output,) = self._facts.outputs
        rows = len(next(iter(feeds.values())))
        shape = tuple(axis if isinstance(axis, int) else rows for axis in output.shape)
        address = self._bound(output.name, int(np.prod(shape)) * np.dtype(output.dtype).itemsize)
        if not self._context.execute_async_v3(self._driver.stream):
            raise ProviderError("; ".join(self._log.errors[-_QUOTED:]) or "TensorRT-RTX gives no reason")
        return self._driver.to_host(address, shape, output.dtype)

    def _bound(self, name: str, size: int) -> int:
        """Address of the memory of a tensor, at least `size` bytes, which the engine is told."""
        address, have = self._buffers.get(name, (0, 0))
        if have < size:
            if have:
                del self._buffers[name]
                self._driver.free(address)
            address = self._driver.allocate(size)
            self._buffers[name] = address, size
        self._context.set_tensor_address(name, address)
        return address

    def forget_after_fork(self) -> None:
        """Forget the engine without ending it."""
        self._release.detach()
        never_end(self._parts, self._driver)


def _release(driver: CudaDriver, buffers: dict[str, tuple[int, int]], parts: list[Any], *, owned: bool) -> None:
    """End TensorRT-RTX's objects, the last first, and give back their memory; then the GPU, if it is the session's own."""
    try:
        with driver.current():
            while parts:
                parts.pop()
            for address, _ in buffers.values():
                driver.free(address)
    except ProviderError:
        pass  # a driver that has failed has nothing to give back
    parts.clear()
    buffers.clear()
    if owned:
        driver.close()


def tensorrt_rtx_version() -> str | None:
    """Version of the installed TensorRT-RTX; None where there is none."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return None
    for name in _PACKAGES:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _tensorrt_rtx() -> Any:
    try:
        import tensorrt_rtx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError(f"TensorRT-RTX is not installed: {install_hint('tensorrt-rtx')}.") from error
    return tensorrt_rtx


def _check_interface(file: str, facts: GraphInfo, engine: Any) -> None:
    found = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    stated = {tensor.name for tensor in (*facts.inputs, *facts.outputs)}
    if found != stated:
        raise BundleCorruptError(
            f"{file}: the manifest states inputs and outputs {sorted(stated)}, the engine has {sorted(found)}. Build it "
            "again: claprt-export tensorrt --force."
        )
