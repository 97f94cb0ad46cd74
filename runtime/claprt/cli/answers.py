"""An answer for each file, as a chart or as JSON: what `classify` and `tag` have in common."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from claprt.arrays import Embedding
from claprt.cli.options import add_model_options, add_sound_options
from claprt.cli.parsing import Parser
from claprt.cli.sounds import add_file_options, each_sound, sound_files
from claprt.cli.words import add_word_options, given_words, take_files_from_words
from claprt.model.clap import Clap
from claprt.scoring.labels import validate_labels
from claprt.system.terminal import cells, columns, fit, note, printable

_BAR = 40
_NAME = 40


class Result(Protocol):
    """The answer for one file."""

    @property
    def warning(self) -> str | None:
        """Why it means little; None otherwise."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ...


R = TypeVar("R", bound=Result)


def add_answer_options(command: argparse.ArgumentParser, *, word: str) -> None:
    """Add files, labels or tags (`word` says which), `--template`, `--json`, and what decides on model and sounds."""
    add_file_options(command, on_error="skip")
    add_word_options(command, word, plural_help=f"{word}s; commas separate them too, or a JSON list")
    command.add_argument("--template", metavar="TEXT", help=f"sentence with {{}} for the {word} (the {word} as it is)")
    command.add_argument("--json", action="store_true", help="one JSON object a file")
    add_sound_options(command)
    add_model_options(command)


def files_and_words(options: argparse.Namespace, word: str) -> tuple[list[str], tuple[str, ...]]:
    """The files, folders expanded, and the labels or tags; ends with a usage error where either is missing.

    Raises:
        OptionError: if a word is given twice, a file of words cannot be read, or a folder holds no sounds.
        TextError: if a word is empty.
    """
    command: Parser = options.command
    take_files_from_words(options)
    words = given_words(options)
    if not words:
        command.error(f"name what to choose from: --{word}s, --{word} or --{word}s-file")
    if not options.files:
        command.error(f"name at least one FILE, as in {command.prog} dog.wav --{word}s {word.upper()} …")
    return sound_files(options.files), validate_labels(words, f"{word}s")


def print_answers(
    options: argparse.Namespace,
    clap: Clap,
    files: Sequence[str],
    answer: Callable[[Embedding], R],
    chart: Callable[[R], str],
) -> int:
    """Print the answer for each file.

    Args:
        options: the command's options.
        clap: the model.
        files: names as `sound_files` gives them.
        answer: gives the result for a vector [dim].
        chart: shows a result as text.

    Returns:
        The exit status, 1 if a file could not be embedded.
    """
    status, printed, warned = 0, 0, False
    for file, sound in each_sound(options, clap, files):
        if sound.vector is None:
            status = 1
            continue
        result = answer(sound.vector)
        if result.warning is not None and not warned:
            note(options, result.warning)
            warned = True
        if options.json:
            print(json.dumps({"source": file, "fingerprint": clap.fingerprint, **result.to_dict()}), flush=True)
            continue
        if len(files) > 1:
            print(f"{chr(10) if printed else ''}{printable(file)}")
        print(chart(result), flush=True)
        printed += 1
    return status


def note_single_label(options: argparse.Namespace, labels: Sequence[str]) -> None:
    """Say that one label alone is always certain."""
    if len(labels) == 1:
        note(options, "one label alone always gets 100 %; name others that the sound could be instead, or use claprt tag.")


def bars(rows: Sequence[tuple[str, float, float]]) -> str:
    """A line with a bar for each name, probability and cosine; lines are as wide as the terminal at most."""
    total = columns() or 80
    width = min(max(cells(printable(name)) for name, _, _ in rows), _NAME, max(8, total - 36))
    room = max(4, min(_BAR, total - width - 26))
    lines: list[str] = []
    for name, share, cosine in rows:
        bar = "█" * round(share * room) or "▏"
        lines.append(f"{fit(name, width)}  {share:6.1%}  {bar:{room}}  cosine {cosine:+.3f}")
    return "\n".join(lines)
