"""Many sounds at once: the same vectors, in order, errors in their places, bounded, and ended when nobody listens."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import AudioDecodeError, ProviderError
from claprt.model import batching
from claprt.model.results import mean_pool

RATE = 48_000
MAKERS = list(SOUNDS.values())


def waveforms(count: int, seconds: float = 0.5) -> list[Any]:
    return [MAKERS[n % len(MAKERS)](round(seconds * RATE) + 97 * n, RATE) for n in range(count)]


@pytest.fixture
def two(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> claprt.Clap:
    """A model with two threads whatever the machine has, for which few are many."""
    monkeypatch.setattr(batching, "PARALLEL_AFTER", 8)
    return claprt.load(bundle, threads=2, batch_size=4)


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("claprt-read", "claprt-call"))]


@pytest.mark.seconds
def test_side_by_side_gives_what_one_by_one_gives(two: claprt.Clap) -> None:
    sounds = waveforms(60)
    expected = np.stack([two.embed_audio(sound) for sound in sounds])
    assert not workers()
    found: list[Any] = []
    seen: set[str] = set()
    for result in two.iter_audio(sounds):
        seen.update(workers())
        found.append(result.vector)
    assert np.abs(np.stack(found) - expected).max() < 1e-6
    assert {name[:11] for name in seen} == {"claprt-read", "claprt-call"}
    assert len([name for name in seen if name.startswith("claprt-call")]) == 2
    assert not workers()


def test_long_sounds_are_begun_in_one_way_and_ended_in_the_other(two: claprt.Clap) -> None:
    """The switch comes in the middle of a sound of many windows."""
    long = np.concatenate([maker(3 * RATE, RATE) for maker in MAKERS] * 5)  # 150 s, 15 windows
    (whole,) = two.iter_audio([long])
    assert len(whole.windows) == 15
    assert whole.starts_s == tuple(10.0 * n for n in range(15))
    slices = [long[start * 10 * RATE : (start + 1) * 10 * RATE] for start in range(15)]
    expected = np.stack([two.embed_audio(part) for part in slices])
    assert np.abs(whole.windows - expected).max() < 1e-6
    assert whole.vector is not None
    assert np.abs(whole.vector - mean_pool(expected)).max() < 1e-6


def test_errors_stay_in_their_places(two: claprt.Clap) -> None:
    sounds: list[Any] = waveforms(40)
    for place in (3, 17, 18, 39):
        sounds[place] = b"no sound at all"
    results = list(two.iter_audio(sounds))
    assert [place for place, result in enumerate(results) if result.error is not None] == [3, 17, 18, 39]
    with pytest.raises(AudioDecodeError):
        two.embed_audio(sounds)
    assert not workers()


def test_what_the_engine_raises_arrives(two: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = two.engine.batch_engine()

    def broken(*_: object) -> None:
        raise ProviderError("the tower has fallen")

    monkeypatch.setattr(engine, "audio", broken)
    with pytest.raises(ProviderError, match="the tower has fallen"):
        list(two.iter_audio(waveforms(30)))
    assert not workers()


def test_what_the_source_of_sources_raises_arrives(two: claprt.Clap) -> None:
    def sources() -> Iterator[Any]:
        yield from waveforms(20)
        raise KeyError("no more")

    with pytest.raises(KeyError):
        list(two.iter_audio(sources()))
    assert not workers()


def test_nobody_is_far_ahead(two: claprt.Clap) -> None:
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        sounds = waveforms(10)
        while True:
            taken += 1
            yield sounds[taken % 10]

    results = two.iter_audio(endless())
    for _ in range(30):
        next(results)
    time.sleep(0.3)
    assert taken < 30 + 40
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not workers()


_LEFT = """
import sys, numpy as np, claprt
from claprt.model import batching
batching.PARALLEL_AFTER = 4
clap = claprt.load(sys.argv[1], threads=2, batch_size=2)
results = clap.iter_audio(np.ones(48_000, np.float32) * n for n in range(1, 10**6))
for _ in range(12):
    next(results)
print("leaving", flush=True)
"""


@pytest.mark.seconds
def test_a_program_may_end_in_the_middle(bundle: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _LEFT, str(bundle)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"leaving\n"


@pytest.mark.seconds
def test_callers_of_several_threads(two: claprt.Clap) -> None:
    sounds = waveforms(30)
    expected = two.embed_audio(sounds)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(two.embed_audio(sounds))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(np.abs(rows - expected).max() < 1e-6 for rows in found)


def test_one_thread_needs_no_second_engine(bundle: Path) -> None:
    clap = claprt.load(bundle, threads=1)
    assert clap.engine.batch_engine() is clap.engine
    assert clap.engine.max_concurrency == 1


class Card:
    """An engine that says it is a GPU: counts the rows of its calls, one at a time, and takes a moment for each."""

    provider, precision, max_concurrency, threads = "cuda", "fp32", 1, 3

    def __init__(self, engine: Any, fails_at: int = -1, short_at: int = -1) -> None:
        self._engine, self._fails_at, self._short_at = engine, fails_at, short_at
        self.rows: list[int] = []
        self.busy = 0

    def batch_engine(self) -> Card:
        return self

    def audio(self, log_mels: Any, is_longer: Any) -> Any:
        self.busy += 1
        assert self.busy == 1
        time.sleep(0.01)
        self.rows.append(len(log_mels))
        if len(self.rows) == self._fails_at:
            self.busy -= 1
            raise ProviderError("the card is gone")
        vectors = self._engine.audio(log_mels, is_longer)
        self.busy -= 1
        return vectors[1:] if len(self.rows) == self._short_at else vectors

    def close(self) -> None:
        self._engine.close()


@pytest.mark.seconds
def test_a_gpu_gets_batches_and_several_threads_read_for_it(two: claprt.Clap) -> None:
    sounds = waveforms(60)
    expected = two.embed_audio(sounds)
    card = Card(two.engine)
    two.engine = cast("Any", card)
    found: list[Any] = []
    seen: set[str] = set()
    for result in two.iter_audio(sounds):
        seen.update(workers())
        found.append(result.vector)
    assert np.abs(np.stack(found) - expected).max() < 1e-6
    assert seen == {"claprt-read-0", "claprt-read-1", "claprt-read-2", "claprt-call-0"}
    assert sum(card.rows) == 60
    assert 1 < max(card.rows[3:]) <= two.batch_size
    assert not workers()


def test_a_gpu_runs_batches_of_a_fused_model(fused_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PARALLEL_AFTER", 4)
    clap = claprt.load(fused_bundle, threads=2, batch_size=4)
    sounds = [*waveforms(10), *waveforms(2, seconds=12), *waveforms(8)]
    expected = clap.embed_audio(sounds)
    card = Card(clap.engine)
    clap.engine = cast("Any", card)
    assert np.abs(clap.embed_audio(sounds) - expected).max() < 1e-6
    assert sum(card.rows) == len(sounds)


def test_a_gpu_that_gives_too_few_vectors_ends_the_run(two: claprt.Clap) -> None:
    two.engine = cast("Any", Card(two.engine, short_at=4))
    with pytest.raises(ValueError, match="shorter"):
        two.embed_audio(waveforms(40))
    assert not workers()


def test_a_gpu_that_fails_ends_the_run_with_its_error(two: claprt.Clap) -> None:
    two.engine = cast("Any", Card(two.engine, fails_at=4))
    with pytest.raises(ProviderError, match="the card is gone"):
        two.embed_audio(waveforms(40))
    assert not workers()
