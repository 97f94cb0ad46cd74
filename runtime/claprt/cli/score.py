"""`claprt score`: scores of generated sound that can be cited."""

from __future__ import annotations

import argparse
import csv
from functools import partial
from pathlib import Path
from typing import Any

from claprt.cli.figures import check_files, show_figures, take_seed
from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.sounds import file_progress
from claprt.errors import OptionError
from claprt.evaluation.intervals import CONFIDENCE, validate_confidence
from claprt.evaluation.scores.embedding import provenance_under
from claprt.evaluation.scores.functions import score
from claprt.evaluation.scores.of_sets import read_sets
from claprt.evaluation.scores.pair_scores import PairScores
from claprt.evaluation.scores.pairs_file import read_pairs
from claprt.evaluation.scores.protocols.table import DEFAULT, PROTOCOLS, find_protocol
from claprt.evaluation.scores.provenance import Provenance
from claprt.evaluation.scores.report import pair_table, set_table
from claprt.evaluation.scores.set_scores import METRICS, SetScores, SoundSet, metrics_of
from claprt.evaluation.scores.statistics_file import write_statistics
from claprt.system.terminal import note, report_written

_EPILOG = """\
pairs:
  a CSV file with the columns path and text (and id), or JSON lines with these keys; relative paths are looked for in the
  folder of the file, then in the working folder

examples:
  claprt score --pairs generated.csv --bundle music_audioset_epoch_15_esc_90.14
  claprt score --reference recordings/ --candidate generated/ --metric fad,fad-inf,kad --json
  claprt score --reference recordings/ --save-reference recordings.npz
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "score",
        usage="claprt score (--pairs FILE | --reference FOLDER|NPZ --candidate FOLDER) [options]",
        help="compute a CLAP score or a Fréchet distance that can be cited",
        description="The CLAP score of sounds and their texts, or distances of generated sounds from a reference, with "
        "intervals and the facts without which a number cannot be compared.",
        epilog=_EPILOG,
    )
    command.add_argument("--pairs", type=Path, metavar="FILE", help="CSV or JSONL with path and text")
    command.add_argument(
        "--reference", type=Path, metavar="FOLDER|NPZ", help="sounds, a library of them, or saved statistics"
    )
    command.add_argument("--candidate", type=Path, metavar="FOLDER", help="sounds to hold against the reference")
    command.add_argument(
        "--metric", default="fad", metavar="NAMES", help=f"{', '.join(METRICS)}; with commas (%(default)s)"
    )
    command.add_argument(
        "--protocol", default=DEFAULT, choices=list(PROTOCOLS), metavar="NAME",
        help=f"whose steps from a sound to its vector: {', '.join(PROTOCOLS)} (%(default)s, the vectors of claprt embed)",
    )  # fmt: skip
    command.add_argument("--save-reference", type=Path, metavar="NPZ", help="write the reference's mean and covariance")
    command.add_argument("--confidence", type=float, default=CONFIDENCE, metavar="P", help="of the intervals (%(default)s)")
    command.add_argument("--items", type=Path, metavar="FILE", help="write every pair's cosine, or sound's part, as CSV")
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
    _check(options)
    protocol = find_protocol(options.protocol, pairs=options.pairs is not None, sets=options.pairs is None)
    seed = take_seed(options)
    pairs = None if options.pairs is None else read_pairs(options.pairs)
    clap = load_model(options)
    settings: dict[str, Any] = {
        "model": clap, "protocol": options.protocol, "seed": seed, "confidence": options.confidence,
        "progress": partial(file_progress, quiet=options.quiet),
    }  # fmt: skip
    if pairs is not None:
        found = score(pairs, **settings)
    elif options.candidate is not None:
        found = score(reference=options.reference, candidate=options.candidate, metric=options.metric, **settings)
    else:
        where = [("reference", options.reference)]
        (reference,) = read_sets(clap, where, protocol, seed=seed, progress=settings["progress"])
        provenance = provenance_under(clap, protocol, seed)
        _save(options, reference, provenance)
        side = reference.to_dict()
        figures = {"reference": side, "statistics": str(options.save_reference), "model": provenance.to_dict()}
        table = f"mean and covariance of {side['vectors']} vectors, fingerprint {provenance.fingerprint}"
        show_figures(options, figures, table, as_json=options.json)
        return 0
    for warning in found.warnings:
        note(options, warning)
    table = pair_table(found) if isinstance(found, PairScores) else set_table(found)
    show_figures(options, found.to_dict(), table, as_json=options.json)
    if options.items is not None:
        _write_items(found, options.items)
        report_written(options, options.items)
    if options.save_reference is not None and isinstance(found, SetScores):
        _save(options, found.reference, found.provenance)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Check options that need no model.

    Raises:
        OptionError: If one cannot be.
    """
    if options.pairs is not None and (options.reference or options.candidate or options.save_reference):
        options.command.error("give --pairs, or --reference and --candidate; both were given")
    if options.pairs is None and (options.reference is None or (options.candidate or options.save_reference) is None):
        options.command.error("give --pairs FILE, or --reference FOLDER and --candidate FOLDER")
    check_files(options.items, options.output, options.save_reference)
    if options.save_reference is not None and options.save_reference.suffix.lower() != ".npz":
        raise OptionError(f"{options.save_reference}: statistics are written as .npz; name such a file.")
    if options.protocol != DEFAULT and (options.long or options.hop or options.preprocess != "laion"):
        raise OptionError(
            f"Protocol {options.protocol} has its own preprocessing and windows; leave out --preprocess, --long and --hop."
        )
    validate_confidence(options.confidence)
    metrics_of(options.metric)


def _save(options: argparse.Namespace, reference: SoundSet, provenance: Provenance) -> None:
    """Write the statistics of the reference.

    Raises:
        OptionError: If it has too few sounds for statistics.
    """
    if reference.gaussian is None:
        raise OptionError(f"{reference.name} holds one sound; statistics need two at least.")
    write_statistics(options.save_reference, reference.gaussian, provenance)
    report_written(options, options.save_reference)


def _write_items(found: PairScores | SetScores, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if isinstance(found, PairScores):
            writer.writerow(["id", "path", "text", "score"])
            writer.writerows([item.id or "", item.path, item.text, repr(item.score)] for item in found.items)
        else:
            rows = [item.to_dict() for item in found.items]
            writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
