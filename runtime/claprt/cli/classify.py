"""`claprt classify`: which of some labels fits a sound best."""

from __future__ import annotations

import argparse
from typing import Any

from claprt.cli.answers import add_answer_options, bars, files_and_words, note_single_label, print_answers
from claprt.cli.options import load_model
from claprt.errors import OptionError
from claprt.scoring.classification import Classification
from claprt.scoring.labels import apply_template
from claprt.tasks import classify_embedding

_EPILOG = """\
examples:
  claprt classify dog.wav --labels "a dog barking" "a cat" "rain"
  claprt classify *.wav --labels dog,rain,siren --template "This is a sound of {}." --json
  claprt classify recordings/ --labels-file labels.txt --top-k 3
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "classify",
        usage="claprt classify FILE ... --labels LABEL ... [options]",
        help="say which label fits a sound best",
        description="Zero-shot classification: any words, no training.",
        epilog=_EPILOG,
    )
    add_answer_options(command, word="label")
    command.add_argument("--top-k", type=int, metavar="N", help="how many labels to show (all)")
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if a file could not be embedded.

    Raises:
        OptionError: If `--top-k` is below 1.
    """
    files, labels = files_and_words(options, "label")
    top_k = len(labels) if options.top_k is None else options.top_k
    if top_k < 1:
        raise OptionError(f"--top-k {top_k} is not possible; give 1 or more.")
    sentences = apply_template(options.template, labels)
    clap = load_model(options)
    note_single_label(options, labels)
    texts = clap.embed_labels(sentences)
    return print_answers(options, clap, files, lambda vector: classify_embedding(clap, vector, texts, labels, top_k), chart)


def chart(result: Classification) -> str:
    """A bar for each of the best labels."""
    return bars(
        [
            (result.class_names[int(position)], float(result.probabilities[position]), float(result.similarities[position]))
            for position in result.ranking[: result.top_k]
        ]
    )
