"""One audio embedding on its way through the scheduler: its windows and vectors so far, and its times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from claprt.arrays import Embedding
from claprt.audio.long_audio import LongAudioPolicy
from claprt.audio.resample import Samples
from claprt.audio.sound import Sound
from claprt.model.dense import EmbeddedWindows
from claprt.model.results import EmbeddedSound, join_windows
from claprt.serve.scheduling.audio_input import AudioInput
from claprt.serve.scheduling.fair_queue import Client, settle


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedEmbedding:
    """The embedding of one audio input and its times, which add up to the whole."""

    sound: EmbeddedSound
    read_ms: float
    """Decoding, resampling and the log-mel; or the look-up in the cache."""
    wait_ms: float
    """For a reader, and for the tower."""
    tower_ms: float
    """Runs of the audio tower that its windows were in."""
    batch: int
    """Windows in the largest of those runs, those of other jobs included; 0 for an embedding from the cache."""


@dataclass(slots=True, eq=False)
class AudioJob:
    """One audio embedding. `done` is set by the tower, or cancelled with the request."""

    audio: AudioInput | None
    """None once the job has ended: queues may hold it for a while longer."""
    client: Client
    done: Future[None] = field(default_factory=Future[None])
    arrived: float = field(default_factory=time.perf_counter)
    name: str = ""
    key: bytes | None = None
    policy: LongAudioPolicy | None = None
    """The windows of a timeline; None for the model's."""
    duration_s: float = 0.0
    """Seconds of sound that were read, of a timeline."""
    cached: EmbeddedSound | None = None
    starts_s: list[float] = field(default_factory=list[float])
    """Start of each window that was handed to the tower."""
    complete: bool = False
    """Whether these are all."""
    vectors: list[Embedding] = field(default_factory=list[Embedding])
    read_s: float = 0.0
    tower_s: float = 0.0
    batch: int = 0

    def note_duration(self, sound: Sound) -> Iterator[Samples]:
        """The blocks [samples] of a sound, whose duration is noted."""
        samples = 0
        for block in sound.blocks:
            samples += block.size
            self.duration_s = samples / sound.rate
            yield block

    def timed(self, fingerprint: str) -> TimedEmbedding:
        """Combine the vectors of all windows, and add up the times."""
        wait_s = max(0.0, time.perf_counter() - self.arrived - self.read_s - self.tower_s)
        return TimedEmbedding(
            sound=self.cached or join_windows(self.name, self.vectors, self.starts_s, fingerprint),
            read_ms=1000 * self.read_s,
            wait_ms=1000 * wait_s,
            tower_ms=1000 * self.tower_s,
            batch=self.batch,
        )

    def windows(self, window_s: float) -> EmbeddedWindows:
        """The vectors of all windows, whose length in seconds is `window_s` unless the sound is shorter."""
        return EmbeddedWindows(
            source=self.name,
            vectors=np.stack(self.vectors),
            starts_s=np.array(self.starts_s, np.float64),
            window_s=min(window_s, self.duration_s),
            duration_s=self.duration_s,
        )

    def settle(self) -> None:
        """End the job if all of its windows have been run. The caller holds the batcher's lock."""
        if self.complete and len(self.vectors) == len(self.starts_s):
            settle(self.done, None)
