"""Labels and tags on the command line: a list, one at a time, or from a file."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from claprt.audio.files.folders import is_sound_name
from claprt.errors import OptionError

_JSON = re.compile(r'\s*\[\s*"')


def add_word_options(command: argparse.ArgumentParser, word: str, *, plural_help: str) -> None:
    """Add `--labels`, `--label` and `--labels-file`, or the same of tags.

    Args:
        command: the command's parser.
        word: `label` or `tag`.
        plural_help: help of the option that takes several.
    """
    name: dict[str, Any] = {"metavar": word.upper()}
    command.add_argument(f"--{word}s", nargs="+", default=[], dest="words", help=plural_help, **name)
    command.add_argument(
        f"--{word}",
        action="append",
        default=[],
        dest="single_words",
        help=f"a {word}, commas and all; may be repeated",
        **name,
    )
    command.add_argument(f"--{word}s-file", metavar="TEXTFILE", dest="words_file", help=f"file with one {word} a line")


def given_words(options: argparse.Namespace) -> list[str]:
    """Labels or tags in the order of the options: those with commas between them, single ones, those of the file.

    Raises:
        OptionError: if the file cannot be read.
    """
    return [*split_words(options.words), *options.single_words, *_words_of(options.words_file)]


def split_words(given: Sequence[str]) -> list[str]:
    """Labels or tags as they were typed: one an argument, several with commas between them, or a JSON list.

    Raises:
        OptionError: if an argument begins as a JSON list of strings, and is none.

    Example:
        >>> split_words(["dog,rain", "a siren", '["rain, heavy"]'])
        ['dog', 'rain', 'a siren', 'rain, heavy']
    """
    found: list[str] = []
    for part in given:
        found += _listed(part) if _JSON.match(part) else part.split(",")
    return [word.strip() for word in found if word.strip()]


def _listed(text: str) -> list[str]:
    try:
        words: object = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in cast("list[object]", words)):
        raise OptionError(f"{text!r:.80} begins as a JSON list of strings, and is none.")
    return cast("list[str]", words)


def _words_of(file: str | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{file} cannot be read as lines of text: {reason}.") from error
    return [line.strip() for line in lines if line.strip()]


def take_files_from_words(options: argparse.Namespace) -> None:
    """Move files that stand behind `--labels` (or `--tags`) to the files, where no file stands elsewhere.

    `--labels dog rain dog.wav` gives argparse three labels. The last ones are files if they exist, have a suffix of sound
    files, or are `-`; a folder counts where it is written with a slash.
    """
    if options.files:
        return
    first = len(options.words)
    while first > 0 and _is_file(options.words[first - 1]):
        first -= 1
    options.files, options.words = options.words[first:], options.words[:first]


def _is_file(name: str) -> bool:
    folder = any(mark in name for mark in (os.sep, os.altsep) if mark) and os.path.isdir(name)  # noqa: PTH112
    return name == "-" or is_sound_name(name) or os.path.isfile(name) or folder  # noqa: PTH113 - any text may be a label
