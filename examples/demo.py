"""Embeds a few sounds and says how alike they are: sounds computed on the spot, and any files given.

python examples/demo.py --bundle build/bundles/untrained-tiny [FILE …]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import claprt
from claprt.synthetic import SOUNDS

RATE = 48_000


def main() -> None:
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(description="Embed sounds and show how alike they are.")
    parser.add_argument("--bundle", required=True, help="bundle to use")
    parser.add_argument("files", nargs="*", help="sound files to embed as well")
    options = parser.parse_args()

    started = time.perf_counter()
    clap = claprt.load(options.bundle)
    print(f"{clap!r} loaded in {time.perf_counter() - started:.2f} s")
    print(f"fingerprint {clap.fingerprint}\n")

    names = list(SOUNDS)
    sounds = [SOUNDS[name](3 * RATE, RATE) for name in names]
    started = time.perf_counter()
    vectors = clap.embed_audio(sounds, RATE)
    print(f"{len(sounds)} synthesised sounds embedded in {time.perf_counter() - started:.2f} s")
    if options.files:
        vectors = np.concatenate([vectors, clap.embed_audio(options.files)])
        names += [Path(file).name for file in options.files]

    print("\ncosine similarity, in hundredths")
    print(table(names, vectors @ vectors.T))
    if not clap.manifest.source.trained:
        print("\nThese weights are untrained: the figures show that the engine runs, not what sounds mean.")
    alone = np.stack([clap.embed_audio(sound, RATE) for sound in sounds])
    print(f"largest difference between a sound alone and in the batch: {np.abs(alone - vectors[: len(alone)]).max():.1e}")


def table(names: list[str], similarities: np.ndarray) -> str:
    """The matrix with its names, a column for each number of a row."""
    width = min(max(map(len, names)), 24)
    head = " " * (width + 4) + "".join(f"{number:5}" for number in range(1, len(names) + 1))
    rows = [
        f"{number:2}  {name:{width}.{width}}" + "".join(f"{round(100 * value):5}" for value in row)
        for number, (name, row) in enumerate(zip(names, similarities, strict=True), start=1)
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    main()
