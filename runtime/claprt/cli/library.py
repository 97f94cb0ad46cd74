"""`claprt library`: what a library holds, and its upkeep."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claprt.cli import build_index
from claprt.cli.parsing import CommandParser, Parser
from claprt.system.terminal import note, printable, report_written

if TYPE_CHECKING:
    from claprt.library.search.approximate import IndexInfo

_EPILOG = """\
examples:
  claprt library info samples.lib
  claprt library failures samples.lib
  claprt library merge all.lib part1.lib part2.lib
  claprt library prune samples.lib
  claprt library build-index clips.lib
"""


def add(commands: Any) -> None:
    """Add the command and its own commands."""
    command = commands.add_parser(
        "library",
        usage="claprt library COMMAND LIBRARY [options]",
        help="look into a library, merge libraries, remove what vanished",
        description="Says what a library of sounds holds, and keeps it in order.",
        epilog=_EPILOG,
    )
    each = command.add_subparsers(
        title="commands", prog="claprt library", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    _one(each, "info", _info, "what a library holds, and which model made it").add_argument(
        "--verify", action="store_true", help="read every part, which finds damage"
    )
    _one(each, "failures", _failures, "sounds that could not be embedded, and why")
    _one(each, "prune", _prune, "remove the rows of sounds that vanished")
    _one(each, "compact", _compact, "merge small parts into full ones")
    build = _one(each, "build-index", build_index.run, "an approximate index, for searches of large libraries")
    build_index.add_options(build)
    merge = _one(each, "merge", _merge, "take libraries of the same model into one", takes="OUT")
    merge.usage = "claprt library merge OUT LIBRARY ... [options]"
    merge.add_argument("libraries", nargs="+", metavar="LIBRARY", help="those that are taken in, and left as they are")
    command.set_defaults(run=run, command=command)


def _one(commands: Any, name: str, function: Any, what: str, takes: str = "LIBRARY") -> Parser:
    command: Parser = commands.add_parser(
        name, usage=f"claprt library {name} {takes} [options]", help=what, description=f"{what[0].upper()}{what[1:]}."
    )
    command.add_argument("library", metavar=takes, help="folder of the library")
    if name in ("info", "failures", "build-index"):
        command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("-q", "--quiet", action="store_true", help="no notes on standard error")
    command.set_defaults(function=function)
    return command


def run(options: argparse.Namespace) -> int:
    """Run one of the commands."""
    return options.function(options)


def _info(options: argparse.Namespace) -> int:
    from claprt.library.library import open_library
    from claprt.library.maintenance import describe

    library = open_library(options.library)
    facts, index = describe(library.store, verify=options.verify), library.index
    if options.json:
        approximate = None if index is None else {"rows": index.rows, "recall_at_10": dict(index.recall)}
        print(json.dumps({**facts, "index": approximate}))
    else:
        print("\n".join(map(printable, _fact_lines(facts, index))))
    return int(bool(facts["damaged"]))


def _fact_lines(facts: Mapping[str, Any], index: IndexInfo | None) -> list[str]:
    """What `claprt library info` prints, a line a fact."""
    shown = {
        "library": facts["library"],
        "sounds": f"{facts['sounds']:,}",
        "of these vanished": f"{facts['vanished']:,}",
        "failures": f"{facts['failures']:,}",
        "rows": f"{facts['rows']:,} of {'windows and sounds' if facts['kind'] == 'both' else facts['kind']}",
        "hours of sound": f"{facts['sound_s'] / 3600:,.2f}",
        "vectors": f"{facts['dim']} {facts['dtype']}",
        "model": facts["model"],
        "fingerprint": facts["fingerprint"],
        "parts": f"{facts['parts']:,}",
        "bytes": f"{facts['bytes']:,}",
        "written by": facts["written_by"],
    }
    if facts["damaged"]:
        shown["damaged"] = ", ".join(facts["damaged"])
    if index is not None:
        found = ", ".join(f"{share:.4f} of {kind}" for kind, share in index.recall.items())
        shown["approximate index"] = f"{index.rows:,} rows, recall@10 {found}"
    width = max(map(len, shown))
    return [f"{name:{width}}  {value}" for name, value in shown.items()]


def _failures(options: argparse.Namespace) -> int:
    from claprt.library.library import open_library

    for failure in open_library(options.library).failures().to_pylist():
        print(json.dumps(failure) if options.json else printable(f"{failure['error']}: {failure['message']}"))
    return 0


def _prune(options: argparse.Namespace) -> int:
    from claprt.library.maintenance import prune
    from claprt.library.store import Store

    removed = prune(Store(Path(options.library)), lambda: _waiting(options))
    report_written(options, options.library, f"{removed:,} vanished sounds removed")
    return 0


def _compact(options: argparse.Namespace) -> int:
    from claprt.library.maintenance import compact
    from claprt.library.store import Store

    before, after = compact(Store(Path(options.library)), lambda: _waiting(options))
    report_written(options, options.library, f"{after:,} parts, {before:,} before")
    return 0


def _merge(options: argparse.Namespace) -> int:
    from claprt.library.maintenance import merge

    store = merge(Path(options.library), [Path(one) for one in options.libraries], lambda: _waiting(options))
    report_written(options, options.library, f"{sum(part.rows for part in store.parts()):,} rows")
    return 0


def _waiting(options: argparse.Namespace) -> None:
    note(options, f"another process writes to {options.library}; waiting for it.")
