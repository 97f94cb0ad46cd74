"""One sound on its way through the service: what is known of it so far, and where its time went."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from claprt.arrays import Embedding
from claprt.audio.features import AudioFeatures
from claprt.model.batching import joined
from claprt.model.results import EmbeddedSound
from claprt.serve.scheduling.features import Load, Outline
from claprt.serve.scheduling.turns import Turn, settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A sound's vector and where its time went; the three times are all of it."""

    sound: EmbeddedSound
    first: AudioFeatures | None
    """The first window; None where the vector was in the model's cache, and nothing was run."""
    read_ms: float
    """Decoding, resampling and the log-mel; or looking into the cache."""
    wait_ms: float
    """For a reader, and for the tower."""
    tower_ms: float
    """Runs of the audio tower that its windows were in."""
    batch: int
    """Windows in the largest of those runs, those of other sounds included."""


@dataclass(slots=True, eq=False)
class Asked:
    """A sound on its way. `done` is set by the tower, or cancelled by whoever does not wait any longer."""

    load: Load
    outline: Outline | None
    arrived: float
    turn: Turn
    done: Future[None] = field(default_factory=Future[None])
    name: str = ""
    key: bytes | None = None
    found: EmbeddedSound | None = None
    first: AudioFeatures | None = None
    starts_s: list[float] = field(default_factory=list[float])
    """Of the windows that were handed to the tower."""
    complete: bool = False
    """Whether these are all."""
    vectors: list[Embedding] = field(default_factory=list[Embedding])
    read_s: float = 0.0
    tower_s: float = 0.0
    batch: int = 0

    def sound(self, fingerprint: str) -> EmbeddedSound:
        """The result, once all windows have been run."""
        return joined(self.name, self.vectors, self.starts_s, fingerprint)

    def heard(self, sound: EmbeddedSound) -> Heard:
        """The result with its times."""
        wait_s = max(0.0, time.perf_counter() - self.arrived - self.read_s - self.tower_s)
        return Heard(
            sound=sound,
            first=self.first,
            read_ms=1000 * self.read_s,
            wait_ms=1000 * wait_s,
            tower_ms=1000 * self.tower_s,
            batch=self.batch,
        )

    def settle(self) -> None:
        """Ends a sound all of whose windows have been run. The caller holds the batcher's lock."""
        if self.complete and len(self.vectors) == len(self.starts_s):
            settle(self.done, None)
