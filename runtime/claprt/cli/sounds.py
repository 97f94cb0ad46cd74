"""Sound files as they are named on the command line: folders, standard input, progress, and files that fail."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from claprt.arrays import Embeddings
from claprt.audio.files.folders import sounds_in
from claprt.audio.sound import AudioSource
from claprt.errors import OptionError
from claprt.model.clap import Clap
from claprt.model.results import EmbeddedSound
from claprt.system.terminal import printable, say

if TYPE_CHECKING:
    from tqdm import tqdm

_FEW = 4
_FORM = "{percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt} {unit} [{elapsed}<{remaining}]"
_DELAY_S = 0.5


def add_file_options(command: argparse.ArgumentParser, *, on_error: str) -> None:
    """Add FILE and `--on-error`, with `raise` or `skip` as its default."""
    command.add_argument("files", nargs="*", metavar="FILE", help="sound files, or folders of them; - is standard input")
    command.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default=on_error,
        help="stop at a file that cannot be embedded, or go on with the others (%(default)s)",
    )


def sound_files(names: Sequence[str]) -> list[str]:
    """Files as named, with folders replaced by the sound files in them and below, sorted.

    In a folder, a sound file is one with a suffix of sound or video files, or one without a suffix whose first bytes are
    those of such a file. Hidden files are left out; links are followed, and a folder that was seen is not entered again.

    Raises:
        OptionError: if a folder holds no sound file, or standard input is named twice.
    """
    if names.count("-") > 1:
        raise OptionError("- was named more than once, and standard input holds one sound.")
    found: list[str] = []
    for name in names:
        if name == "-" or not name or not os.path.isdir(name):  # noqa: PTH112 - names stay as they were typed
            found.append(name)
            continue
        inside = sorted(entry.path for entry in sounds_in(name))
        if not inside:
            raise OptionError(f"{name} is a folder without sound files; name files, or a folder that holds some.")
        found += inside
    return found


def each_sound(options: argparse.Namespace, clap: Clap, files: Sequence[str]) -> Iterator[tuple[str, EmbeddedSound]]:
    """The result for each file, in order, with progress on a terminal; failed ones are named on standard error.

    Args:
        options: with `on_error` and `quiet`.
        clap: the model.
        files: names as `sound_files` gives them.

    Yields:
        The name and the result; a result without a vector was skipped.

    Raises:
        AudioError: if a file cannot be embedded and `--on-error` is `raise`.
    """
    shown = sys.stderr.isatty() and not options.quiet
    with _Progress(files) if shown else _NoProgress() as progress:
        sounds = clap.iter_audio(map(sound_source, files), progress=progress.read if shown else None)
        for file, sound in zip(files, sounds, strict=True):
            if sound.error is not None and options.on_error == "raise":
                raise sound.error
            progress.done(file)
            if sound.error is not None:
                say(f"skipped: {printable(str(sound.error))}")
            yield file, sound


def embedded_files(options: argparse.Namespace, clap: Clap, files: Sequence[str]) -> tuple[list[str], Embeddings]:
    """Names and vectors [n, dim] of the files that can be embedded, as `each_sound` gives them.

    Raises:
        AudioError: if a file cannot be embedded and `--on-error` is `raise`.
    """
    good = [(file, sound.vector) for file, sound in each_sound(options, clap, files) if sound.vector is not None]
    return [file for file, _ in good], np.array([vector for _, vector in good], np.float32).reshape(len(good), clap.dim)


@contextlib.contextmanager
def sound_progress(options: argparse.Namespace, file: str) -> Generator[Callable[[float], None]]:
    """Progress through one sound on a terminal; gives what is to be called with the seconds that were read."""
    shown = sys.stderr.isatty() and not options.quiet
    with _Progress([file]) if shown else _NoProgress() as progress:
        yield progress.read


class _NoProgress:
    """Shows nothing."""

    def __enter__(self) -> _NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def read(self, seconds: float) -> None:
        """Count sound that was read."""

    def done(self, file: str) -> None:
        """Count a file, and make room for what is printed next."""


class _Progress(_NoProgress):
    """A bar on standard error, once a command takes longer than a moment; it disappears at the end.

    It counts files where there are many, and seconds of sound where there are few.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._lengths = {} if len(files) >= _FEW else {file: _length_s(file) for file in files}
        self._read_s = self._done_s = 0.0
        total = round(sum(self._lengths.values())) if self._lengths else len(files)
        form = _FORM
        if self._lengths and not total:
            total, form = None, "{n_fmt} {unit} [{elapsed}]"
        from tqdm import tqdm

        self._bar: tqdm[Any] = tqdm(total=total, unit="s of sound" if self._lengths else "files", bar_format=form, **_bar())

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def read(self, seconds: float) -> None:
        """Count sound that was read, in seconds."""
        self._read_s += seconds
        if self._lengths:
            self._show(self._read_s)
        else:
            self._bar.update(0)

    def done(self, file: str) -> None:
        """Count a file, and make room for what is printed next."""
        if self._lengths:
            self._done_s += self._lengths[file]
            self._show(max(self._read_s, self._done_s))
        else:
            self._bar.update()
        if self._bar.last_print_t > self._bar.start_t:  # it has been shown
            self._bar.clear()

    def _show(self, seconds: float) -> None:
        limit = self._bar.total or seconds
        self._bar.update(round(min(seconds, limit)) - self._bar.n)


def file_progress(items: Iterable[Any], total: int, *, quiet: bool) -> Iterable[Any]:
    """Pass the results for files through, with a bar on a terminal."""
    if quiet or not sys.stderr.isatty():
        return items
    from tqdm import tqdm

    return tqdm(items, total=total, unit="files", bar_format=_FORM, **_bar())


def _bar() -> dict[str, Any]:
    """What all bars have in common."""
    return {"delay": _DELAY_S, "leave": False, "ncols": min(72, shutil.get_terminal_size().columns - 1)}


def _length_s(file: str) -> float:
    """Seconds of sound that a file's header states; 0 where it cannot be known."""
    import soundfile

    try:
        info = soundfile.info(file) if Path(file).is_file() else None
    except (OSError, RuntimeError, ValueError):
        return 0.0
    return info.duration if info is not None and 0 < info.frames < 1 << 60 else 0.0


def sound_source(name: str) -> AudioSource:
    """A file as it was named on the command line; `-` is what standard input holds.

    Raises:
        OptionError: if standard input is closed, or a terminal.
    """
    if name != "-":
        return name
    if sys.stdin is None or sys.stdin.closed:
        raise OptionError("- reads a sound from standard input, and that is closed.")
    if sys.stdin.isatty():
        raise OptionError("- reads a sound from standard input, and that is a terminal; pipe a sound file into it.")
    stdin: BinaryIO = sys.stdin.buffer
    return stdin.read()
