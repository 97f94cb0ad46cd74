"""Commands with standard streams that are closed, full or of another encoding, in the process of the tests."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import pytest

from claprt.cli import main

CLOSED = "closed"
"""In place of a file's path: the stream was closed before the command began."""
_NAMES = ("stdin", "stdout", "stderr")


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status, and what it wrote where a stream was not led elsewhere."""

    status: int
    out: bytes
    err: bytes


def command(
    arguments: Sequence[str],
    *,
    stdin: str = os.devnull,
    stdout: str | None = None,
    stderr: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> Done:
    """Run `claprt` with these arguments as a new process would run it, in this one.

    The descriptors 0, 1 and 2 and Python's streams are what a process gets from such a shell; `CLOSED` stands for `<&-`.
    What is written is flushed at the end, as Python does when it ends: that it fails is an error.

    Args:
        arguments: those of the command.
        stdin: path of what it reads, or `CLOSED`.
        stdout: path of where its output goes, `CLOSED`, or None to return it.
        stderr: the same of its errors.
        encoding: of both outputs.
        errors: what Python does with characters that the encoding lacks.
    """
    if sys.platform == "win32":
        pytest.skip("needs descriptors of POSIX")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        files: list[IO[bytes]] = []
        for number, path in enumerate((stdin, stdout, stderr)):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            files.append(stack.enter_context(tempfile.TemporaryFile()))
            if path == CLOSED:
                os.close(number)
                patch.setattr(sys, _NAMES[number], None)
                continue
            descriptor = files[-1].fileno() if path is None else os.open(path, os.O_RDWR if number else os.O_RDONLY)
            os.dup2(descriptor, number)
            if path is not None:
                os.close(descriptor)
            raw = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115 - its text stream closes it
            stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors if number else "surrogateescape")
            patch.setattr(sys, _NAMES[number], stream)
        try:
            status = main(list(arguments))
        except SystemExit as end:
            status = int(end.code or 0)
        for stream in (sys.stdout, sys.stderr):
            stream.close()
        _, out, err = (_content(file) for file in files)
    return Done(status, out, err)


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
