"""The one replaceable seam: what runs the two towers.

Everything above it (decoding, windows, pooling, tokens, tasks, services) is the same code whatever the engine. In process
it is `claprt.engines.in_process.InProcessEngine`; a server can stand behind the same two methods.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from claprt.arrays import Array, AttentionMask, Embeddings, IsLonger, LogMels, TokenIds, check_array
from claprt.bundle.graphs import GraphInfo
from claprt.errors import ArrayError


class Engine(Protocol):
    """Runs the audio tower and the text tower of one bundle."""

    @property
    def provider(self) -> str:
        """What the towers really run on."""
        ...

    @property
    def precision(self) -> str:
        """What the towers compute in, in one word; it is part of fingerprints."""
        ...

    @property
    def max_concurrency(self) -> int:
        """Calls that run side by side; others wait their turn."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads of this process that all calls together use; 1 where they run elsewhere."""
        ...

    def batch_engine(self) -> Engine:
        """The engine to use for many sounds; often this one."""
        ...

    def audio(self, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
        """Unit vectors [batch, dim] of log-mels [batch, views, frames, mels]; `is_longer` for fused bundles only."""
        ...

    def text(self, token_ids: TokenIds, attention_mask: AttentionMask) -> Embeddings:
        """Unit vectors [batch, dim] of token ids [batch, tokens]."""
        ...

    def close(self) -> None:
        """Give back what the engine holds; calls after that raise `ClosedError`. Closing again does nothing."""
        ...


def vectors_fault(vectors: Array | None, rows: int, dim: int) -> str | None:
    """What is wrong with the vectors [rows, dim] that a tower gave, in words; None where they are finite float32.

    Example:
        >>> vectors_fault(np.float32([[np.nan, 0]]), 1, 2)
        'vectors that hold NaN or infinity'
        >>> vectors_fault(np.zeros((1, 2), np.float32), 1, 512)
        'float32 [1, 2] instead of float32 [1, 512]'
    """
    if vectors is None or vectors.shape != (rows, dim) or vectors.dtype != np.float32:
        found = "nothing" if vectors is None else f"{vectors.dtype} {list(vectors.shape)}"
        return f"{found} instead of float32 [{rows}, {dim}]"
    return None if np.isfinite(vectors).all() else "vectors that hold NaN or infinity"


def validate_feeds(facts: GraphInfo, given: dict[str, Array | None]) -> dict[str, Array]:
    """Select the inputs of a graph and check their shapes, e.g. log-mels [batch, views, frames, mels].

    Axes of one name must be equally long.

    Raises:
        ArrayError: If an input is missing, is not taken, or has another shape or dtype than the manifest states.
    """
    names = [tensor.name for tensor in facts.inputs]
    for name, array in given.items():
        if array is not None and name not in names:
            raise ArrayError(f"{facts.file} takes {', '.join(names)}, and {name} was given as well; leave it out.")
    feeds: dict[str, Array] = {}
    lengths: dict[str, int] = {}
    for tensor in facts.inputs:
        array = given.get(tensor.name)
        if array is None:
            raise ArrayError(f"{facts.file} needs {tensor.name} ({tensor.dtype} {list(tensor.shape)}), and none was given.")
        check_array(tensor.name, array, tensor.dtype, tensor.shape)
        for axis, length in zip(tensor.shape, array.shape, strict=True):
            if isinstance(axis, str) and lengths.setdefault(axis, length) != length:
                raise ArrayError(f"{tensor.name} has {length} along {axis}, and an input before it {lengths[axis]}.")
        feeds[tensor.name] = array
    if not all(lengths.values()):
        raise ArrayError(f"{facts.file} needs at least one row and one column; got {lengths}.")
    return feeds
