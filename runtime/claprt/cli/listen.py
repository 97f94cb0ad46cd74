"""`claprt listen`: what is heard now, from a microphone or a pipe."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Generator, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from claprt.audio.pipe import FORMATS, Readable, open_pipe
from claprt.audio.preprocess import RECIPES
from claprt.cli.answers import bars
from claprt.cli.options import load_model
from claprt.cli.parsing import Parser
from claprt.cli.time_options import add_time_options, time_arguments
from claprt.cli.words import given_words, take_files_from_words
from claprt.errors import OptionError
from claprt.model.clap import Clap
from claprt.model.stream import Stream, StreamResult, StreamWindow
from claprt.scoring.events import Event
from claprt.scoring.labels import validate_labels
from claprt.system.terminal import note, printable

_SHOWN = 12
"""Labels in the chart, and in a line three."""
_EPILOG = """\
examples:
  claprt listen --labels "a dog barking" "speech" "music" --window 3
  ffmpeg -i rtsp://camera/stream -f s16le -ac 1 -ar 16000 - | claprt listen - --rate 16000 --labels speech,siren
  arecord -f cd -t wav | claprt listen - --labels speech,music --json
Ctrl-C ends it with status 0, after the events that go on have been printed.
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "listen",
        usage="claprt listen [-] --labels LABEL ... [options]",
        help="say what is heard now, from a microphone or a pipe",
        description="A live chart of labels, and events as they end.",
        epilog=_EPILOG,
    )
    command.add_argument(
        "files", nargs="*", metavar="-", help="read standard input: a WAV file, or raw samples with --rate (a microphone)"
    )
    command.add_argument(
        "--device", metavar="NAME", help="microphone, by a part of its name or by number (the default one)"
    )
    command.add_argument("--rate", type=int, metavar="HZ", help="of raw samples, or of the microphone (its own)")
    command.add_argument(
        "--format", default="s16le", choices=list(FORMATS), help="of raw samples, by FFmpeg's names (%(default)s)"
    )
    command.add_argument(
        "--channels", type=int, default=1, metavar="N", help="of raw samples or the microphone (%(default)s)"
    )
    command.add_argument("--seconds", type=float, metavar="S", help="stop after so many seconds of sound")
    command.add_argument("--json", action="store_true", help="JSON lines: windows and events")
    add_time_options(command, recipes=tuple(name for name, recipe in RECIPES.items() if recipe.streams))
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command until the sound ends, or Ctrl-C.

    Raises:
        OptionError: If something else than standard input is named, or that is a terminal.
    """
    command: Parser = options.command
    take_files_from_words(options)
    words = given_words(options)
    if not words:
        command.error("name what to listen for: --labels, --label or --labels-file")
    labels = validate_labels(words)
    if options.files not in ([], ["-"]):
        raise OptionError(
            f"listen reads a microphone or standard input (-); for a file: claprt timeline {options.files[0]}"
        )
    if options.seconds is not None and not 0 < options.seconds < float("inf"):
        raise OptionError(f"--seconds {options.seconds:g} is not possible; give a number above 0.")
    with _source(options) as (rate, blocks, name):
        clap = load_model(options)
        stream = clap.stream(labels, sample_rate=rate, **time_arguments(options))
        _advise(options, clap, stream, name)
        _listen(options, stream, _limited(blocks, rate, options.seconds))
    return 0


@contextlib.contextmanager
def _source(options: argparse.Namespace) -> Generator[tuple[int, Iterator[NDArray[Any]], str]]:
    """Rate and blocks of standard input or of a microphone, and its name.

    Raises:
        OptionError: If standard input is a terminal, or the microphone cannot be opened.
    """
    if options.files:
        if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
            raise OptionError("- reads sound from standard input, and that is a terminal or closed; pipe sound into it.")
        pipe = open_pipe(cast("Readable", sys.stdin.buffer), options.rate, options.format, options.channels)
        yield pipe.rate, pipe.blocks, "standard input"
        return
    from claprt.audio.microphone import Microphone

    device = int(options.device) if options.device is not None and options.device.isdecimal() else options.device
    with Microphone(device, options.rate, options.channels) as microphone:
        yield microphone.rate, microphone.blocks(), microphone.name


def _advise(options: argparse.Namespace, clap: Clap, stream: Stream, name: str) -> None:
    window_s = clap.manifest.audio.window_s if options.window_s is None else options.window_s
    note(options, f"listening to {name}; the first window is complete after {window_s:g} s. Ctrl-C ends it.")
    if stream.warning is not None:
        note(options, stream.warning)


def _limited(blocks: Iterator[NDArray[Any]], rate: int, seconds: float | None) -> Iterator[NDArray[Any]]:
    left = None if seconds is None else round(seconds * rate)
    for block in blocks:
        yield block if left is None else block[:left]
        left = None if left is None else left - len(block)
        if left is not None and left <= 0:
            return


def _listen(options: argparse.Namespace, stream: Stream, blocks: Iterator[NDArray[Any]]) -> None:
    """Show what the stream gives, until it ends or is interrupted."""
    show = _Json() if options.json else _Live() if sys.stdout.isatty() else _Lines()
    try:
        for block in blocks:
            show(stream.push(block))
    except KeyboardInterrupt:
        pass  # what goes on is shown all the same
    show(stream.flush())


class _Json:
    """JSON lines."""

    def __call__(self, result: StreamResult) -> None:
        for window in result.windows:
            print(json.dumps({"window": window.to_dict()}), flush=True)
        for event in result.events:
            print(json.dumps({"event": event.to_dict()}), flush=True)


class _Lines:
    """A line for each window and each event."""

    def __call__(self, result: StreamResult) -> None:
        for window in result.windows:
            best = np.argsort(-window.probabilities, kind="stable")[:3]
            shares = "  ".join(f"{printable(window.labels[n])} {window.probabilities[n]:.1%}" for n in best.tolist())
            print(f"{window.end_s:8.1f} s  {shares}", flush=True)
        for event in result.events:
            print(event_line(event), flush=True)


class _Live:
    """A chart of the last window that stays in its place on a terminal; events move up above it."""

    def __init__(self) -> None:
        self._lines = 0

    def __call__(self, result: StreamResult) -> None:
        if not result.windows and not result.events:
            return
        up = f"\x1b[{self._lines}A\x1b[J" if self._lines else ""
        events = "".join(f"{event_line(event)}\n" for event in result.events)
        if result.windows:
            self._chart = self._drawn(result.windows[-1])
        print(f"{up}{events}{self._chart}", end="", flush=True)
        self._lines = self._chart.count("\n")

    _chart = ""

    def _drawn(self, window: StreamWindow) -> str:
        best = np.argsort(-window.probabilities, kind="stable")[:_SHOWN]
        rows = [
            (
                f"{'*' if window.labels[n] in window.active else ' '} {window.labels[n]}",
                float(window.probabilities[n]),
                float(window.similarities[n]),
            )
            for n in sorted(best.tolist())
        ]
        return f"{window.start_s:.1f} – {window.end_s:.1f} s\n{bars(rows)}\n"


def event_line(event: Event) -> str:
    """An event as a line of text.

    Example:
        >>> event_line(Event(label="a dog", onset_s=0.5, offset_s=2, peak=0.9, peak_s=1))
        '     0.5 – 2.0 s  a dog  90.0%'
    """
    return f"{event.onset_s:8.1f} – {event.offset_s:.1f} s  {printable(event.label)}  {event.peak:.1%}"
