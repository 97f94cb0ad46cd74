"""Embedding on Ray Data: actors with a model each, on this machine or on a cluster; rows are written by the driver.

Actors open the sources and the bundle themselves, so both are where every machine finds them: a shared folder, or URLs.
What the library holds already is not embedded again; sounds of the same content that are new in one run are embedded each
by itself, and have the same rows.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.engines.hardware import default_threads
from claprt.errors import LibraryError, MissingDependencyError, OptionError
from claprt.library.embedding import Claims, LocalEmbedder, Outcome, Timings
from claprt.library.items import Item
from claprt.library.known import short_key
from claprt.library.schema import Table, arrow
from claprt.model.clap import Clap
from claprt.system.extras import install_hint
from claprt.system.foreign_errors import describe_error

_AT_ONCE = 1_000_000
"""Sounds of one data set, which lie in Ray's object store: some hundred bytes each."""
_BLOCK = 256
"""Sounds that an actor takes at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayOptions:
    """Where and on what actors run."""

    address: str | None = None
    """Of a cluster; None starts Ray on this machine, for this run."""
    actors: int = 1
    gpus: float = 0.0
    """Of each actor; a fraction lets several share one."""

    def __post_init__(self) -> None:
        if self.actors < 1 or self.gpus < 0:
            raise OptionError(f"{self.actors} actors with {self.gpus:g} GPUs each are not possible.")


class RayEmbedder:
    """Embeds sounds on Ray. Outcomes come in the order in which they are ready."""

    def __init__(self, clap: Clap, options: RayOptions) -> None:
        """Connect to Ray, or start it.

        Args:
            clap: The model; what it was loaded with is what each actor loads.
            options: Where and on what.

        Raises:
            MissingDependencyError: If Ray is not installed.
            OptionError: If another process cannot load the model.
            LibraryError: If Ray cannot be started, or the cluster not be reached.
        """
        if clap.load_again is None:
            raise OptionError("Ray needs a model that claprt.load has made, so that each actor can load it.")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing reports its use to anybody
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        try:
            self._ray: Any = importlib.import_module("ray")
            self._data: Any = importlib.import_module("ray.data")
        except ImportError as error:
            raise MissingDependencyError(f"Embedding on a cluster needs Ray: {install_hint('ray')}") from error
        self.timings = Timings()
        self._options = options
        here = options.address is None
        cores = default_threads()
        self._threads = max(
            1, (clap.loaded_from.get("threads") or (cores if here else 1)) // (options.actors if here else 1)
        )
        self._arguments = {**clap.loaded_from, "batch_size": clap.batch_size, "threads": self._threads}
        self._fingerprint = clap.fingerprint
        self._started = not self._ray.is_initialized()
        if self._started:
            resources = {"num_cpus": max(cores, options.actors * self._threads)} if here else {"address": options.address}
            try:
                self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", **resources)
            except Exception as error:  # Ray raises many kinds
                where = "on this machine" if here else f"at {options.address}"
                raise LibraryError(f"Ray {where} was asked for, and cannot be used: {describe_error(error)}.") from error
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = self._data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False

    def run(self, items: Iterator[Item], claims: Claims) -> Iterator[Outcome]:
        """Embed sounds.

        Raises:
            LibraryError: If an actor fails.
        """
        while some := list(itertools.islice(items, _AT_ONCE)):
            try:
                yield from self._embedded(some, claims.stored_keys())
            except self._ray.exceptions.RayError as error:
                raise LibraryError(f"Ray failed: {describe_error(error)}. What was embedded before is kept.") from error

    def _embedded(self, items: list[Item], stored: NDArray[np.uint64]) -> Iterator[Outcome]:
        pa, options = arrow(), self._options
        actors = min(options.actors, len(items))
        size = max(1, min(_BLOCK, -(-len(items) // (4 * actors))))
        blocks = [
            pa.table({"item": pa.array([pickle.dumps(item) for item in items[start : start + size]], pa.binary())})
            for start in range(0, len(items), size)
        ]
        embedded = self._data.from_arrow(blocks).map_batches(
            _Actor,
            fn_constructor_args=(self._arguments, self._fingerprint, stored),
            batch_size=None,
            batch_format="pyarrow",
            compute=self._data.ActorPoolStrategy(size=actors),
            num_gpus=options.gpus or None,
            num_cpus=None if options.gpus else self._threads,
        )
        for batch in embedded.iter_batches(batch_size=None, batch_format="pyarrow"):
            for content, read_s, compute_s in zip(*(batch[name].to_pylist() for name in batch.schema.names), strict=True):
                self.timings.add(read_s, compute_s)
                yield pickle.loads(content)  # of our own actors

    def close(self) -> None:
        """End Ray, if it was started here."""
        if self._started:
            self._ray.shutdown()


class _Actor:
    """A model of its own, on some machine."""

    def __init__(self, arguments: Mapping[str, Any], fingerprint: str, stored: NDArray[np.uint64]) -> None:
        from claprt.model.load import load_again

        self._stored = stored
        self._embedder = LocalEmbedder(load_again(arguments, fingerprint))

    def claim(self, sha256: str) -> bool:
        """Whether the library did not hold a content when the run began."""
        key = np.uint64(short_key(sha256))
        at = int(self._stored.searchsorted(key))
        return at == len(self._stored) or self._stored[at] != key

    def stored_keys(self) -> NDArray[np.uint64]:
        """Contents that the library held when the run began."""
        return self._stored

    def __call__(self, batch: Table) -> Table:
        """Embed a block of pickled items."""
        items = (pickle.loads(item) for item in batch["item"].to_pylist())
        outcomes: list[bytes] = []
        times: list[tuple[float, float]] = []
        for outcome in self._embedder.run(items, self):
            outcomes.append(pickle.dumps(outcome))
            times.append(self._embedder.timings.taken())
        pa = arrow()
        return pa.table({
            "outcome": pa.array(outcomes, pa.binary()),
            "read_s": pa.array([read for read, _ in times], pa.float64()),
            "compute_s": pa.array([compute for _, compute in times], pa.float64()),
        })  # fmt: skip
