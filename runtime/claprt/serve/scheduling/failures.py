"""Why runs of the towers failed, where the engine rather than an input was the reason; and a check of their vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import numpy as np

from claprt.arrays import Embeddings
from claprt.bundle.graphs import Stage
from claprt.errors import BundleError, ClaprtError, ProviderError
from claprt.serve.errors import ModelUnavailableError


class TowerFailures:
    """Why the last run of each tower failed."""

    def __init__(self) -> None:
        self._reasons: dict[Stage, str] = {}

    @property
    def first(self) -> str | None:
        """The reason of the tower that has failed for the longest; None if the last runs of all succeeded."""
        return next(iter(self._reasons.values()), None)

    def clear(self) -> None:
        """Forget all of them."""
        self._reasons.clear()

    @contextlib.contextmanager
    def noted(self, tower: Stage) -> Generator[None]:
        """Remember an error of a run if the engine rather than the input was the reason; forget it after one that succeeds.

        Raises:
            ModelUnavailableError: If the tower cannot be loaded.
        """
        try:
            yield
        except BundleError as error:
            self._reasons[tower] = str(error)
            raise ModelUnavailableError(error) from error
        except BaseException as error:
            if isinstance(error, ProviderError) or not isinstance(error, ClaprtError | GeneratorExit):
                self._reasons[tower] = str(error) or type(error).__name__
            raise
        self._reasons.pop(tower, None)


def check_vectors(vectors: Embeddings, count: int, dim: int) -> Embeddings:
    """Return the vectors [count, dim] if clients may get them.

    Raises:
        ProviderError: If there are more or fewer, or they are not finite.
    """
    if vectors.shape != (count, dim) or not np.isfinite(vectors).all():
        raise ProviderError("The engine gave vectors that are not finite numbers, or not as many as they should be.")
    return vectors
