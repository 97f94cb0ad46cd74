"""Says what sounds are, ranks them by a description, and compares them: sounds computed on the spot, and any files given.

python examples/demo.py [--bundle FOLDER] [--save FOLDER] [FILE …]
"""

from __future__ import annotations

import argparse
import time
import zlib
from pathlib import Path

import numpy as np
import soundfile

import claprt
from claprt_export.synthesis.classes import synthesise

RATE = 48_000
SECONDS = 4.0
KINDS = ("wailing siren", "bird chirps", "drum loop", "plucked string", "white noise", "footsteps", "organ", "laser")
LABELS = (
    "a siren", "birds chirping", "a drum beat", "a plucked string", "white noise", "footsteps", "an organ", "a laser gun",
    "a dog barking", "rain", "sea waves", "a crying baby", "a helicopter", "a ringing bell", "silence",
)  # fmt: skip
QUERIES = ("an emergency siren", "birds singing in a tree", "someone walking", "the string of a guitar")


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description="Say what sounds are, rank them and compare them.")
    parser.add_argument("--bundle", help="bundle to use (the small model that ships with claprt)")
    parser.add_argument("--save", type=Path, help="folder for the synthesised sounds, as WAV files")
    parser.add_argument("files", nargs="*", help="sound files to look at as well")
    options = parser.parse_args()

    started = time.perf_counter()
    clap = claprt.load(options.bundle)
    print(f"{clap!r} loaded in {time.perf_counter() - started:.2f} s")
    print(f"fingerprint {clap.fingerprint}")

    names = [f"synthesised {kind}" for kind in KINDS]
    sounds = [synthesise(kind, np.random.default_rng(zlib.crc32(kind.encode())), SECONDS)
              for kind in KINDS]  # fmt: skip
    if options.save is not None:
        options.save.mkdir(parents=True, exist_ok=True)
        for kind, sound in zip(KINDS, sounds, strict=True):
            soundfile.write(options.save / f"{kind}.wav", sound, RATE, subtype="FLOAT")
    started = time.perf_counter()
    results = claprt.classify(sounds, labels=LABELS, model=clap, top_k=3, sample_rate=RATE)
    took = (time.perf_counter() - started) / len(sounds)
    print(f"\nWhat is it? {len(sounds)} synthesised sounds against {len(LABELS)} labels, {1000 * took:.0f} ms each")
    if options.files:
        names += [Path(file).name for file in options.files]
        results += claprt.classify(options.files, labels=LABELS, model=clap, top_k=3)
    for name, result in zip(names, results, strict=True):
        print(f"\n{name}")
        for position in result.ranking[: result.top_k]:
            share = float(result.probabilities[position])
            print(f"{result.class_names[position]:22} {share:6.1%} {'█' * round(30 * share)}".rstrip())

    vectors = np.stack([result.audio_embedding for result in results])
    print("\nWhich sound is it? Ranked by cosine")
    for query, vector in zip(QUERIES, clap.embed_text(QUERIES), strict=True):
        cosines = vectors @ vector
        best = ", ".join(f"{names[position]} {cosines[position]:+.2f}" for position in np.argsort(-cosines)[:3])
        print(f"  {query}: {best}")

    print("\nHow alike are they? Cosine in hundredths")
    print(table(names, vectors @ vectors.T))
    if not clap.manifest.source.trained:
        print("\nThese weights are untrained: the figures show that the engine runs, not what sounds mean.")
    alone = np.stack([clap.embed_audio(sound, RATE) for sound in sounds])
    print(f"\nlargest difference between a sound alone and in the batch: {np.abs(alone - vectors[: len(alone)]).max():.1e}")


def table(names: list[str], similarities: np.ndarray) -> str:
    """The matrix with its names, a column for each number of a row."""
    width = min(max(map(len, names)), 28)
    head = " " * (width + 4) + "".join(f"{number:5}" for number in range(1, len(names) + 1))
    rows = [
        f"{number:2}  {name:{width}.{width}}" + "".join(f"{round(100 * value):5}" for value in row)
        for number, (name, row) in enumerate(zip(names, similarities, strict=True), start=1)
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    main()
