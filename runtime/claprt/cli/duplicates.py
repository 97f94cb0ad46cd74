"""`claprt duplicates`: sounds that a library has more than once."""

from __future__ import annotations

import argparse
import json
from typing import Any

from claprt.system.terminal import columns, fit, note, printable

_THRESHOLD = 0.99
_EPILOG = f"""\
Two sounds are of one group if their files are the same to the last byte, or if the cosine of their vectors is the
threshold or more. Another level or a lossy encoding of one recording leaves 0.997 or more; other recordings, even of
the same thing, stay below {_THRESHOLD}. A cut, or a much lower sample rate, changes more: 0.95 finds most of these, and
some that are only alike. The first sound of each group is the one to keep: the highest sample rate, then the longest,
then the largest file.

examples:
  claprt duplicates samples.lib
  claprt duplicates samples.lib --exact --json
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "duplicates",
        usage="claprt duplicates LIBRARY [options]",
        help="find sounds that a library has more than once",
        description="Finds sounds that a library has more than once, the same or nearly, as groups.",
        epilog=_EPILOG,
    )
    command.add_argument("library", metavar="LIBRARY", help="folder that claprt index has made")
    command.add_argument(
        "--threshold",
        type=float,
        default=_THRESHOLD,
        metavar="COSINE",
        help="from which sounds count as nearly the same (%(default)s)",
    )
    command.add_argument("--exact", action="store_true", help="the same content alone")
    command.add_argument("--json", action="store_true", help="a JSON list of groups, largest first")
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from claprt.library.library import open_library

    groups = open_library(options.library).duplicates(None if options.exact else options.threshold)
    if options.json:
        print(json.dumps([group.to_dict() for group in groups]))
        return 0
    width = columns()
    for group in groups:
        print(f"{len(group.sounds)} sounds, {'the same content' if group.exact else 'nearly the same'}")
        for sound in group.sounds:
            mark = "same  " if sound.same_content else f"{sound.cosine:.4f}"
            path = printable(sound.path) if width is None else fit(sound.path, max(8, width - 10), keep="end").rstrip()
            print(f"  {mark}  {path}")
    more = sum(len(group.sounds) - 1 for group in groups)
    note(options, f"{more:,} sounds could go, in {len(groups):,} groups." if groups else "no duplicates were found.")
    return 0
