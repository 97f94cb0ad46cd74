"""What a search gives: sounds, best first, with their facts and windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from claprt.arrays import Embedding
from claprt.library.schema import WHOLE_SOUND
from claprt.library.search.scan import Found, exact_cosines
from claprt.library.search.snapshot import Snapshot


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


def hits_of(snapshot: Snapshot, query: Embedding, found: Found, *, windows: bool) -> list[Hit]:
    """What was found as hits, with the facts of each.

    Args:
        snapshot: The library.
        query: [dim] float32.
        found: Sounds, scores and best rows.
        windows: Whether hits state the score of each of their windows.
    """
    hits: list[Hit] = []
    for sound, score, row in zip(found.sounds.tolist(), found.scores.tolist(), found.rows.tolist(), strict=True):
        (best,) = snapshot.facts_of([row])
        scored = _windows(snapshot, query, snapshot.rows_of(sound)) if windows else ()
        own = [best.pop(name) for name in ("path", "id", "duration_s", "start_s")]
        start_s = scored[0][0] if best["window"] == WHOLE_SOUND and scored else own[3]
        hits.append(
            Hit(path=own[0], score=score, start_s=start_s, id=own[1], duration_s=own[2], windows=scored, facts=best)
        )
    return hits


def _windows(snapshot: Snapshot, query: Embedding, rows: range) -> tuple[tuple[float, float], ...]:
    """Start in seconds and cosine of the windows among some rows, best first."""
    cosines = exact_cosines(snapshot, query, np.arange(rows.start, rows.stop)).tolist()
    facts = snapshot.facts_of(rows, ["window", "start_s"])
    scored = [
        (each["start_s"], cosine)
        for each, cosine in zip(facts, cosines, strict=True)
        if each["window"] != WHOLE_SOUND and np.isfinite(cosine)
    ]
    return tuple(sorted(scored, key=lambda window: (-window[1], window[0])))
