"""`claprt score`: how well sounds fit their texts, as a score that can be cited."""

from __future__ import annotations

import argparse
import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

from claprt.audio.long_audio import LongMode
from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.sounds import file_progress
from claprt.errors import OptionError
from claprt.evaluation.scores.functions import score
from claprt.evaluation.scores.intervals import CONFIDENCE, checked_confidence, checked_seed
from claprt.evaluation.scores.pair_scores import PairScores
from claprt.evaluation.scores.pairs_file import read_pairs
from claprt.evaluation.scores.report import pair_table
from claprt.system.terminal import note, report_written

_EPILOG = """\
pairs:
  a CSV file with the columns path and text (and id), or JSON lines with these keys; relative paths are looked for in the
  folder of the file, then in the working folder

examples:
  claprt score --pairs generated.csv --bundle music_audioset_epoch_15_esc_90.14
  claprt score --pairs generated.csv --json -o score.json --items items.csv
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "score",
        usage="claprt score --pairs FILE [options]",
        help="compute a CLAP score that can be cited",
        description="The CLAP score of sounds and their texts, with an interval and what shuffled pairs would score.",
        epilog=_EPILOG,
    )
    command.add_argument("--pairs", required=True, metavar="FILE", help="CSV or JSONL with path and text")
    command.add_argument("--confidence", type=float, default=CONFIDENCE, metavar="P", help="of the intervals (%(default)s)")
    command.add_argument("--items", type=Path, metavar="FILE", help="write every pair's cosine as CSV")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="write everything as JSON")
    command.add_argument("--json", action="store_true", help="everything as one JSON object on standard output")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        OptionError: If an output cannot be written, or an option has no such value.
    """
    for output in (options.items, options.output):
        if output is not None and not output.parent.is_dir():
            raise OptionError(f"{output}: there is no folder {output.parent}.")
        if output is not None and output.is_dir():
            raise OptionError(f"{output} is a folder; name a file in it.")
    checked_confidence(options.confidence)
    seed = checked_seed(options.seed or 0)
    if options.long not in (LongMode.RANDOM, LongMode.FUSION):
        options.seed = None  # of the intervals alone
    pairs = read_pairs(options.pairs)
    clap = load_model(options)
    found = score(
        pairs, model=clap, seed=seed, confidence=options.confidence, progress=partial(file_progress, quiet=options.quiet)
    )
    for warning in found.warnings:
        note(options, warning)
    print(json.dumps(found.to_dict(), indent=1) if options.json else pair_table(found))
    if options.output is not None:
        options.output.write_text(json.dumps(found.to_dict(), indent=1) + "\n", encoding="utf-8")
        report_written(options, options.output)
    if options.items is not None:
        _write_items(found, options.items)
        report_written(options, options.items)
    return 0


def _write_items(found: PairScores, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "text", "score"])
        writer.writerows([item.id or "", item.path, item.text, repr(item.score)] for item in found.items)
