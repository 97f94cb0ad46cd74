"""`claprt tag`: which of some tags a sound has, each by itself."""

from __future__ import annotations

import argparse
from typing import Any

from claprt.cli.answers import add_answer_options, bars, files_and_words, print_answers
from claprt.cli.options import load_model
from claprt.scoring.labels import apply_template
from claprt.scoring.tagging import NEUTRAL_PROMPTS, Tagging, tag_embedding, validate_threshold
from claprt.system.terminal import note

_EPILOG = """\
examples:
  claprt tag street.wav --tags "a dog barking" "a siren" "rain" "speech"
  claprt tag *.wav --tags dog,siren,rain --threshold 0.3 --json
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "tag",
        usage="claprt tag FILE ... --tags TAG ... [options]",
        help="say which tags a sound has",
        description="Multi-label tagging: any words, each scored by itself.",
        epilog=_EPILOG,
    )
    add_answer_options(command, word="tag")
    command.add_argument(
        "--threshold", type=float, default=0.5, metavar="P", help="probability from which a tag applies (%(default)s)"
    )
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if a file could not be embedded."""
    files, tags = files_and_words(options, "tag")
    threshold = validate_threshold(options.threshold)
    sentences = apply_template(options.template, tags)
    clap = load_model(options)
    texts, neutral = clap.embed_labels(sentences), clap.embed_labels(NEUTRAL_PROMPTS)
    if clap.manifest.tagging is None:
        note(options, "this bundle is not calibrated for tags (claprt calibrate); they are held against neutral prompts.")
    return print_answers(
        options, clap, files, lambda vector: tag_embedding(clap.manifest, vector, texts, neutral, tags, threshold), chart
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
