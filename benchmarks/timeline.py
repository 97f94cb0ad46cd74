"""A timeline's cost per second of sound at a hop of one second, against the audio tower alone, in alternating trials.

    python benchmarks/timeline.py [--bundle FOLDER] [--seconds 60] [--trials 9]

Three ways through the same batching and threads, on the same windows:

- towers: log-mels that were computed before;
- timeline: `claprt.model.dense.embed_windows`, whose windows share their spectra;
- plain windows: each window's log-mel computed from its samples.

It also compares the vectors of all three, which are the same to the bit, and ends with status 1 where they are not, or
where the median of the ratios of timeline to towers is above 1.05. At the end it prints how much memory a stream of the
same sound takes at most (Python's objects and arrays, by tracemalloc), without the results.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import claprt
from claprt.arrays import Embeddings
from claprt.audio.features import AudioFeatures, audio_features
from claprt.audio.log_mel import log_mel
from claprt.audio.long_audio import dense_policy, fit_window
from claprt.audio.synthetic import SOUNDS
from claprt.audio.windows import cut_windows
from claprt.model.batching import embed_all
from claprt.model.dense import embed_windows
from claprt.model.parallel import exact_batch_size

BAR = 1.05


def main() -> int:
    """Measures and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--hop", type=float, default=1.0)
    parser.add_argument("--trials", type=int, default=9)
    options = parser.parse_args()

    clap = claprt.load(options.bundle, provider=options.provider)
    facts, policy = clap.manifest.audio, dense_policy(clap.manifest.audio, options.hop)
    rate = facts.mel.sample_rate
    makers = [SOUNDS[name] for name in ("rain", "drums", "speech-like", "tone")]
    stretch = options.seconds * rate // len(makers)
    sound = np.concatenate([make(stretch, rate) for make in makers]).astype(np.float32)

    def plain() -> Iterator[AudioFeatures]:
        hop = round(policy.hop_s * rate)
        for start, part in cut_windows([rounded], facts.window_samples, hop, facts.mel.hop):
            mel = log_mel(fit_window(part, facts), facts.mel)
            yield AudioFeatures(np.broadcast_to(mel, (facts.views, *mel.shape)), False, start / rate)

    rounded = prepared(clap, sound)
    features = list(audio_features(sound, facts, clap.recipe, policy, sample_rate=rate))
    ways: dict[str, Callable[[], Embeddings]] = {
        "towers": lambda: through(clap, lambda: iter(features)),
        "timeline": lambda: embed_windows(clap, sound, policy, rate).vectors,
        "plain windows": lambda: through(clap, plain),
    }
    vectors = {name: way() for name, way in ways.items()}
    equal = all(np.array_equal(found, vectors["towers"]) for found in vectors.values())
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for trial in range(options.trials):
        order = list(ways.items()) if trial % 2 else list(ways.items())[::-1]
        for name, way in order:
            started = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - started)
    print(f"{clap!r}: {options.seconds} s of sound, {len(features)} windows, a hop of {policy.hop_s:g} s")
    for name, times in taken.items():
        ratio = statistics.median(a / b for a, b in zip(times, taken["towers"], strict=True))
        each = 1000 * statistics.median(times) / options.seconds
        print(f"{name:14} {each:8.2f} ms a second of sound   {ratio:6.3f} of the towers")
    ratio = statistics.median(a / b for a, b in zip(taken["timeline"], taken["towers"], strict=True))
    print(f"vectors equal to the bit: {equal}; timeline is {'within' if ratio <= BAR else 'above'} {BAR} of the towers")
    print(f"a stream takes up to {stream_mb(clap, sound):.1f} MB")
    return int(not equal or ratio > BAR)


def through(clap: claprt.Clap, read: Callable[[], Iterator[AudioFeatures]]) -> Embeddings:
    """Vectors of windows, as `embed_windows` runs them."""
    (done,) = embed_all(
        ["windows"],
        lambda _: read(),
        clap.engine,
        batch_size=exact_batch_size(clap.engine, clap.batch_size),
        fused=clap.manifest.audio.fused,
        fingerprint=clap.fingerprint,
        dim=clap.dim,
    )
    return done.windows


def stream_mb(clap: claprt.Clap, sound: Any) -> float:
    """Megabytes that a stream takes at most, with blocks of a tenth of a second."""
    tracemalloc.start()
    with clap.stream(sample_rate=clap.sample_rate) as stream:
        for block in np.array_split(sound, 10 * len(sound) // clap.sample_rate):
            stream.push(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def prepared(clap: claprt.Clap, sound: Any) -> Any:
    """The sound with the levels of the model's recipe."""
    from claprt.audio.preprocess import preprocess_blocks
    from claprt.audio.sound import open_sound

    blocks = preprocess_blocks(open_sound(sound, clap.sample_rate, clap.sample_rate), clap.recipe, clap.sample_rate)
    return np.concatenate(list(blocks))


if __name__ == "__main__":
    raise SystemExit(main())
