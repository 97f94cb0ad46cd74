"""Embeddings to behaviour descriptors: the learned projection that a bundle may hold, for quality diversity search.

It is the network of QDHF (Ding et al. 2023, "Quality Diversity through Human Feedback"), a few small matrices, so it is run
on one thread of the CPU whatever the towers run on: in a session of its own, created when it is first asked for, by a
thread that then ends, and anew after a fork, for the reasons that `claprt.engines.in_process` gives. It is no part of a
fingerprint, since it changes no embedding.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from claprt.arrays import BehaviorDescriptors, Embeddings
from claprt.bundle.digests import sha256_of
from claprt.bundle.folder import Bundle, is_shipped
from claprt.bundle.graphs import PROJECTION_INPUT, ProjectionInfo
from claprt.errors import ArrayError, BundleCorruptError, OptionError, ProviderError
from claprt.system.foreign_errors import describe_error
from claprt.system.forks import forget_in_children

if TYPE_CHECKING:
    from claprt.engines.onnxruntime_session import Runner

_ROWS = 16_384
"""Rows that are run together: enough to be fast, few enough that the layers between stay below some tens of megabytes."""


class Projection:
    """The projection of one bundle, loaded when first used. Safe to call from many threads, and after a fork."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._runner: Runner | None = None
        self._loading = threading.Lock()
        forget_in_children(self)

    @property
    def is_here(self) -> bool:
        """Whether there is one, and its graph is on this machine."""
        facts = self._bundle.manifest.projection
        folder = self._bundle.folder
        return facts is not None and folder is not None and (folder / facts.graph.file).is_file()

    @property
    def facts(self) -> ProjectionInfo:
        """What the manifest says of it.

        Raises:
            OptionError: If the bundle has none, or is on a server.
        """
        bundle, facts = self._bundle, self._bundle.manifest.projection
        if bundle.folder is None:
            raise OptionError(
                f"A projection is run where the bundle's folder is, and that of {bundle.manifest.name!r} is not here: the "
                f"model is on a server. Copy the folder here and name it: claprt.load(ADDRESS, projection=FOLDER)."
            )
        if facts is None:
            raise OptionError(_has_none(bundle))
        return facts

    def __call__(self, embeddings: Embeddings) -> BehaviorDescriptors:
        """Descriptors [output_dim] in [0, 1] of one embedding [dim], or [n, output_dim] of n of them [n, dim].

        Raises:
            OptionError: If the bundle has no projection, or is on a server.
            ArrayError: `embeddings` has another shape, is not of floats, or holds NaN or infinity.
        """
        facts = self.facts
        rows = _checked(embeddings, facts.input_dim)
        found = np.empty((len(rows), facts.output_dim), np.float32)
        for start in range(0, len(rows), _ROWS):
            found[start : start + _ROWS] = self._run(rows[start : start + _ROWS])
        return found[0] if embeddings.ndim == 1 else found

    def _run(self, rows: Embeddings) -> BehaviorDescriptors:
        with self._loading:
            if self._runner is None:
                with ThreadPoolExecutor(1, thread_name_prefix="claprt-load") as pool:
                    self._runner = pool.submit(self._create).result()
            runner = self._runner
        try:
            return runner({PROJECTION_INPUT: rows})
        except Exception as error:  # onnxruntime's exceptions have no common parent but Exception
            raise ProviderError(f"{self.facts.graph.file} could not be run: {describe_error(error)}") from error

    def _create(self) -> Runner:
        from claprt.bundle.onnx_file import check_self_contained
        from claprt.engines.onnxruntime_session import Load, OrtSession
        from claprt.engines.providers import ORT_NAMES, Provider

        graph = self.facts.graph
        path = self._bundle.path / graph.file
        if not path.is_file() or sha256_of(path) != graph.sha256:
            raise BundleCorruptError(
                f"{path} was altered or taken away since the bundle was loaded. Load the bundle again."
            )
        try:
            check_self_contained(path)
        except ValueError as error:
            raise BundleCorruptError(f"{path} is not a graph that is loaded here: {describe_error(error)}.") from error
        load = Load(path=path, facts=graph, threads=1, cache=None, verified=True)
        return OrtSession(load, Provider.CPU, [ORT_NAMES[Provider.CPU]])

    def close(self) -> None:
        """Release the session."""
        with self._loading:
            self._runner = None

    def forget_after_fork(self) -> None:
        """Forget the session without ending it, for the child of a fork, where ending it would hang."""
        if self._runner is not None:
            self._runner.forget_after_fork()
        self._runner = None
        self._loading = threading.Lock()


def _has_none(bundle: Bundle) -> str:
    name, into, own = bundle.manifest.name, bundle.path, ""
    if is_shipped(bundle.path):
        into, own = Path("FOLDER"), f" This one stays as it ships: `claprt-export {name} --out FOLDER` makes one like it."
    return (
        f"The bundle {name!r} at {bundle.path} has no projection. Put one in with `claprt-export projection CHECKPOINT.pt "
        f"--bundle {into}`, or train one with `claprt-export train-projection`.{own}"
    )


def _checked(embeddings: Embeddings, dim: int) -> Embeddings:
    """Embeddings as contiguous float32 [n, dim].

    Raises:
        ArrayError: If they have another shape, are not of floats, or hold NaN or infinity.
    """
    if not isinstance(embeddings, np.ndarray):
        raise ArrayError(
            f"embeddings must be a numpy array [n, {dim}] or [{dim}] of floats; got {type(embeddings).__name__}."
        )
    if embeddings.ndim not in (1, 2) or embeddings.shape[-1] != dim or embeddings.dtype.kind != "f":
        shape = ", ".join(map(str, embeddings.shape))
        raise ArrayError(f"embeddings must be [n, {dim}] or [{dim}] of floats; got {embeddings.dtype} [{shape}].")
    with np.errstate(over="ignore"):  # a float64 that float32 cannot hold becomes infinity, which is refused below
        rows = np.ascontiguousarray(np.atleast_2d(embeddings), np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ArrayError(
            f"embeddings holds NaN or infinity in {len(bad)} of {len(rows)} rows, first in row {bad[0]}. A sound that was "
            "skipped leaves a row of NaN: leave such rows out."
        )
    return rows
