"""How near altered copies of a recording are to it, and how near the nearest other recording: for thresholds of duplicates.

python benchmarks/near_duplicates.py --dataset FOLDER [--bundle MODEL] [--every 4] [--out FILE]
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import soxr  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

import claprt  # noqa: E402
from claprt.evaluation.reading.read import read_dataset  # noqa: E402

Samples = NDArray[Any]
THRESHOLDS = (0.9, 0.95, 0.98, 0.99)


def variants(sound: Samples, rate: int) -> Iterator[tuple[str, Samples, int]]:
    """Altered copies of a sound [samples] of floats, each with a name and its rate."""
    yield "the same", sound, rate
    yield "half the level", sound * np.float32(0.5), rate
    for name, container, subtype in (("Ogg Vorbis", "OGG", "VORBIS"), ("MP3", "MP3", None)):
        file = io.BytesIO()
        soundfile.write(file, sound, rate, format=container, subtype=subtype)
        file.seek(0)
        decoded, its_rate = soundfile.read(file, dtype="float32")
        yield name, decoded, its_rate
    noise = np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32)
    yield "white noise 40 dB below", sound + noise * np.float32(0.01 * np.sqrt(np.mean(sound**2))), rate
    yield "a second cut from the end", sound[:-rate], rate
    yield "a quarter of a second cut from the start", sound[rate // 4 :], rate
    yield "16 kHz", soxr.resample(sound, rate, 16_000), 16_000


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description="Cosines of altered copies, and of other recordings.")
    parser.add_argument("--dataset", required=True, metavar="FOLDER", help="labelled clips, as claprt evaluate takes them")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--every", type=int, default=4, help="take every n-th clip (4)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "near-duplicates.json")
    options = parser.parse_args()
    dataset = read_dataset(options.dataset)
    items = dataset.items[:: options.every]
    with claprt.load(options.bundle) as clap:
        found: dict[str, list[Any]] = {}
        for item in items:
            sound, rate = soundfile.read(item.path, dtype="float32", always_2d=True)
            for name, samples, its_rate in variants(sound.mean(axis=1), rate):
                found.setdefault(name, []).append(clap.embed_audio((samples, its_rate)))
        name = clap.manifest.name
    vectors = {each: np.stack(rows) for each, rows in found.items()}
    original = vectors["the same"]
    pairs = original @ original.T
    np.fill_diagonal(pairs, -1)
    nearest = pairs.max(axis=1)
    results = {
        "bundle": name,
        "dataset": dataset.name,
        "clips": len(items),
        "copies": {
            each: dict(
                zip(
                    ("least", "p5", "median"),
                    np.percentile((rows * original).sum(axis=1), [0, 5, 50]).round(4),
                    strict=True,
                )
            )
            for each, rows in vectors.items()
        },
        "nearest other": dict(zip(("median", "p95", "most"), np.percentile(nearest, [50, 95, 100]).round(4), strict=True)),
        "share with another above": {f"{each:g}": round(float((nearest >= each).mean()), 3) for each in THRESHOLDS},
    }
    print(json.dumps(results, indent=1))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
