"""What embedding a sound gives beyond the bare vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.errors import AudioError, ProviderError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedSound:
    """The result for one source: its vector, or the error."""

    source: str
    """Path or description of the source."""
    vector: Embedding | None
    """[dim] float32 of length 1; None if the source failed."""
    windows: Embeddings
    """Vectors of the windows [windows, dim] float32, whose mean `vector` is."""
    starts_s: tuple[float, ...]
    """Start of each window in seconds."""
    fingerprint: str
    """Only vectors with equal fingerprints are comparable."""
    error: AudioError | None = None
    """Why the source could not be embedded."""

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; without windows if there is only one."""
        plain: dict[str, object] = {"source": self.source, "fingerprint": self.fingerprint}
        if self.error is not None or self.vector is None:
            return {**plain, "error": f"{type(self.error).__name__}: {self.error}"}
        plain["embedding"] = self.vector.tolist()
        if len(self.starts_s) > 1:
            plain["windows"] = [
                {"start_s": start, "embedding": window.tolist()}
                for start, window in zip(self.starts_s, self.windows, strict=True)
            ]
        return plain


def join_windows(source: str, vectors: Sequence[Embedding], starts_s: Sequence[float], fingerprint: str) -> EmbeddedSound:
    """Make the result of a sound from the vectors of its windows.

    Args:
        source: Name of the sound.
        vectors: Of its windows, in order, each [dim] float32.
        starts_s: Start of each window, in seconds.
        fingerprint: Of the model.

    Raises:
        ProviderError: If the mean of the windows has no direction.
    """
    windows = np.stack(vectors)
    return EmbeddedSound(
        source=source, vector=mean_pool(windows), windows=windows, starts_s=tuple(starts_s), fingerprint=fingerprint
    )


def mean_pool(windows: Embeddings) -> Embedding:
    """Mean of unit vectors [windows, dim] float32, scaled to length 1; the vector itself if there is one.

    Raises:
        ProviderError: If the mean has no direction.
    """
    if len(windows) == 1:
        return windows[0]
    mean = windows.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    if not length > 1e-6:
        raise ProviderError(f"The vectors of {len(windows)} windows cancel each other out: their mean has no direction.")
    return (mean / length).astype(np.float32)
