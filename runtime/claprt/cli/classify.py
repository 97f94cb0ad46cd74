"""`claprt classify`: which of some labels fits a sound best."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from claprt.cli.options import add_model_options, add_sound_options, load_model, sound_source
from claprt.errors import OptionError
from claprt.labels import checked_labels, filled_in
from claprt.scores import Classification
from claprt.tasks import classification

_EPILOG = """\
examples:
  claprt classify dog.wav --labels "a dog barking" "a cat" "rain"
  claprt classify *.wav --labels dog,rain,siren --template "This is a sound of {}." --json
"""


def add(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "classify",
        help="say which label fits a sound best",
        description="Zero-shot classification: any words, no training.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("files", nargs="+", metavar="FILE", help="sound files, before the options; - is standard input")
    command.add_argument("--labels", nargs="+", required=True, metavar="LABEL", help="labels; commas separate them too")
    command.add_argument("--template", metavar="TEXT", help="sentence with {} for the label (the label as it is)")
    command.add_argument("--top-k", type=int, metavar="N", help="how many labels to show (all)")
    command.add_argument("--json", action="store_true", help="one JSON object a file")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; the exit status is 1 if a file could not be embedded."""
    labels = checked_labels(split_labels(options.labels))
    top_k = len(labels) if options.top_k is None else options.top_k
    if top_k < 1:
        raise OptionError(f"--top-k {top_k} is not possible; give 1 or more.")
    asked = filled_in(options.template, labels)
    clap = load_model(options)
    texts = clap.embed_labels(asked)
    status = 0
    for number, sound in enumerate(clap.iter_audio(map(sound_source, options.files))):
        file = options.files[number]
        if sound.error is not None or sound.vector is None:
            print(f"claprt: {sound.error}", file=sys.stderr)
            status = 1
            continue
        result = classification(clap, sound.vector, texts, labels, top_k)
        if options.json:
            print(json.dumps({"source": file, "fingerprint": clap.fingerprint, **result.to_dict()}))
            continue
        if len(options.files) > 1:
            print(f"{'' if number == 0 else chr(10)}{file}")
        print(chart(result))
    return status


def split_labels(given: Sequence[str]) -> list[str]:
    """Labels as they were typed: one an argument, or several with commas between them.

    Example:
        >>> split_labels(["dog,rain", "a siren"])
        ['dog', 'rain', 'a siren']
    """
    return [label.strip() for part in given for label in part.split(",") if label.strip()]


def chart(result: Classification) -> str:
    """A bar for each of the best labels."""
    return bars(
        [
            (result.class_names[int(position)], float(result.probabilities[position]), float(result.similarities[position]))
            for position in result.ranking[: result.top_k]
        ]
    )


def bars(rows: Sequence[tuple[str, float, float]]) -> str:
    """A line with a bar for each name, probability and cosine."""
    width = min(max(len(name) for name, _, _ in rows), 40)
    room = max(10, min(40, shutil.get_terminal_size().columns - width - 26))
    lines: list[str] = []
    for name, share, cosine in rows:
        bar = "█" * round(share * room) or "▏"
        lines.append(f"{name:{width}.{width}}  {share:6.1%}  {bar:{room}}  cosine {cosine:+.3f}")
    return "\n".join(lines)
