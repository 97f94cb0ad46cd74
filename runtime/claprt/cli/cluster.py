"""`claprt cluster`: groups of sounds of a library that are alike."""

from __future__ import annotations

import argparse
import json
from typing import Any

from claprt.cli.options import add_library_model_options, open_library_of
from claprt.cli.words import add_word_options, given_words
from claprt.system.terminal import columns, fit, note, printable

_EPILOG = """\
examples:
  claprt cluster samples.lib -n 20
  claprt cluster samples.lib --tags kick,snare,hat,bass,pad,voice --json
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "cluster",
        usage="claprt cluster LIBRARY [--tags TAG ...] [options]",
        help="group the sounds of a library by likeness",
        description="Groups the sounds of a library that are alike (k-means of their vectors); each with the sound in its "
        "middle and, where tags are given, the nearest of them.",
        epilog=_EPILOG,
    )
    command.add_argument("library", metavar="LIBRARY", help="folder that claprt index has made")
    command.add_argument("-n", "--count", type=int, metavar="N", help="groups (the root of half the sounds, at most 100)")
    add_word_options(command, "tag", plural_help="words to name groups by; commas separate them too, or a JSON list")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of k-means (%(default)s)")
    command.add_argument("--json", action="store_true", help="a JSON list of groups with all their sounds, largest first")
    add_library_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    with open_library_of(options) as library:
        clusters = library.clusters(options.count, words=given_words(options), seed=options.seed)
    if options.json:
        print(json.dumps([cluster.to_dict() for cluster in clusters]))
        return 0
    if not clusters:
        note(options, "the library is empty.")
        return 0
    width = columns()
    labels = max((len(printable(cluster.label or "")) for cluster in clusters), default=0)
    print(f"sounds   cosine  {'tag':{max(labels, 3)}}  in the middle" if labels else "sounds   cosine  in the middle")
    for cluster in clusters:
        label = f"{printable(cluster.label or ''):{max(labels, 3)}}  " if labels else ""
        start = f"{cluster.size:7}  {cluster.cosine:.3f}   {label}"
        path = (
            printable(cluster.medoid)
            if width is None
            else fit(cluster.medoid, max(8, width - len(start)), keep="end").rstrip()
        )
        print(start + path)
    return 0
