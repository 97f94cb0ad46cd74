"""What embedding a sound gives beyond the bare vector."""

from __future__ import annotations

from dataclasses import dataclass

from claprt.arrays import Embedding, Embeddings
from claprt.errors import AudioError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedSound:
    """One source of a batch: its vector, or the reason why it has none."""

    source: str
    """Path or description of the source."""
    vector: Embedding | None
    """[dim] of length 1; None if the source was skipped."""
    windows: Embeddings
    """Vector of each window [windows, dim], the parts that `vector` is the mean of."""
    starts_s: tuple[float, ...]
    """Where each window begins, in seconds."""
    fingerprint: str
    """What made the vector; vectors are comparable where it is equal."""
    error: AudioError | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; windows are left out where there is only one."""
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
