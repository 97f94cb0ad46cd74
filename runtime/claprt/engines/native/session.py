"""The audio tower on the native engine.

Its packed weights are a file that is mapped, so that processes share it and nothing is read twice: the one that the bundle
has, else one that is packed when the graph is first loaded, and kept in the cache folder. Before it is kept, log-mels are
run through it and through the graph on onnxruntime, and the vectors are compared.
"""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from claprt._version import __version__
from claprt.arrays import Array
from claprt.bundle.digests import unchanged_file
from claprt.bundle.graphs import NATIVE_FILE, FileInfo
from claprt.engines.native.constants import PackingError
from claprt.engines.native.layout import FORMAT, HEADER_BYTES, Header, read_header
from claprt.engines.native.library import NativeLibrary, aligned, native_library, native_unavailable
from claprt.engines.native.packing import pack_tower
from claprt.engines.onnxruntime_session import Load, OrtSession
from claprt.engines.providers import ORT_NAMES, Provider
from claprt.errors import BundleCorruptError, ProviderUnavailableError
from claprt.system.foreign_errors import describe_error
from claprt.system.forks import never_end

_LEAST_COSINE = 0.93
"""Between vectors of the packed tower and of its graph, the mean of the graph's subtracted from both, as in the quality
gate: they differ by rounding, a wrong tower by far more."""


class NativeSession:
    """The audio tower in int8."""

    def __init__(
        self, load: Load, packed: tuple[Path, FileInfo] | None = None, *, instruction_set: str | None = None
    ) -> None:
        """Map the packed weights, or pack those of the graph.

        Args:
            load: The graph in int8, and how to load it.
            packed: The bundle's own packed weights, and what the manifest says of them.
            instruction_set: To compute with; None for the fastest that the processor has.

        Raises:
            BundleCorruptError: If the graph cannot be read, or packed weights are not what they should be.
            ProviderUnavailableError: If the native engine cannot run here, or not this graph.
        """
        refused = native_unavailable() if instruction_set is None else None
        if refused is not None:
            raise ProviderUnavailableError(refused)
        self._library = native_library()
        content = None if packed is None else self._of_bundle(load, *packed)
        if content is None:
            content = self._of_cache(load)
        self._tower = _Tower(self._library, content, load, instruction_set)

    def _of_bundle(self, load: Load, path: Path, facts: FileInfo) -> Array | None:
        """The bundle's packed weights; None where they have another format than the library reads.

        Raises:
            BundleCorruptError: If they are not those of the graph, or not what the manifest says.
        """
        try:
            with unchanged_file(path, facts.sha256 if load.verified else None) as name:
                content = _mapped(Path(name))
        except (OSError, ValueError) as error:
            raise BundleCorruptError(f"{path} cannot be mapped: {describe_error(error)}") from error
        header = _header(content)
        if header is not None and header.format != self._library.format:
            return None
        if header is None or header.graph_sha256 != load.facts.sha256:
            raise BundleCorruptError(
                f"{path} does not hold the packed weights of {load.facts.file}. Export the checkpoint again."
            )
        return content

    def _of_cache(self, load: Load) -> Array:
        """Packed weights from the cache folder, or from memory where none can be kept.

        Raises:
            ProviderUnavailableError: If the library reads another format than is written here.
        """
        if self._library.format != FORMAT:
            raise ProviderUnavailableError(
                f"claprt-native reads packed weights of format {self._library.format}, and this claprt writes {FORMAT}; "
                "install the two in the same version"
            )

        def prepare(folder: Path) -> None:
            (folder / NATIVE_FILE).write_bytes(self._packed(load))

        key = {"graph": load.facts.sha256, "runtime": f"native format {FORMAT}", "packed by": __version__}
        entry = None if load.cache is None else load.cache.entry(key, prepare)
        if entry is not None:
            try:
                content = _mapped(entry / NATIVE_FILE)
            except (OSError, ValueError):
                pass  # it is packed again
            else:
                header = _header(content)
                if header is not None and (header.format, header.graph_sha256) == (FORMAT, load.facts.sha256):
                    return content
        return aligned(self._packed(load))

    def _packed(self, load: Load) -> bytes:
        """Packed weights, after vectors of theirs were compared with the graph's.

        Raises:
            BundleCorruptError: If the graph is not what the manifest says.
            ProviderUnavailableError: If the graph is not one that the engine runs.
        """
        try:
            with unchanged_file(load.path, load.facts.sha256) as name:
                graph = Path(name).read_bytes()
        except OSError as error:
            raise BundleCorruptError(f"{load.path} cannot be read: {describe_error(error)}") from error
        try:
            packed = pack_tower(graph, load.facts.sha256)
        except PackingError as error:
            raise ProviderUnavailableError(f"the native engine does not run {load.facts.file}: {error}") from error
        self._compare(packed, load)
        return packed

    def _compare(self, packed: bytes, load: Load) -> None:
        """Run a few log-mels through both.

        Raises:
            ProviderUnavailableError: If the vectors differ.
        """
        try:
            tower = _Tower(self._library, aligned(packed), load, None)
        except BundleCorruptError as error:  # what was packed here is of the graph
            raise ProviderUnavailableError(f"the native engine does not run {load.facts.file}: {error}") from error
        feeds = _test_inputs(load)
        expected = OrtSession(load, Provider.CPU, [ORT_NAMES[Provider.CPU]])(feeds)
        found = tower.run(feeds)
        mean = expected.mean(0)
        lengths = np.linalg.norm(expected - mean, axis=1) * np.linalg.norm(found - mean, axis=1)
        cosine = float((((expected - mean) * (found - mean)).sum(1) / lengths).min())
        if not cosine >= _LEAST_COSINE:
            raise ProviderUnavailableError(
                f"the native engine does not run {load.facts.file}: its vectors of test sounds and onnxruntime's have a "
                f"centred cosine of {cosine:.4f}"
            )

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """Unit vectors [batch, dim] of `log_mels` [batch, views, frames, 64] in dB, and `is_longer` where fused."""
        return self._tower.run(feeds)

    def forget_after_fork(self) -> None:
        """Forget the tower without ending its threads."""
        self._tower.forget()


