"""`claprt embed`: files and texts to vectors."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from claprt.arrays import Embeddings
from claprt.cli.options import add_model_options, add_sound_options, load_model, sound_source
from claprt.errors import OptionError
from claprt.model import Clap
from claprt.results import EmbeddedSound

_SUFFIXES = (".npz", ".jsonl", ".npy")

_EPILOG = """\
output:
  .npz     embeddings, sources, text_embeddings, texts, fingerprint
  .npy     one array: the files' vectors, then the texts'
  .jsonl   one object a line, with the window vectors of long clips
Without -o a terminal shows a table, and anything else gets .jsonl.

examples:
  claprt embed dog.wav rain.flac -o sounds.npz
  claprt embed --text "a dog barking" --text "rain" dog.wav
  sox in.aiff -t wav - | claprt embed - > vector.jsonl
"""


def add(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "embed",
        help="embed files and texts",
        description="Embeds sound files and texts.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("files", nargs="*", metavar="FILE", help="sound files; - reads one from standard input")
    command.add_argument("--text", action="append", default=[], metavar="TEXT", help="a text; may be repeated")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write: .npz, .jsonl or .npy")
    command.add_argument(
        "--on-error", choices=["raise", "skip"], default="raise", help="skip files that cannot be embedded (raise)"
    )
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Runs the command; the exit status is 1 if a file was skipped."""
    if not options.files and not options.text:
        options.command.error("name at least one FILE or --text")
    _check_output(options.output)
    clap = load_model(options)
    texts = clap.embed_text(options.text)
    if options.output is None and not sys.stdout.isatty():
        return _write_lines(sys.stdout, clap, _sounds(clap, options), options.text, texts)
    if options.output is not None and options.output.suffix == ".jsonl":
        sounds = _peeked(_sounds(clap, options))  # an error in the first file leaves an existing output alone
        with options.output.open("w", encoding="utf-8") as lines:
            return _write_lines(lines, clap, sounds, options.text, texts)
    sounds = list(_sounds(clap, options))
    if options.output is None:
        _print_table(sounds, options.text, texts)
    else:
        _write_arrays(options.output, clap, [sound for sound in sounds if sound.vector is not None], options.text, texts)
    return _status(sounds)


def _check_output(output: Path | None) -> None:
    if output is None:
        return
    if output.suffix not in _SUFFIXES:
        raise OptionError(f"-o {output}: the name must end in {', '.join(_SUFFIXES)}.")
    if not output.parent.is_dir():
        raise OptionError(f"-o {output}: there is no folder {output.parent}.")


def _sounds(clap: Clap, options: argparse.Namespace) -> Iterator[EmbeddedSound]:
    many = len(options.files) > 3 and sys.stderr.isatty()
    for sound in tqdm(
        clap.iter_audio(map(sound_source, options.files)), total=len(options.files), unit="file", disable=not many
    ):
        if sound.error is not None:
            if options.on_error == "raise":
                raise sound.error
            tqdm.write(f"skipped: {sound.error}", file=sys.stderr)
        yield sound


def _peeked(sounds: Iterator[EmbeddedSound]) -> Iterator[EmbeddedSound]:
    """The same sounds, the first of them already embedded."""
    return itertools.chain(list(itertools.islice(sounds, 1)), sounds)


def _status(sounds: Sequence[EmbeddedSound]) -> int:
    return int(any(sound.error is not None for sound in sounds))


def _write_lines(
    out: TextIO, clap: Clap, sounds: Iterator[EmbeddedSound], texts: Sequence[str], vectors: Embeddings
) -> int:
    status = 0
    for sound in sounds:
        status |= sound.error is not None
        print(json.dumps(sound.to_dict()), file=out, flush=True)
    for text, vector in zip(texts, vectors, strict=True):
        plain = {"text": text, "fingerprint": clap.fingerprint, "embedding": vector.tolist()}
        print(json.dumps(plain), file=out)
    return int(status)


def _write_arrays(
    output: Path, clap: Clap, sounds: Sequence[EmbeddedSound], texts: Sequence[str], vectors: Embeddings
) -> None:
    rows = [sound.vector for sound in sounds if sound.vector is not None]
    embeddings = np.stack(rows) if rows else np.empty((0, clap.dim), np.float32)
    if output.suffix == ".npy":
        np.save(output, np.concatenate([embeddings, vectors]))
        return
    np.savez(
        output,
        embeddings=embeddings,
        sources=np.array([sound.source for sound in sounds], dtype=np.str_),
        text_embeddings=vectors,
        texts=np.array(texts, dtype=np.str_),
        fingerprint=np.array(clap.fingerprint),
    )


def _print_table(sounds: Sequence[EmbeddedSound], texts: Sequence[str], vectors: Embeddings) -> None:
    width = max((len(name) for name in [*(sound.source for sound in sounds), *texts]), default=0)
    width = min(max(width, 6), 48)
    for sound in sounds:
        if sound.vector is None:
            print(f"{sound.source:{width}.{width}}  {sound.error}")
        else:
            print(f"{sound.source:{width}.{width}}  {_shown(sound.vector)}  windows: {len(sound.windows)}")
    for text, vector in zip(texts, vectors, strict=True):
        print(f"{text:{width}.{width}}  {_shown(vector)}")
    good = [sound for sound in sounds if sound.vector is not None]
    if good and texts:
        print("\ncosine similarity")
        for sound in good:
            cosines = "  ".join(
                f"{text}: {vector @ sound.vector:+.3f}" for text, vector in zip(texts, vectors, strict=True)
            )
            print(f"{sound.source:{width}.{width}}  {cosines}")
    print("\n(-o FILE.npz keeps the vectors)")


def _shown(vector: np.ndarray[Any, Any]) -> str:
    head = " ".join(f"{value:+.4f}" for value in vector[:4])
    return f"[{len(vector)}] {head} …"
