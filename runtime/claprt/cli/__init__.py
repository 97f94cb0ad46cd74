"""The `claprt` command. May import every room.

A module with `add` and `run` for each subcommand: `calibrate`, `classify`, `cluster`, `demo`, `duplicates`, `embed`,
`evaluate`, `index`, `inspect`, `latency`, `library` (with `build_index`), `listen`, `rank`, `score`, `search`, `serve`,
`similarity`, `sound_map` (the command `map`), `tag`, `timeline`, `triton`. What they share:

    parsing    the argument parser: any order, suggestions for misspelt options
    options    options of several commands, and the bundle that they name
    time_options   labels, windows and events of `timeline` and `listen`
    sounds     files, folders and standard input; progress; files that fail
    words      labels and tags
    datasets   the dataset of `evaluate` and `calibrate`
    answers    one answer for each file, as a chart or as JSON
    figures    the figures of `score` and `evaluate`, as a table or as JSON
    tables     tables that fit the terminal
    index_progress   what `claprt index` shows while it runs
    serve_process   what `claprt serve` does once its port is open
    serve_models    which models it serves
    serve_environment   what `claprt serve` takes from environment variables
    vectors    output of `claprt embed`: JSON lines, CSV, numpy's files
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from claprt._version import __version__
from claprt.cli.parsing import CommandParser, Parser
from claprt.errors import ClaprtError
from claprt.system.terminal import discard_output, flush_errors, prepare_streams, printable, say

_EPILOG = (
    "Start with `claprt demo`. A bundle is the folder that claprt-export writes. Commands that need one take --bundle "
    "MODEL, or what the environment variable CLAPRT_BUNDLE names, or else mini, the small model that ships with "
    "claprt. MODEL is a bundle's folder, or a checkpoint that is exported once: a .pt file, a transformers folder, or "
    "a published name such as 630k-audioset-best."
)


_MODULES = {
    "demo": "demo",
    "embed": "embed",
    "classify": "classify",
    "tag": "tag",
    "timeline": "timeline",
    "listen": "listen",
    "similarity": "similarity",
    "index": "index",
    "search": "search",
    "duplicates": "duplicates",
    "cluster": "cluster",
    "map": "sound_map",
    "library": "library",
    "rank": "rank",
    "score": "score",
    "serve": "serve",
    "evaluate": "evaluate",
    "calibrate": "calibrate",
    "inspect": "inspect",
    "latency": "latency",
    "triton": "triton",
}
"""The module of each command, in the order of the help. Only that of the command that is run is imported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 for an error or a missed target, 2 for wrong usage."""
    prepare_streams()
    try:
        return _main(arguments)
    finally:
        flush_errors()


def _main(arguments: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    completing = "_ARGCOMPLETE" in os.environ
    command = parser(None if completing or not arguments or arguments[0] not in _MODULES else arguments[0])
    if completing:  # the shell asks what may follow: eval "$(register-python-argcomplete claprt)"
        importlib.import_module("argcomplete").autocomplete(command)
    options = command.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _warning_printer(warnings.showwarning)
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except ClaprtError as error:
        say(f"claprt: {printable(str(error))}")
        return 1
    except KeyboardInterrupt:
        say("claprt: interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        discard_output()
        return 141
    except OSError as error:
        what = (
            "the output cannot be written" if error.filename is None else f"{printable(str(error.filename))} cannot be used"
        )
        say(f"claprt: {what}: {printable(error.strerror or str(error))}")
        discard_output()
        return 1
    return status


def _warning_printer(default: Callable[..., None]) -> Callable[..., None]:
    """A `warnings.showwarning` that prints this package's own warnings as one line."""

    def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if category.__module__.partition(".")[0] == "claprt":
            say(f"warning: {printable(str(message))}")
        else:
            default(message, category, *where)

    return show


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The command line of `claprt`.

    Args:
        only: The one command that it is to have; by default all.
    """
    command = Parser(
        prog="claprt",
        usage="claprt COMMAND ...",
        description="CLAP embeddings without PyTorch: sounds and texts as unit vectors of one space.",
        epilog=_EPILOG,
    )
    command.add_argument("-V", "--version", action="version", version=f"claprt {__version__}", help="print the version")
    commands = command.add_subparsers(
        title="commands", prog="claprt", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    for name in _MODULES if only is None else [only]:
        importlib.import_module(f"claprt.cli.{_MODULES[name]}").add(commands)
    for each in commands.choices.values():
        each.add_argument("-q", "--quiet", action="store_true", help="no notes and no progress on standard error")
    return command