class _Tower:
    """An open tower; closed with its last reference."""

    def __init__(self, library: NativeLibrary, content: Array, load: Load, instruction_set: str | None) -> None:
        self._library, self._content = library, content
        try:
            self._handle = library.open_tower(content, load.threads, instruction_set)
        except OSError as error:
            raise ProviderUnavailableError(f"the native engine cannot run {load.facts.file} here: {error}") from error
        except ValueError as error:
            raise BundleCorruptError(f"The packed weights of {load.facts.file} cannot be used: {error}.") from error
        self._end = weakref.finalize(self, library.close, self._handle)
        self._end.atexit = False  # other threads may be computing when the process ends, and it ends helpers by itself
        views, frames, self._dim = library.shape(self._handle)
        stated = (*load.facts.inputs[0].shape[1:], *load.facts.outputs[0].shape[1:])
        if stated != (views, frames, 64, self._dim):
            raise BundleCorruptError(
                f"The packed weights of {load.facts.file} are for log-mels [{views}, {frames}, 64] and vectors of "
                f"{self._dim}; the manifest states {list(stated[:-1])} and {stated[-1]}. Export the checkpoint again."
            )

    def run(self, feeds: Mapping[str, Array]) -> Array:
        return self._library.run(self._handle, feeds["log_mels"], feeds.get("is_longer"), self._dim)

    def forget(self) -> None:
        self._end.detach()
        never_end(self._content)


def _test_inputs(load: Load) -> dict[str, Array]:
    """Four sounds that differ in level, in time and in pitch, as `log_mels` [4, views, frames, mels] in dB."""
    shape = [4 if isinstance(length, str) else length for length in load.facts.inputs[0].shape]
    mels = np.random.default_rng(0).normal(-40, 15, shape)
    mels[1] -= 40
    mels[2] += np.linspace(-30, 30, shape[2])[:, None]
    mels[3] += np.linspace(30, -30, shape[3])
    feeds: dict[str, Array] = {"log_mels": mels.astype(np.float32)}
    if len(load.facts.inputs) > 1:
        feeds["is_longer"] = np.array([[True], [False], [True], [True]])
    return feeds


def _mapped(path: Path) -> Array:
    """The content of a file, uint8 [bytes], read when it is used and shared with other processes.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is empty.
    """
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _header(content: Array) -> Header | None:
    return read_header(content[:HEADER_BYTES].tobytes())
