"""`claprt embed`: files and texts to vectors."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.sounds import add_file_options, each_sound, sound_files
from claprt.cli.tables import cosine_table
from claprt.cli.vectors import LINES, check_output, write_arrays, write_lines
from claprt.errors import ClaprtError, OptionError
from claprt.model.clap import Clap
from claprt.model.results import EmbeddedSound
from claprt.system.terminal import cells, columns, fit, printable, report_written

_EPILOG = """\
output:
  .npz     embeddings, sources, text_embeddings, texts, fingerprint
  .npy     one array: the files' vectors, then the texts'
  .jsonl   one object a line, with the window vectors of long clips
  .csv     a row for each vector: source, text, fingerprint, 0, 1, …
  -        JSON lines on standard output
Without -o a terminal shows a table, and anything else gets JSON lines.

examples:
  claprt embed dog.wav rain.flac -o sounds.npz
  claprt embed --text "a dog barking" --text "rain" dog.wav
  claprt embed recordings/ --on-error skip -o recordings.jsonl
  sox in.aiff -t wav - | claprt embed - > vector.jsonl
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "embed",
        usage="claprt embed [FILE ...] [--text TEXT] [-o OUTPUT] [options]",
        help="embed files and texts",
        description="Embeds sound files and texts.",
        epilog=_EPILOG,
    )
    add_file_options(command, on_error="raise")
    command.add_argument("--text", action="append", default=[], metavar="TEXT", help="a text; may be repeated")
    command.add_argument("-o", "--output", metavar="OUTPUT", help="where to write: .npz, .npy, .jsonl, .csv or -")
    command.add_argument("--json", action="store_true", help="JSON lines on standard output, on a terminal too")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if a file was skipped."""
    if not options.files and not options.text:
        options.command.error("name at least one FILE or --text")
    output = _output(options)
    files = sound_files(options.files)
    clap = load_model(options)
    texts = clap.embed_text(options.text)
    sounds = (sound for _, sound in each_sound(options, clap, files))
    if output is None:
        skipped = _print_table(list(sounds), options.text, texts)
    elif output == "-":
        _, skipped = write_lines(sys.stdout, ".jsonl", sounds, options.text, texts, clap.fingerprint)
    else:
        good, skipped = _write_file(Path(output), sounds, options.text, texts, clap)
        report_written(options, output, _contents(options, good, skipped))
    return int(skipped > 0)


def _output(options: argparse.Namespace) -> str | None:
    """Where the vectors go: a file, `-` for standard output, or None for a table.

    Raises:
        OptionError: If `--json` is combined with a file.
    """
    if options.json and options.output not in (None, "-"):
        raise OptionError(f"--json is for standard output; -o {options.output} excludes it.")
    check_output(options.output)
    if options.json or (options.output is None and not sys.stdout.isatty()):
        return "-"
    return options.output


def _write_file(
    output: Path, sounds: Iterator[EmbeddedSound], texts: Sequence[str], vectors: Embeddings, clap: Clap
) -> tuple[int, int]:
    """Write the vectors; gives how many sounds were written and how many skipped.

    Raises:
        OptionError: If the file cannot be written.
        OSError: If a sound cannot be read.
    """
    # an error in the first sound leaves an existing file alone
    first = list(itertools.islice(sounds, 1 if output.suffix in LINES else None))
    sounds = itertools.chain(first, sounds)
    try:
        if output.suffix not in LINES:
            return write_arrays(output, list(sounds), texts, vectors, clap.fingerprint)
        with output.open("w", encoding="utf-8", newline="") as lines:
            return write_lines(lines, output.suffix, sounds, texts, vectors, clap.fingerprint)
    except OSError as error:
        if isinstance(error, ClaprtError):  # such as AudioNotFoundError
            raise
        raise OptionError(f"-o {output} cannot be written: {error.strerror or error}.") from error


def _contents(options: argparse.Namespace, good: int, skipped: int) -> str:
    parts = [_count(good, "sound")] if options.files else []
    parts += [_count(len(options.text), "text")] if options.text else []
    return ", ".join([*parts, f"{skipped} skipped"] if skipped else parts)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _print_table(sounds: Sequence[EmbeddedSound], texts: Sequence[str], vectors: Embeddings) -> int:
    """Print what was embedded; gives how many sounds were skipped."""
    names = [*(sound.source for sound in sounds), *texts]
    width = min(max(6, *(cells(printable(name)) for name in names)), 40)
    for sound in sounds:
        name = fit(sound.source, width, keep="end")
        if sound.vector is None:
            print(f"{name}  (skipped)")
        else:
            print(f"{name}  {_shown(sound.vector)}{f'  windows: {len(sound.windows)}' if len(sound.windows) > 1 else ''}")
    for text, vector in zip(texts, vectors, strict=True):
        print(f"{fit(text, width)}  {_shown(vector)}")
    good = [sound for sound in sounds if sound.vector is not None]
    if good and texts:
        rows = np.stack([sound.vector for sound in good if sound.vector is not None])
        print("\ncosine similarity")
        print(cosine_table([sound.source for sound in good], texts, np.einsum("ad,bd->ab", rows, vectors), columns()))
    print("\n(-o FILE.npz keeps the vectors, --json prints them)")
    return len(sounds) - len(good)


def _shown(vector: Embedding) -> str:
    head = " ".join(f"{value:+.4f}" for value in vector[:3])
    return f"[{len(vector)}] {head} …"
