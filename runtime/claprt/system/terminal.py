"""Text output: closed streams, limited encodings, control characters, and columns of a fixed width."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import errno
import io
import os
import shutil
import sys
import unicodedata
from typing import NoReturn, TextIO

_ERRORS = "claprt.ascii"
_ASCII = {
    "█": "#",
    "▏": "|",
    "…": "...",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "–": "-",
    "×": "x",
    **dict(zip("▁▂▃▄▅▆▇", "_.:-=+*", strict=True)),
}
_UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")


class _ClosedOutput(io.TextIOBase):
    """Stands in for a standard output that was closed before the program began."""

    def write(self, text: str, /) -> NoReturn:
        del text
        raise OSError(errno.EBADF, "standard output is closed")


def prepare_streams() -> None:
    """Make the standard streams safe to use: closed ones, and encodings that lack a character."""
    for number in range(3):  # so that no file that is opened later becomes a standard stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the program ends
    codecs.register_error(_ERRORS, _replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    """What a stream shows for a character that its encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if character in _ASCII:
        return _ASCII[character], error.start + 1
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.backslashreplace_errors(one)


def discard_output() -> None:
    """Let Python's last flush of standard output succeed after a write has failed."""
    _discard(sys.stdout)


def flush_errors() -> None:
    """Write what standard error still holds; where that fails, as on a full disk, let Python's last flush succeed."""
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError:  # it has no descriptor
        return


def say(line: str) -> None:
    """Print a line on standard error; one that cannot be written, as on a full disk, does not end the command."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def note(options: argparse.Namespace, text: str) -> None:
    """Print a remark on standard error, unless `--quiet` was given."""
    if not options.quiet:
        say(f"note: {printable(text)}")


def report_written(options: argparse.Namespace, path: str | os.PathLike[str], what: str = "") -> None:
    """Say on standard error which file was written and what it holds, unless `--quiet` was given."""
    if not options.quiet:
        say(f"wrote {printable(os.fspath(path))}{what and f': {what}'}")


def printable(text: str) -> str:
    r"""Text with control characters as escapes, so that a file's name cannot drive the terminal.

    Example:
        >>> printable("a\x1b[31mb\n")
        'a\\x1b[31mb\\n'
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _UNSAFE and character not in _JOINERS
        else character
        for character in text
    )


def cells(text: str) -> int:
    """Columns that a text takes on a terminal.

    Example:
        >>> cells("静か"), cells("e\u0301")
        (4, 1)
    """
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def fit(text: str, width: int, *, keep: str = "start") -> str:
    """A printable text in exactly `width` columns: filled with spaces, or shortened with `…`.

    Args:
        text: any text.
        width: columns, at least 1.
        keep: which part of a long text stays, `start` or `end` (of a path, the file's name).

    Example:
        >>> fit("dog", 5), fit("a dog barking", 6), fit("/sounds/dog.wav", 8, keep="end")
        ('dog  ', 'a dog…', '…dog.wav')
    """
    shown = printable(text)
    if cells(shown) <= width:
        return shown + " " * (width - cells(shown))
    while cells(shown) > width - 1:
        shown = shown[:-1] if keep == "start" else shown[1:]
    shown = f"{shown}…" if keep == "start" else f"…{shown}"
    return shown + " " * (width - cells(shown))


def columns() -> int | None:
    """Width of the terminal that standard output is; None for a file or a pipe, unless `COLUMNS` says otherwise."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        return None
    return max(20, shutil.get_terminal_size().columns)
