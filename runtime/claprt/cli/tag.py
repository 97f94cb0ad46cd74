"""`claprt tag`: which of some tags a sound has, each by itself."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from claprt.cli.answers import add_answer_options, bars, print_answers, split_words
from claprt.cli.options import load_model
from claprt.labels import checked_labels, filled_in
from claprt.tagging import NEUTRAL_PROMPTS, Tagging, checked_threshold, tagging

_EPILOG = """\
examples:
  claprt tag street.wav --tags "a dog barking" "a siren" "rain" "speech"
  claprt tag *.wav --tags dog,siren,rain --threshold 0.3 --json
"""


def add(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "tag",
        help="say which tags a sound has",
        description="Multi-label tagging: any words, each judged by itself.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--tags", nargs="+", required=True, metavar="TAG", help="tags; commas separate them too")
    command.add_argument(
        "--threshold", type=float, default=0.5, metavar="P", help="probability from which a tag applies (0.5)"
    )
    add_answer_options(command, word="tag")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; the exit status is 1 if a file could not be embedded."""
    tags = checked_labels(split_words(options.tags), "tags")
    threshold = checked_threshold(options.threshold)
    asked = filled_in(options.template, tags)
    clap = load_model(options)
    texts, neutral = clap.embed_labels(asked), clap.embed_labels(NEUTRAL_PROMPTS)
    if clap.manifest.tagging is None:
        print(
            "note: this bundle is not calibrated for tags (claprt calibrate); they are held against neutral prompts.",
            file=sys.stderr,
        )
    return print_answers(
        options, clap, lambda vector: tagging(clap.manifest, vector, texts, neutral, tags, threshold), chart
    )


def chart(result: Tagging) -> str:
    """A bar for each tag, the most probable first; those that apply have a mark."""
    return bars(
        [
            (
                f"{'*' if result.probabilities[position] >= result.threshold else ' '} {result.tags[int(position)]}",
                float(result.probabilities[position]),
                float(result.similarities[position]),
            )
            for position in result.ranking
        ]
    )
