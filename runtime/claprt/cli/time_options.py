"""Options of commands that say what is heard when: labels, windows, and when an event begins and ends."""

from __future__ import annotations

import argparse
from typing import Any

from claprt.audio.preprocess import RECIPES
from claprt.cli.options import add_model_options
from claprt.cli.words import add_word_options, split_words


def add_time_options(command: argparse.ArgumentParser, *, recipes: tuple[str, ...] = tuple(RECIPES)) -> None:
    """Add labels, windows, events and the model; `recipes` are the choices of `--preprocess`."""
    add_word_options(command, "label", plural_help="labels; commas separate them too, or a JSON list")
    command.add_argument("--template", metavar="TEXT", help="sentence with {} for the label (the label as it is)")
    command.add_argument(
        "--scores",
        choices=["tag", "classify"],
        default="tag",
        help="each label by itself, or shares among all of them (%(default)s)",
    )
    command.add_argument(
        "--background",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="for --scores classify: labels for everything else, which have no events",
    )
    windows = command.add_argument_group("windows")
    windows.add_argument(
        "--hop", dest="hop_s", type=float, default=1.0, metavar="SECONDS", help="between two windows (%(default)g)"
    )
    windows.add_argument(
        "--window", dest="window_s", type=float, metavar="SECONDS", help="of a window, 0.1 to the model's (the model's, 10)"
    )
    windows.add_argument(
        "--preprocess", default="laion", choices=list(recipes), help="whose vectors to reproduce (%(default)s)"
    )
    events = command.add_argument_group("events")
    events.add_argument(
        "--on", type=float, default=0.5, metavar="P", help="probability that an event reaches (%(default)g)"
    )
    events.add_argument("--off", type=float, metavar="P", help="probability below which it has ended (0.8 of --on)")
    events.add_argument(
        "--min-duration",
        dest="min_duration_s",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="leave shorter events out (%(default)g)",
    )
    events.add_argument(
        "--merge",
        dest="merge_s",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="longest gap between events that are one (%(default)g)",
    )
    add_model_options(command, cache=False)


def time_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The options as arguments of `claprt.timeline` and `Clap.stream`, labels aside."""
    names = ("hop_s", "window_s", "scores", "on", "off", "min_duration_s", "merge_s", "template")
    return {"background": split_words(options.background), **{name: getattr(options, name) for name in names}}
