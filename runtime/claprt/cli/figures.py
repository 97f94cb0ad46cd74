"""Figures of `score` and `evaluate`: the files they go to, the seed of what is drawn for them, and how they are shown."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from claprt.audio.long_audio import LongMode
from claprt.errors import OptionError
from claprt.system.terminal import report_written
from claprt.validation import validate_seed


def check_files(*files: Path | None) -> None:
    """Refuse files that cannot be written, before anything is computed.

    Raises:
        OptionError: if a folder does not exist, or a file is one.
    """
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise OptionError(f"{file}: there is no folder {file.parent}.")
        if file is not None and file.is_dir():
            raise OptionError(f"{file} is a folder; name a file in it.")


def take_seed(options: argparse.Namespace) -> int:
    """The seed, by default 0, which the options then state only for a model that draws windows.

    Raises:
        OptionError: if it is not a whole number from 0 to 2^32 - 1.
    """
    seed = validate_seed(options.seed or 0)
    if options.long not in (LongMode.RANDOM, LongMode.FUSION):
        options.seed = None
    return seed


def show_figures(options: argparse.Namespace, figures: dict[str, Any], table: str, *, as_json: bool) -> None:
    """Print figures, and write them to the file of `-o` as JSON.

    Args:
        options: of the command, with `output`.
        figures: plain values.
        table: the same for people.
        as_json: whether JSON is printed, and not the table.
    """
    plain = json.dumps(figures, indent=1)
    print(plain if as_json else table)
    if options.output is not None:
        options.output.write_text(f"{plain}\n", encoding="utf-8")
        report_written(options, options.output)
