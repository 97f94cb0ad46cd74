"""`claprt similarity`: how alike sounds are, and how well texts fit them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.sounds import add_file_options, embedded_files, sound_files
from claprt.cli.tables import cosine_table
from claprt.scoring.classification import as_cosines
from claprt.system.terminal import columns

_EPILOG = """\
examples:
  claprt similarity dog.wav wolf.wav                      # one cosine
  claprt similarity *.wav                                 # all pairs
  claprt similarity *.wav --text "a dog barking" --text rain
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "similarity",
        usage="claprt similarity FILE ... [--text TEXT] [options]",
        help="say how alike sounds are",
        description="Cosines of sounds with each other, or with texts.",
        epilog=_EPILOG,
    )
    add_file_options(command, on_error="raise")
    command.add_argument("--text", action="append", default=[], metavar="TEXT", help="compare with this; may be repeated")
    command.add_argument("--json", action="store_true", help="one JSON object")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if a file was skipped."""
    named = sound_files(options.files)
    if len(named) < 2 and not (named and options.text):
        options.command.error("name two files, or one and --text")
    clap = load_model(options)
    others = clap.embed_text(options.text)
    files, sounds = embedded_files(options, clap, named)
    cosines = as_cosines(np.einsum("ad,bd->ab", sounds, others if options.text else sounds))
    status = int(len(files) < len(named))
    if options.json:
        plain = {"sources": files, "texts": options.text or None, "similarity": cosines.tolist()}
        print(json.dumps({**plain, "fingerprint": clap.fingerprint}))
    elif len(files) == 2 and not options.text:
        print(f"{cosines[0, 1]:.4f}")
    elif files:
        print(cosine_table(files, options.text or None, cosines, columns()))
        if not options.text and sys.stdout.isatty():
            print("\n(cosines; 1 is the same vector)")
    return status
