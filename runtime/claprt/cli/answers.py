"""An answer for each file, as a chart for people or as JSON for programs: what `classify` and `tag` have in common."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from claprt.arrays import Embedding
from claprt.cli.options import add_model_options, add_sound_options, sound_source
from claprt.model import Clap


class Result(Protocol):
    """What a file's answer can do."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ...


R = TypeVar("R", bound=Result)


def add_answer_options(command: argparse.ArgumentParser, *, word: str) -> None:
    """Adds files, `--template` and `--json`, and what decides on model and sounds; `word` is what is filled in."""
    command.add_argument("files", nargs="+", metavar="FILE", help="sound files, before the options; - is standard input")
    command.add_argument("--template", metavar="TEXT", help=f"sentence with {{}} for the {word} (the {word} as it is)")
    command.add_argument("--json", action="store_true", help="one JSON object a file")
    add_sound_options(command)
    add_model_options(command)


def print_answers(
    options: argparse.Namespace, clap: Clap, answer: Callable[[Embedding], R], chart: Callable[[R], str]
) -> int:
    """Prints the answer for each file; the exit status is 1 if one could not be embedded."""
    status = 0
    for number, sound in enumerate(clap.iter_audio(map(sound_source, options.files))):
        file = options.files[number]
        if sound.error is not None or sound.vector is None:
            print(f"claprt: {sound.error}", file=sys.stderr)
            status = 1
            continue
        result = answer(sound.vector)
        if options.json:
            print(json.dumps({"source": file, "fingerprint": clap.fingerprint, **result.to_dict()}))
            continue
        if len(options.files) > 1:
            print(f"{'' if number == 0 else chr(10)}{file}")
        print(chart(result))
    return status


def split_words(given: Sequence[str]) -> list[str]:
    """Labels or tags as they were typed: one an argument, or several with commas between them.

    Example:
        >>> split_words(["dog,rain", "a siren"])
        ['dog', 'rain', 'a siren']
    """
    return [word.strip() for part in given for word in part.split(",") if word.strip()]


def bars(rows: Sequence[tuple[str, float, float]]) -> str:
    """A line with a bar for each name, probability and cosine."""
    width = min(max(len(name) for name, _, _ in rows), 40)
    room = max(10, min(40, shutil.get_terminal_size().columns - width - 26))
    lines: list[str] = []
    for name, share, cosine in rows:
        bar = "█" * round(share * room) or "▏"
        lines.append(f"{name:{width}.{width}}  {share:6.1%}  {bar:{room}}  cosine {cosine:+.3f}")
    return "\n".join(lines)
