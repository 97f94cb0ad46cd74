"""`claprt calibrate`: from labelled sounds to probabilities of tags, kept in the bundle's manifest."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from claprt.bundle.address import is_address
from claprt.bundle.folder import BUNDLE_VARIABLE, bundle_folder, is_shipped
from claprt.bundle.manifest import MANIFEST_FILE, Manifest, TaggingCalibration
from claprt.bundle.published import published_name
from claprt.cli.datasets import add_dataset_options, named_dataset
from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.sounds import file_progress
from claprt.errors import OptionError
from claprt.evaluation.calibration import TEMPLATES, calibrate
from claprt.system.atomic import atomic_file
from claprt.system.terminal import report_written

_EPILOG = """\
datasets: as for `claprt evaluate`; columns whose names begin with "caption" are further tags of a sound.

A tag's probability is 0.5 where it is as likely right as wrong, if about as many of the tags that are asked apply as in the
dataset; --prevalence 0.05 says that one in twenty does.

examples:
  claprt calibrate --bundle bundle --dataset ESC-50
  claprt calibrate --bundle bundle --dataset sounds.csv --prevalence 0.05 --dry-run
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "calibrate",
        usage="claprt calibrate --bundle FOLDER --dataset PATH [options]",
        help="calibrate the probabilities of tags",
        description="Finds the cosine at which a tag is as likely right as wrong, and keeps it in the bundle.",
        epilog=_EPILOG,
    )
    add_dataset_options(command)
    command.add_argument(
        "--template",
        action="append",
        metavar="TEXT",
        help=f"sentence with {{}}; may be repeated ({' and '.join(map(repr, TEMPLATES))})",
    )
    command.add_argument("--prevalence", type=float, metavar="P", help="share of right tags to expect (the dataset's)")
    command.add_argument("--dry-run", action="store_true", help="print the result and change nothing")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    named = options.bundle or os.environ.get(BUNDLE_VARIABLE)
    if not options.dry_run:
        _check_place(named)
    dataset = named_dataset(options)
    clap = load_model(options)
    found = calibrate(
        clap,
        dataset,
        templates=options.template or TEMPLATES,
        prevalence=options.prevalence,
        progress=partial(file_progress, quiet=options.quiet),
    )
    print(json.dumps(asdict(found)) if options.json else report(found))
    if not options.dry_run:
        write(clap.bundle.path, replace(clap.manifest, tagging=found))
        report_written(options, clap.bundle.path / MANIFEST_FILE)
    return 0


def _check_place(named: str | None) -> None:
    if named is None or is_address(named):
        raise OptionError("Name the folder of the bundle that shall keep the result (--bundle FOLDER), or give --dry-run.")
    if is_shipped(bundle_folder(named)):
        raise OptionError(f"{named} is part of the installed package; copy the folder and calibrate the copy.")
    folder = bundle_folder(named)
    if not (folder / MANIFEST_FILE).is_file() and (folder.exists() or published_name(named) is not None):
        raise OptionError(
            f"{named} is not the folder of a bundle, which is where a calibration is kept. Name the one that "
            "`claprt-export` wrote, or give --dry-run."
        )


def write(folder: Path, manifest: Manifest) -> None:
    """Put a manifest into a bundle, whole or not at all.

    Raises:
        OptionError: the folder cannot be written.
    """
    try:
        with atomic_file(folder / MANIFEST_FILE) as file:
            file.write_text(manifest.to_json(), encoding="utf-8")
    except OSError as error:
        raise OptionError(f"The bundle at {folder} cannot be changed: {error.strerror}.") from error


def report(found: TaggingCalibration) -> str:
    """What was found, in sentences."""
    lines = [f"{found.sounds} sounds and {found.tags} tags of {found.dataset}, of which {found.prevalence:.1%} apply"]
    lines.append(f"a tag is as likely right as wrong at a cosine of {found.midpoint:.3f} (slope {found.slope:.1f})")
    for name, of in (("from 0.5, on sounds left out", found.held_out), ("sigmoid(scale * cosine)", found.uncalibrated)):
        lines.append(f"{name:30} precision {of.precision:.3f}, recall {of.recall:.3f}, F1 {of.f1:.3f}")
    return "\n".join(lines)
