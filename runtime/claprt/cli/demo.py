"""`claprt demo`: a sample sound classified by the small model, with nothing to prepare."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import claprt
from claprt.cli.classify import chart
from claprt.cli.options import add_model_options, load_model
from claprt.errors import OptionError
from claprt.samples import SAMPLES, sample_path
from claprt.system.terminal import printable

LABELS = ("a dog barking", "rain", "a siren", "birds chirping", "footsteps")
"""What the demonstration chooses among: words that the small model knows."""

_EPILOG = f"""\
sample sounds: {", ".join(SAMPLES)}

examples:
  claprt demo
  claprt demo --save dog.wav rain.flac    # to try other commands with
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "demo",
        usage="claprt demo [--save FILE ...] [options]",
        help="classify a sample sound: start here",
        description="Classifies a sample sound that ships with claprt and compares it with another.",
        epilog=_EPILOG,
    )
    command.add_argument(
        "--save", nargs="+", default=[], metavar="FILE", help="write sample sounds instead: dog.wav, rain.flac, …"
    )
    add_model_options(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.save:
        targets = [(Path(file), _sample_of(Path(file))) for file in options.save]
        for target, sample in targets:
            _save(target, sample)
            print(f"wrote {printable(str(target))}")
        return 0
    options.bundle = options.bundle or "mini"
    dog, rain = sample_path("dog"), sample_path("rain")
    began = time.perf_counter()
    clap = load_model(options)
    clap.embed_labels(LABELS)
    other = clap.embed_audio(rain)
    ready = time.perf_counter()
    result = claprt.classify(dog, labels=LABELS, model=clap, top_k=len(LABELS))
    took_ms = 1000 * (time.perf_counter() - ready)
    print(f"{Path(dog).name}, a sample sound, classified by {clap.manifest.name}:\n")
    print(chart(result))
    print(
        f"\nSimilarity of {Path(dog).name} and {Path(rain).name}: {other @ result.audio_embedding:.3f} (1 for equal sounds)"
    )
    print(f"Loaded in {ready - began:.2f} s, classified in {took_ms:.0f} ms on {clap.provider}")
    print("\nNext:")
    print("  claprt demo --save dog.wav")
    print('  claprt classify dog.wav --labels "a dog barking" "rain" "a siren"')
    return 0


def _sample_of(target: Path) -> str:
    """Path of the sample sound that a file is named after.

    Raises:
        OptionError: If no sample has that name, the file exists, or its folder does not.
    """
    if target.stem not in SAMPLES:
        named = " or ".join(f"{name}{target.suffix or '.wav'}" for name in SAMPLES)
        raise OptionError(f"--save {target}: name the file after a sample sound, {named}.")
    if target.exists() or target.is_symlink():
        raise OptionError(f"--save {target}: there is such a file already, and it is not replaced.")
    if not target.parent.is_dir():
        raise OptionError(f"--save {target}: there is no folder {target.parent}.")
    return sample_path(target.stem)


def _save(target: Path, sample: str) -> None:
    """Write a sample sound in the format that the file's suffix names.

    Raises:
        OptionError: If the file cannot be written.
    """
    import soundfile

    samples, rate = soundfile.read(sample, dtype="int16")
    try:
        soundfile.write(target, samples, rate)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise OptionError(f"--save {target} cannot be written: {error}") from error
