"""What a search gives: sounds, best first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One sound that was found."""

    path: str
    """Where the sound is: a path or a URL, as it was indexed."""
    score: float
    """Cosine of the sound's best row with the query; with `names`, more where the path has words of the query."""
    start_s: float
    """Where in the sound its best window begins, in seconds."""
    id: str
    """The sound's id in the library, which `like` takes."""
    duration_s: float | None
    """Length of the sound, in seconds; None where it is not known."""
    windows: tuple[tuple[float, float], ...] = ()
    """Start in seconds and cosine of each window that the library has, best first; empty with `windows=False`."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The other columns of the library for the best row, such as `sha256`, `size` and `sample_rate`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = {"path": self.path, "score": round(self.score, 6), "start_s": self.start_s}
        plain |= {"id": self.id, "duration_s": self.duration_s}
        if self.windows:
            plain["windows"] = [{"start_s": start, "score": round(score, 6)} for start, score in self.windows]
        return plain | {"facts": dict(self.facts)}
