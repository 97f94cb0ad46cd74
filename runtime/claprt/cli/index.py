"""`claprt index`: sounds to a library."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from claprt.cli.index_progress import IndexProgress, summary_lines
from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.parsing import Parser
from claprt.library.progress import Summary
from claprt.system.terminal import note, printable, say

_EPILOG = """\
sources:
  FOLDER         the sounds in it and below
  FILE           a sound; a tar archive (.tar, .tar.gz) or a table (.parquet, .arrow) that holds some
  "PATTERN"      what matches it, such as "takes/**/*.flac"
  @LIST, -       what a file, or standard input, names: a source a line
  s3://…         what fsspec reads: folders, files, patterns, archives

The library is a folder of Parquet files. The same command goes on where it was interrupted, and embeds only what is new
or changed when it is run again; what vanished is marked (claprt library prune removes it).

The exit status is 0 if the library holds some of the sounds that were found, or there were none: failures are in the
summary. It is 1 if none of them could be embedded, or if no sounds were found and a source could not be read. --quiet
prints no summary; folders and archives that could not be read are named all the same.

examples:
  claprt index ~/samples --out samples.lib
  claprt index "shards/*.tar" --out clips.lib --workers 4
  claprt index /mnt/clips --out part1.lib --partition 1/2    # and 2/2 on another machine; then: claprt library merge
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "index",
        usage="claprt index SOURCE ... --out LIBRARY [options]",
        help="embed sounds into a library that is searched",
        description="Embeds sounds into a library, once; only what is new or changed is embedded later.",
        epilog=_EPILOG,
    )
    command.add_argument("sources", nargs="*", metavar="SOURCE", help="folders, files, patterns, lists, archives, URLs")
    command.add_argument("-o", "--out", metavar="LIBRARY", required=True, help="folder of the library")
    command.add_argument(
        "--rows",
        choices=["windows", "sounds", "both"],
        help="a row for each window, each sound, or both; a new library has windows",
    )
    command.add_argument("--dtype", choices=["float32", "float16"], help="of the stored vectors; a new library has float32")
    command.add_argument(
        "--workers", type=int, metavar="N", help="processes that embed, each with a model and a share of the cores"
    )
    command.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="embed on Ray, with --workers actors: on the cluster there, or on this machine",
    )
    command.add_argument("--ray-gpus", type=float, metavar="N", help="GPUs of each actor, such as 0.5 (none)")
    command.add_argument("--partition", type=_partition, metavar="I/N", help="embed the I-th of N shares of the sounds")
    command.add_argument("--retry-failures", action="store_true", help="try again what failed before and has not changed")
    command.add_argument(
        "--json", action="store_true", help="the summary as JSON, and progress as JSON lines on standard error"
    )
    add_sound_options(command)
    add_model_options(command, cache=False)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if none of the sounds could be embedded.

    Sounds that cannot be embedded are counted, and kept in the library's table of failures.
    """
    from claprt.library.create import index
    from claprt.library.indexing import RunOptions
    from claprt.library.ray_data import RayOptions

    command: Parser = options.command
    if isinstance(options.ray, str) and _is_source(options.ray):  # `--ray FOLDER` means a cluster that is not there
        options.sources, options.ray = [options.ray, *options.sources], ""
    if not options.sources:
        command.error(f"name at least one SOURCE, as in {command.prog} FOLDER --out {options.out}")
    run_options = RunOptions(partition=options.partition, retry_failures=options.retry_failures)
    ray = None
    if options.ray is not None:
        actors = 1 if options.workers is None else options.workers
        ray = RayOptions(address=options.ray or None, actors=actors, gpus=options.ray_gpus or 0.0)
    elif options.ray_gpus is not None:
        command.error("--ray-gpus is of the actors of --ray, which was not given")
    clap = load_model(options, lazy=True)  # nothing may be new
    with IndexProgress(options, run_options) as progress:
        summary = index(
            options.sources,
            options.out,
            clap,
            bundle=options.bundle,
            rows=options.rows,
            dtype=options.dtype,
            options=run_options,
            workers=options.workers if ray is None else None,
            ray=ray,
            report=progress.report,
            waiting=lambda: note(options, f"another process writes to {options.out}; waiting for it."),
        )
    for sentence in summary.unreadable:
        say(f"warning: {printable(sentence)}")
    if not summary.found and not summary.unreadable:
        pattern = _archives(options.sources) or "FOLDER/*.tar"
        note(options, f'no sounds were found. Archives and tables in folders are named themselves: "{pattern}".')
    if options.json:
        print(json.dumps(summary.to_dict()))
    elif not options.quiet:
        print("\n".join(map(printable, summary_lines(options.out, summary))))
    sys.stdout.flush()
    if summary.held or not (summary.found or summary.unreadable):
        return 0
    say(f"claprt: {printable(_nothing_embedded(options.out, summary))}")
    return 1


def _archives(sources: Sequence[str]) -> str | None:
    """A pattern for the archives or tables of the first folder that holds some."""
    from claprt.library.archives import SUFFIXES

    for folder in filter(os.path.isdir, sources):
        for place, _, names in os.walk(folder):
            for name in sorted(names):
                if suffix := next(filter(name.lower().endswith, SUFFIXES), None):
                    return os.path.join(place, f"*{suffix}")  # noqa: PTH118 - as it was typed
    return None


def _nothing_embedded(library: str, summary: Summary) -> str:
    if not summary.found:
        return "no sounds were found, and not all that was named could be read."
    return f"none of {summary.found:,} sounds could be embedded; claprt library failures {library} says why."


def _is_source(address: str) -> bool:
    return address not in ("", "auto", "local") and "://" not in address and os.path.exists(address)  # noqa: PTH110


def _partition(text: str) -> tuple[int, int]:
    """Read `I/N`.

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no partition; the second of four is 2/4")
    return int(match[1]), int(match[2])
