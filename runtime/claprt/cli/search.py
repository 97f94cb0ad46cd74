"""`claprt search`: the sounds of a library that are nearest to words and sounds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claprt.cli.options import add_library_model_options, open_library_of
from claprt.cli.sounds import sound_source
from claprt.system.terminal import cells, columns, fit, note, printable, report_written

if TYPE_CHECKING:
    from claprt.library.search.hits import Hit
    from claprt.model.clap import Clap

_EPILOG = """\
filters (--where) are conditions in SQL on the library's columns:
  duration_s < 2 AND path LIKE '%kick%'
  sample_rate >= 44100 AND NOT regexp_matches(path, '(?i)loop')

exports, by the name's suffix:
  .m3u8    a playlist, which begins at the best window of each sound
  .csv     a table with all columns
  FOLDER   links to the sounds, best first; with --copy copies

examples:
  claprt search samples.lib "a dog barking"
  claprt search samples.lib "a snare drum" --names 0.2 --where "duration_s < 1"
  claprt search samples.lib --audio like-this.wav --minus "people talking" -k 50 --export found.m3u8
"""
_SHOWN_WINDOWS = 5


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "search",
        usage="claprt search LIBRARY [TEXT ...] [--audio FILE] [options]",
        help="find sounds of a library by words or sounds",
        description="Finds the sounds of a library that are nearest to words, sounds, or several of both.",
        epilog=_EPILOG,
    )
    command.add_argument("library", nargs="?", metavar="LIBRARY", help="folder that claprt index has made")
    command.add_argument("texts", nargs="*", metavar="TEXT", help="what to look for; several are added up")
    command.add_argument("--audio", action="append", default=[], metavar="FILE", help="a sound like this; may be repeated")
    command.add_argument("--like", action="append", default=[], metavar="ID", help="like this sound of the library")
    command.add_argument("--minus", action="append", default=[], metavar="TEXT", help="less like this; may be repeated")
    command.add_argument("--unlike", action="append", default=[], metavar="ID", help="less like this sound of the library")
    command.add_argument("-k", type=int, default=10, metavar="N", help="number of hits (%(default)s)")
    command.add_argument("--where", metavar="CONDITION", help="only sounds that meet this condition, see below")
    command.add_argument(
        "--names",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help="add up to this much to the score where a path has words of the text, such as 0.2 (%(default)s)",
    )
    command.add_argument("--missing", action="store_true", help="find sounds too that have vanished since")
    command.add_argument("--windows", action="store_true", help=f"show the {_SHOWN_WINDOWS} best windows of each sound")
    command.add_argument(
        "--memory",
        type=float,
        default=1000,
        metavar="MB",
        help="bound on what stays in memory of the searched file (%(default)s)",
    )
    command.add_argument("--json", action="store_true", help="a JSON list of hits, best first")
    command.add_argument("--export", metavar="TARGET", help="write the hits to a playlist, a table or a folder")
    command.add_argument("--copy", action="store_true", help="copy sounds to the folder instead of linking to them")
    add_library_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.library is None:
        options.command.error("name a LIBRARY, and what to look for")
    if not (options.texts or options.audio or options.like):
        options.command.error('say what to look for: a TEXT such as "a dog barking", --audio FILE or --like ID')
    if options.copy and options.export is None:
        options.command.error("--copy goes with --export FOLDER, which the sounds are copied to")
    with open_library_of(options) as library:
        hits = library.search(
            text=options.texts or None,
            audio=[sound_source(name) for name in options.audio] or None,
            minus=options.minus or None,
            k=options.k,
            where=options.where,
            like=options.like or None,
            unlike=options.unlike or None,
            names=options.names,
            missing=options.missing,
        )
        for text in filter(lambda text: _is_cut(library.model, text), [*options.texts, *options.minus] if hits else ()):
            most = library.model.manifest.text.max_tokens
            note(options, f"{text[:40]!r}… is too long: only its first {most} tokens count.")
        if options.export is not None:
            _export(options, hits)
        if options.json:
            print(json.dumps([hit.to_dict() for hit in hits]))
        elif hits:
            _print_table(options, hits, columns())
        if not hits:
            note(options, "nothing was found." if len(library) else "the library is empty.")
    return 0


def _is_cut(model: Clap, text: str) -> bool:
    """Whether a text has more tokens than the model takes: its last letter makes no difference."""
    letters = text.strip()
    if len(letters) < 2:
        return False
    whole, shorter = model.tokenizer.encode([letters, letters[:-1]])
    return whole == shorter


def _export(options: argparse.Namespace, hits: Sequence[Hit]) -> None:
    from claprt.library.search.exports import export_hits

    left_out = export_hits(hits, Path(options.export), copy=options.copy)
    report_written(options, options.export, f"{len(hits) - len(left_out)} sounds")
    if left_out:
        note(options, f"{len(left_out)} hits are no local files, or are not there any more, such as {left_out[0].path}.")


def _print_table(options: argparse.Namespace, hits: Sequence[Hit], width: int | None) -> None:
    length = max(map(cells, (printable(hit.path) for hit in hits)))
    room = length if width is None else max(8, min(length, width - 29))
    print("score    at        of        path")
    for hit in hits:
        of = "" if hit.duration_s is None else clock(hit.duration_s)
        print(f"{hit.score:+.3f}   {clock(hit.start_s):8}  {of:8}  {fit(hit.path, room, keep='end').rstrip()}")
        if options.windows:
            for start_s, score in hit.windows[:_SHOWN_WINDOWS]:
                print(f"  {score:+.3f} {clock(start_s)}")


def clock(seconds: float) -> str:
    """A time as a player shows it.

    Example:
        >>> clock(65), clock(3661.5), clock(0.25)
        ('1:05', '1:01:01', '0:00')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
