"""`claprt map`: a page with the sounds of a library as points, to hover over and listen to."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from claprt.cli.options import add_library_model_options, open_library_of
from claprt.cli.words import add_word_options, given_words
from claprt.system.terminal import note, report_written

_MOST = 5_000
_EPILOG = """\
The page is one file without outside scripts. It links to the sounds where they are, relative to itself.

examples:
  claprt map samples.lib -o map.html
  claprt map samples.lib -o map.html --tags kick,snare,hat,bass,pad,voice
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "map",
        usage="claprt map LIBRARY -o PAGE [options]",
        help="draw a library as a page of points to listen to",
        description="Draws the sounds of a library as points on a page, alike ones near each other.",
        epilog=_EPILOG,
    )
    command.add_argument("library", metavar="LIBRARY", help="folder that claprt index has made")
    command.add_argument("-o", "--output", required=True, metavar="PAGE", help="where to write, such as map.html")
    command.add_argument("--method", choices=["tsne", "pca"], default="tsne", help="how points are placed (%(default)s)")
    command.add_argument(
        "--most", type=int, default=_MOST, metavar="N", help="sounds; of more, so many by lot (%(default)s)"
    )
    command.add_argument("-n", "--count", type=int, metavar="N", help="groups that are coloured and named")
    add_word_options(command, "tag", plural_help="words to name groups by; commas separate them too, or a JSON list")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn by lot (%(default)s)")
    add_library_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from claprt.library.sound_map import make_map, write_map

    words = given_words(options)
    with open_library_of(options) as library:
        work = partial(
            make_map,
            method=options.method,
            most=options.most,
            clusters=options.count,
            words=words,
            word_vectors=library.model.embed_text(words) if words else None,
            seed=options.seed,
        )
        sounds = library.searcher.read(work)
    write_map(sounds, Path(options.output), f"Sounds of {Path(options.library).name}")
    report_written(options, options.output, f"{len(sounds.paths):,} sounds in {len(sounds.labels)} groups")
    if len(sounds.paths) < sounds.total:
        note(options, f"{len(sounds.paths):,} of {sounds.total:,} sounds were drawn by lot; --most changes that.")
    return 0
