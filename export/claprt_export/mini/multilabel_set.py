"""Synthesised sounds with several tags each, to calibrate tags with and to measure them on.

    python -m claprt_export.mini.multilabel_set FOLDER [--sounds 600] [--seed NAME] [--wordings held_out]

Every other sound is a mixture of two kinds, both of which are its tags. A seed of its own gives sounds that no other seed
has; the seed `calibration` is what mini's tags were calibrated on (`make mini STEP=tags`).
"""

from __future__ import annotations

import argparse
import csv
import zlib
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from claprt.arrays import Waveform
from claprt_export.synthesis.classes import KINDS, synthesise
from claprt_export.synthesis.signals import RATE

_SILENCE = "silence"
_LOUDEST = 0.95


def mixture(names: tuple[str, ...], random: np.random.Generator) -> Waveform:
    """A sound [samples] at 48 kHz in which each of these kinds can be heard: their power differs by up to 6 dB."""
    parts = [synthesise(name, random) for name in names]
    samples = max(part.size for part in parts)
    mixed = np.zeros(samples, np.float32)
    for part in parts:
        level = float(np.sqrt(np.mean(part**2, dtype=np.float64)))
        gain = 0.1 * 10 ** (random.uniform(-3, 3) / 20) / level if level > 0 else 0.0
        start = int(random.integers(samples - part.size + 1))
        mixed[start : start + part.size] += part * np.float32(gain)
    peak = float(np.abs(mixed).max())
    return mixed * np.float32(_LOUDEST / peak) if peak > _LOUDEST else mixed


def drawn(number: int, random: np.random.Generator) -> tuple[str, ...]:
    """The kinds of a sound: one for even numbers, two for odd ones."""
    names = [name for name in KINDS if name != _SILENCE] if number % 2 else list(KINDS)
    return tuple(str(name) for name in random.choice(names, 1 + number % 2, replace=False))


def write(folder: Path, sounds: int, seed: str, wordings: str = "wordings") -> None:
    """Write `labels.csv` and the sounds; a kind's tag is its first wording, or the first that training never saw.

    Args:
        folder: where to, created if needed.
        sounds: how many.
        seed: of the mixtures.
        wordings: attribute of a kind that its tag comes from, `wordings` or `held_out`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "caption_1", "caption_2"])
        for number in tqdm(range(sounds), unit="sound", disable=None):
            random = np.random.default_rng(zlib.crc32(f"tagged/{seed}/{number}".encode()))
            kinds = drawn(number, random)
            name = f"{number:04}.flac"
            soundfile.write(folder / name, mixture(kinds, random), RATE)
            tags = [getattr(KINDS[kind], wordings)[0] for kind in kinds]
            table.writerow([name, *tags, *[""] * (2 - len(tags))])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m claprt_export.mini.multilabel_set", description="Write tagged sounds.")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--sounds", type=int, default=600, help="how many (600)")
    parser.add_argument("--seed", default="calibration", help="another word gives other sounds (calibration)")
    parser.add_argument("--wordings", choices=["wordings", "held_out"], default="wordings", help="which words are the tags")
    options = parser.parse_args()
    write(options.folder, options.sounds, options.seed, options.wordings)


if __name__ == "__main__":
    main()
