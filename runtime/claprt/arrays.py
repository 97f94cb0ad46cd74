"""The shape vocabulary: what each kind of array is, and the one check at the engine's boundary.

Arrays are plain numpy. The aliases below carry no checking of their own; they say, once, which axes an array has, its
dtype and its unit. Axis words are fixed throughout the project: batch, samples, frames, mels, tokens, dim, windows,
views.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from claprt.errors import ArrayError

Array: TypeAlias = np.ndarray[Any, Any]
"""Of any shape and dtype."""

Waveform: TypeAlias = NDArray[np.float32]
"""[samples] float32, mono, nominally in [-1, 1]."""

Waveforms: TypeAlias = NDArray[np.float32]
"""[batch, samples] float32, mono, nominally in [-1, 1]."""

LogMel: TypeAlias = NDArray[np.float32]
"""[frames, mels] float32, dB relative to a power of 1; never below -100."""

LogMels: TypeAlias = NDArray[np.float32]
"""[batch, views, frames, mels] float32, dB. One view, or four for a fused checkpoint."""

IsLonger: TypeAlias = NDArray[np.bool_]
"""[batch, 1] bool, True where a fused checkpoint shall look at the three local views."""

TokenIds: TypeAlias = NDArray[np.int64]
"""[batch, tokens] int64, padded on the right with the bundle's pad id."""

AttentionMask: TypeAlias = NDArray[np.int64]
"""[batch, tokens] int64, 1 for a real token and 0 for padding."""

Embedding: TypeAlias = NDArray[np.float32]
"""[dim] float32 of length 1."""

Embeddings: TypeAlias = NDArray[np.float32]
"""[batch, dim] float32, each row of length 1."""

BehaviorDescriptors: TypeAlias = NDArray[np.float32]
"""[batch, descriptors] float32 in [0, 1], or one row of it."""


def check_array(name: str, array: NDArray[np.generic], dtype: str, shape: Sequence[int | str]) -> None:
    """Check the dtype and shape of an array.

    Args:
        name: Of the array, for the message.
        array: Any array.
        dtype: What it must have.
        shape: Length of each axis; a string stands for any length.

    Raises:
        ArrayError: If the dtype or the shape differs.

    Example:
        >>> check_array("log_mels", np.zeros((2, 1, 1001, 64), np.float32), "float32", ("batch", 1, 1001, 64))
        >>> check_array("log_mels", np.zeros((2, 1001, 64), np.float32), "float32", ("batch", 1, 1001, 64))
        Traceback (most recent call last):
            ...
        claprt.errors.ArrayError: log_mels must be float32 [batch, 1, 1001, 64]; got float32 [2, 1001, 64].
    """
    fits = array.dtype == np.dtype(dtype) and array.ndim == len(shape)
    if fits and all(isinstance(want, str) or want == got for want, got in zip(shape, array.shape, strict=True)):
        return
    want, got = ", ".join(map(str, shape)), ", ".join(map(str, array.shape))
    raise ArrayError(f"{name} must be {dtype} [{want}]; got {array.dtype} [{got}].")
