"""What margin and spread do to a projection: the table of docs/projection.md.

python examples/projection_study.py [--bundle FOLDER] [--each N]

Embeds synthesised sounds of every kind that `claprt_export.synthesis.classes` has, trains a projection of six descriptors
for each pair of margin and spread, and prints what the sounds that were held out make of it.
"""

from __future__ import annotations

import argparse
import time
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

import claprt
from claprt_export.projection.network import ProjectionConfig
from claprt_export.projection.train import Plan, train_projection
from claprt_export.projection.training_data import material
from claprt_export.projection.triplets import proxy_triplets
from claprt_export.synthesis.classes import KINDS, synthesise

RATE = 48_000
SECONDS = 2.0
PAIRS = ((1.0, 0.0), (0.5, 0.0), (0.2, 0.0), (0.05, 0.0), (1.0, 0.5), (0.5, 0.5), (0.2, 0.5), (0.2, 2.0), (0.05, 0.5))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what margin and spread do to a projection.")
    parser.add_argument("--bundle", default="mini", help="bundle to embed with (mini)")
    parser.add_argument("--each", type=int, default=16, help="sounds of each kind (16)")
    options = parser.parse_args()
    clap = claprt.load(options.bundle)
    names = [kind for kind in KINDS for _ in range(options.each)]
    sounds = (
        synthesise(kind, np.random.default_rng([zlib.crc32(kind.encode()), number]), SECONDS)
        for number, kind in enumerate(names)
    )
    rows = [sound.vector for sound in tqdm(clap.iter_audio(sounds, RATE), total=len(names), unit="sound")]
    found = material(np.stack([row for row in rows if row is not None]))
    kinds = np.array(names)
    triplets = proxy_triplets(found)
    config = ProjectionConfig(input_dim=clap.dim)
    print(f"{clap.fingerprint}: {len(KINDS)} kinds of sound, {triplets.about}")
    held = triplets.sounds
    share = same_kind(found.embeddings[held], kinds[held])
    print(f"nearest other held-out sound of the same kind: {100 * share:.0f} % by cosine of embeddings")
    print("margin  spread | right  untrained | same kind | axes used: mean  least | grid | best epoch, seconds")
    for margin, spread in PAIRS:
        started = time.perf_counter()
        run = train_projection(found, triplets, config, Plan(margin=margin, spread=spread))
        seconds = time.perf_counter() - started
        with torch.inference_mode():
            descriptors = run.network(torch.from_numpy(found.embeddings[held])).numpy()
        shares = (run.accuracy, run.untrained_accuracy, same_kind(descriptors, kinds[held]), np.mean(run.use.axes))
        right, untrained, kept, mean = (100 * float(share) for share in shares)
        print(
            f"{margin:6}  {spread:6} | {right:5.1f}  {untrained:9.1f} | {kept:9.0f} | {mean:15.0f} "
            f"{100 * min(run.use.axes):6.0f} | {100 * run.use.grid:4.0f} | {run.best_epoch}, {seconds:.1f}"
        )


def same_kind(vectors: NDArray[Any], kinds: NDArray[Any]) -> float:
    """Share of vectors [n, d] whose nearest other is of the same kind."""
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((kinds[distances.argmin(axis=1)] == kinds).mean())


if __name__ == "__main__":
    main()
