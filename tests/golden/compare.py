"""Vectors of claprt beside recorded ones, with the limits of `docs/parity.md`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import claprt
from claprt.arrays import Embedding
from tests.golden.inputs import RATE, sounds

FOLDER = Path(__file__).parent


@cache
def laion() -> dict[str, NDArray[np.float32]]:
    """What laion-clap computed, by name (README.md)."""
    with np.load(FOLDER / "laion.npz") as file:
        return dict(file)


def embedded(clap: claprt.Clap, names: Iterable[str]) -> NDArray[np.float32]:
    """Vectors [sounds, dim] of the golden sounds of these names."""
    made = sounds()
    return np.stack([_embedded(clap, made[name]) for name in names])


def _embedded(clap: claprt.Clap, sound: NDArray[np.float32] | bytes) -> Embedding:
    return clap.embed_audio(sound, None if isinstance(sound, bytes) else RATE)


def assert_same_vectors(
    found: NDArray[Any], expected: NDArray[Any], *, cosine: float = 0.999999, difference: float = 1e-4
) -> None:
    """Assert that unit vectors [n, dim] are the same within the limits."""
    assert found.shape == expected.shape
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((found * expected).sum(axis=1) / lengths).min() >= cosine
    assert np.abs(found - expected).max() <= difference
