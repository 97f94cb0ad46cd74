"""How long one sound takes, stage by stage, compared with a target.

The stages are those of `Clap.embed_audio` for a sound of one window, called one after the other: decode (libsndfile and
mono), resample (and levels), window (padding), mel, tower. The total
is measured separately, as one whole call, so it includes what lies between the stages. Sounds are synthesised, written as
16-bit WAV in memory at 44.1 kHz, and read back, so that decoding and resampling are part of every figure.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from claprt.audio.log_mel import log_mel
from claprt.audio.long_audio import LongAudioPolicy, LongMode, audio_windows
from claprt.audio.preprocess import preprocess_blocks
from claprt.audio.sound import open_sound
from claprt.audio.synthetic import SOUNDS
from claprt.model.clap import Clap

FILE_RATE = 44_100
STAGES = ("decode", "resample", "window", "mel", "tower")
CALLS = ((1, 1), (10, 1), (10, 10))
"""Seconds of a sound and sounds of a call, for each kind of call."""
_WARMING = 3
"""Calls of each case that are not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Milliseconds that half, 95 % and 99 % of the trials stayed below."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of call, measured."""

    name: str
    sounds: int
    total: Percentiles
    stages: dict[str, Percentiles]
    """Of one sound of the call; empty for batches, where stages of several sounds lie between each other."""

    @property
    def p95_per_sound_ms(self) -> float:
        """What the target is compared with."""
        return self.total.p95_ms / self.sounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The whole measurement and its verdict."""

    target_ms: float
    trials: int
    provider: str
    precision: str
    model: str
    trained: bool
    cases: tuple[Case, ...]

    @property
    def met(self) -> bool:
        """Whether 95 % of the trials of every case stayed below the target, per sound."""
        return all(case.p95_per_sound_ms < self.target_ms for case in self.cases)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "met": self.met}


def measure_latency(
    clap: Clap,
    *,
    target_ms: float = 100.0,
    trials: int = 30,
    progress: Callable[[str], None] = lambda _: None,
    calls: Sequence[tuple[int, int]] = CALLS,
) -> Latency:
    """Measure one sound of 1 s, one of 10 s, and ten of 10 s in one call.

    Args:
        clap: The model to measure.
        target_ms: What 95 % of the sounds shall stay below.
        trials: Calls of each case, after those that warm up.
        progress: Is told which case is being measured.
        calls: Other cases: seconds of a sound, and sounds of a call.
    """
    cases: list[Case] = []
    for seconds, count in calls:
        name = f"{seconds} s" if count == 1 else f"{count} x {seconds} s"
        progress(name)
        makers = list(SOUNDS.values())
        files = [_wav(makers[(7 + index) % len(makers)](seconds * FILE_RATE, FILE_RATE)) for index in range(count)]
        cases.append(_case(clap, name, files, trials))
    return Latency(
        target_ms=target_ms,
        trials=trials,
        provider=clap.provider,
        precision=str(clap.precision),
        model=clap.manifest.name,
        trained=clap.manifest.source.trained,
        cases=tuple(cases),
    )


def _case(clap: Clap, name: str, files: list[bytes], trials: int) -> Case:
    totals: list[float] = []
    watches = {stage: list[float]() for stage in STAGES}
    for trial in range(-_WARMING, trials):
        started = time.perf_counter()
        clap.embed_audio(files)
        took = time.perf_counter() - started
        split = _stages(clap, files[0]) if len(files) == 1 else {}
        if trial >= 0:
            totals.append(took)
            for stage, seconds in split.items():
                watches[stage].append(seconds)
    stages = {stage: _percentiles(seconds) for stage, seconds in watches.items() if seconds}
    return Case(name=name, sounds=len(files), total=_percentiles(totals), stages=stages)


def _stages(clap: Clap, file: bytes) -> dict[str, float]:
    facts, seconds = clap.manifest.audio, dict.fromkeys(map(str, STAGES), 0.0)

    @contextmanager
    def timed(stage: str) -> Generator[None]:
        started = time.perf_counter()
        yield
        seconds[stage] += time.perf_counter() - started

    with timed("decode"):
        sound = open_sound(file, None, clap.sample_rate)
        decoded = list(sound.blocks)
    with timed("resample"):
        blocks = list(preprocess_blocks(replace(sound, blocks=iter(decoded)), clap.recipe, clap.sample_rate))
    with timed("window"):
        _, window = next(audio_windows(iter(blocks), facts, LongAudioPolicy(mode=LongMode.HEAD)))
    with timed("mel"):
        mel = log_mel(window, facts.mel)
    is_longer = np.zeros((1, 1), np.bool_) if facts.fused else None
    with timed("tower"):
        clap.engine.audio(np.repeat(mel[None, None], facts.views, axis=1), is_longer)
    return seconds


def _percentiles(seconds: list[float]) -> Percentiles:
    p50, p95, p99 = (float(value) for value in np.percentile(np.array(seconds) * 1000, (50, 95, 99)))
    return Percentiles(p50_ms=p50, p95_ms=p95, p99_ms=p99)


def _wav(waveform: NDArray[np.float32]) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, waveform, FILE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
