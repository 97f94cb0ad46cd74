"""`claprt library build-index`: an approximate index, and how much of the exact search it finds."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import msgspec

from claprt.cli.options import add_library_model_options, open_library_of
from claprt.errors import ClaprtError
from claprt.system.terminal import note, printable, report_written, say

_EXACT_BELOW, _RECALL = 100_000, 0.99
_STEPS = {"train": "dividing the space", "add": "adding rows", "measure": "measuring recall"}
TEXTS = (
    "a dog barking", "rain on a roof", "a man speaking", "birds singing in a forest", "a kick drum", "an acoustic guitar",
    "a car passing by", "footsteps on gravel", "thunder in the distance", "a crowd cheering", "a door creaking", "a siren",
    "glass breaking", "water dripping", "a piano melody", "wind in trees", "an engine idling", "laughter", "a church bell",
    "typing on a keyboard", "a synthesizer pad", "a baby crying", "waves on a beach", "a hi-hat loop",
)  # fmt: skip
"""With which the recall of searches for words is measured."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    command.add_argument(
        "--recall",
        type=float,
        default=_RECALL,
        metavar="SHARE",
        help="of the ten nearest rows that searches must find, for sounds and for words (%(default)s)",
    )
    command.add_argument(
        "--exact-below",
        type=int,
        default=_EXACT_BELOW,
        metavar="ROWS",
        help="go on searching exactly while the library has fewer rows (%(default)s)",
    )
    command.add_argument("--centres", type=int, metavar="N", help="parts of the index (two times the root of the rows)")
    command.add_argument(
        "--memory", dest="memory_mb", type=float, metavar="MB", help="refuse an index that takes more memory (no bound)"
    )
    add_library_model_options(command)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if the recall was not reached."""
    from claprt.library.search.approximate import BuildOptions

    built = BuildOptions(
        recall=options.recall,
        exact_below=options.exact_below,
        centres=options.centres,
        threads=options.threads,
        memory_mb=options.memory_mb,
    )
    with open_library_of(options) as library:
        try:
            library.model.embed_text(TEXTS[0])
            texts = TEXTS
        except ClaprtError as error:
            note(options, f"the recall of searches for words is not measured: {error}")
            texts = ()
        info = library.build_index(built, texts=texts, progress=_shown(options))
    if options.json:
        print(json.dumps(msgspec.to_builtins(info)))
    else:
        for kind, share in info.recall.items():
            print(f"recall@10 {share:.4f} with {info.queries[kind]} {kind}")
        report_written(
            options, options.library, f"{info.rows:,} rows in {info.centres:,} parts, {info.probes} of them read"
        )
    if info.rows < info.exact_below:
        note(options, f"searches stay exact below {info.exact_below:,} rows; --exact-below changes that.")
    return int(min(info.recall.values()) < options.recall)


def _shown(options: argparse.Namespace) -> Callable[[str, float], None]:
    quiet = options.quiet or not sys.stderr.isatty()

    def show(step: str, share: float) -> None:
        if not quiet:
            say(printable(f"{_STEPS[step]}: {share:.0%}"))

    return show
