"""`claprt rank`: which of several sounds fits a text best."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.sounds import add_file_options, embedded_files, sound_files
from claprt.scoring.classification import as_cosines
from claprt.system.terminal import printable

_EPILOG = """\
examples:
  claprt rank --text "a dog barking" take1.wav take2.wav take3.wav
  claprt rank --text "a dog barking" takes/ --top 1 --json
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "rank",
        usage="claprt rank --text TEXT FILE ... [options]",
        help="order sounds by how well they fit a text",
        description="Best of n: sounds in the order of their cosines with a text, best first.",
        epilog=_EPILOG,
    )
    add_file_options(command, on_error="raise")
    command.add_argument("--text", required=True, metavar="TEXT", help="what the sounds are held against")
    command.add_argument("--top", type=int, metavar="K", help="only the K best")
    command.add_argument("--json", action="store_true", help="one JSON object")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if a file was skipped."""
    files = sound_files(options.files)
    if not files:
        options.command.error("name one file at least")
    if options.top is not None and options.top < 1:
        options.command.error("--top is 1 or more")
    clap = load_model(options)
    text = clap.embed_text(options.text)
    good, vectors = embedded_files(options, clap, files)
    cosines = as_cosines(np.einsum("ad,d->a", vectors, text))
    ranking = np.argsort(-cosines, kind="stable")[: options.top].tolist()
    if options.json:
        rows = [{"source": good[place], "score": float(cosines[place])} for place in ranking]
        print(json.dumps({"text": options.text, "ranking": rows, "fingerprint": clap.fingerprint}))
    else:
        width = len(str(len(ranking)))
        for number, place in enumerate(ranking, 1):
            print(f"{number:{width}}  {cosines[place]:+.4f}  {printable(good[place])}")
    return int(len(good) < len(files))
