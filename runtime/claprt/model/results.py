"""What embedding a sound gives beyond the bare vector."""

from __future__ import annotations

from dataclasses import dataclass

from claprt.arrays import Embedding, Embeddings
from claprt.errors import AudioError


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
