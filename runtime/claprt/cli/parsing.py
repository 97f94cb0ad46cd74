"""The argument parser of every command: options and files in any order, and errors that suggest what was meant."""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help texts beside the options, at most 100 columns wide."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(shutil.get_terminal_size().columns, 100) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:  # an epilog with examples
            return super()._fill_text(text, width, indent)
        return textwrap.fill(" ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent)


class Parser(argparse.ArgumentParser):
    """A parser whose errors name the closest choice or option."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Print the usage of this command, what is wrong, and what was probably meant; exit with status 2."""
        given, known = self._given_and_known(message)
        close = [found for word in given for found in difflib.get_close_matches(word, known, 1, 0.6)]
        hint = f" Did you mean {' and '.join(close)}?" if close else ""
        message = message.partition(" (choose from ")[0] if close else message
        self.print_usage()
        self.exit(2, f"{self.prog}: {message.removesuffix('.')}.{hint} See {self.prog} --help.\n")

    def _given_and_known(self, message: str) -> tuple[list[str], list[str]]:
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            return [choice[1]], re.findall(r"[\w.-]+", choice[2])
        if message.startswith("unrecognized arguments: "):
            given = [word.partition("=")[0] for word in message.split()[2:] if word.startswith("-")]
            return given, [name for name in self._option_string_actions if name.startswith("--")]
        return [], []

    def print_usage(self, file: Any = None) -> None:
        """Print the usage on standard error, where errors go."""
        super().print_usage(sys.stderr if file is None else file)


class CommandParser(Parser):
    """The parser of one command; files may stand before, between and after the options."""

    _mixing = False

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride] - one signature for argparse's overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse options first and positional arguments among what is left; unknown options are an error of this command."""
        if self._mixing or self._subparsers is not None:  # it has commands of its own, which do this
            return super().parse_known_args(args, namespace)
        given = list(sys.argv[1:] if args is None else args)
        end = given.index("--") if "--" in given else len(given)
        self._mixing = True
        try:
            parsed, unknown = self.parse_known_intermixed_args(given[:end], namespace)
        finally:
            self._mixing = False
        unknown += self._take(parsed, given[end + 1 :])
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def _take(self, parsed: argparse.Namespace, names: list[str]) -> list[str]:
        """Add what stands behind `--` to the files; gives what has no place there."""
        for action in self._actions:
            if names and not action.option_strings and action.nargs == "*":
                setattr(parsed, action.dest, [*getattr(parsed, action.dest), *names])
                return []
            if names and not action.option_strings and getattr(parsed, action.dest) is None:
                setattr(parsed, action.dest, names[0])
                return names[1:]
        return names
