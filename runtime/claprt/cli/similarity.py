"""`claprt similarity`: how alike sounds are, and how well texts fit them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.cli.options import add_model_options, add_sound_options, load_model, sound_source

_EPILOG = """\
examples:
  claprt similarity dog.wav wolf.wav                      # one cosine
  claprt similarity *.wav                                 # all pairs
  claprt similarity *.wav --text "a dog barking" --text rain
"""


def add(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "similarity",
        help="say how alike sounds are",
        description="Cosines of sounds with each other, or with texts.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("files", nargs="+", metavar="FILE", help="sound files, before the options; - is standard input")
    command.add_argument("--text", action="append", default=[], metavar="TEXT", help="compare with this; may be repeated")
    command.add_argument("--json", action="store_true", help="one JSON object")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    if len(options.files) < 2 and not options.text:
        options.command.error("name two files, or one and --text")
    clap = load_model(options)
    sounds = clap.embed_audio([sound_source(file) for file in options.files])
    others = clap.embed_text(options.text) if options.text else sounds
    names = options.text or options.files
    cosines = np.einsum("ad,bd->ab", sounds, others)
    if options.json:
        plain = {"sources": options.files, "texts": options.text or None, "similarity": cosines.tolist()}
        print(json.dumps({**plain, "fingerprint": clap.fingerprint}))
    elif not options.text and len(options.files) == 2:
        print(f"{cosines[0, 1]:.4f}")
    else:
        print(table(options.files, names, cosines))
        if len(names) > 1 and len(options.files) > 1 and not options.text and sys.stdout.isatty():
            print("(cosines; 1 is the same vector)")
    return 0


def table(rows: list[str], columns: list[str], cosines: NDArray[np.float32]) -> str:
    """Cosines under numbered columns, whose names stand below where they are long.

    Example:
        >>> print(table(["a.wav"], ["rain", "dog"], np.float32([[0.5, -0.25]])))
               rain    dog
        a.wav  +0.500  -0.250
    """
    width = min(max(map(len, rows)), 40)
    short = max(map(len, columns)) <= 12
    heads = columns if short else [f"[{number}]" for number in range(1, len(columns) + 1)]
    places = [max(6, len(head)) for head in heads]
    lines = [" " * width + "  " + "  ".join(f"{head:{place}}" for head, place in zip(heads, places, strict=True)).rstrip()]
    for row, values in zip(rows, cosines, strict=True):
        cells = "  ".join(f"{value:<+{place}.3f}" for value, place in zip(values, places, strict=True)).rstrip()
        lines.append(f"{row:{width}.{width}}  {cells}")
    if not short:
        lines += [f"{head} {column}" for head, column in zip(heads, columns, strict=True)]
    return "\n".join(lines)
