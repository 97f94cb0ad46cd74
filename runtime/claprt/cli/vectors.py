"""Where `claprt embed` puts vectors: JSON lines, CSV, and numpy's files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from claprt.arrays import Embeddings
from claprt.cli.figures import check_files
from claprt.errors import OptionError
from claprt.model.results import EmbeddedSound

ARRAYS = (".npz", ".npy")
LINES = (".jsonl", ".csv")


def check_output(output: str | None) -> None:
    """Refuse a file that cannot be written before anything is computed; `-` is standard output.

    Raises:
        OptionError: if its suffix is not known, its folder does not exist, or it is a folder.
    """
    if output is None or output == "-":
        return
    path = Path(output)
    if path.suffix not in (*ARRAYS, *LINES):
        raise OptionError(f"-o {output}: the name must end in {', '.join((*ARRAYS, *LINES))}, or be - for JSON lines.")
    check_files(path)


def write_lines(
    out: TextIO, suffix: str, sounds: Iterable[EmbeddedSound], texts: Sequence[str], vectors: Embeddings, fingerprint: str
) -> tuple[int, int]:
    """Write a line for each sound as soon as it is done, then one for each text.

    Args:
        out: where to write.
        suffix: `.jsonl` or `.csv`; a CSV file has the columns source, text, fingerprint, and one for each dimension, and
            no sounds that were skipped.
        sounds: the results.
        texts: texts as they were given.
        vectors: their vectors [texts, dim].
        fingerprint: of the texts' vectors.

    Returns:
        How many sounds were written and how many were skipped.
    """
    write = _csv_writer(out, vectors.shape[1]) if suffix == ".csv" else _json_writer(out)
    good = skipped = 0
    for sound in sounds:
        write(sound.to_dict())
        good, skipped = good + (sound.vector is not None), skipped + (sound.vector is None)
    for text, vector in zip(texts, vectors, strict=True):
        write({"text": text, "fingerprint": fingerprint, "embedding": vector.tolist()})
    return good, skipped


def _json_writer(out: TextIO) -> Callable[[dict[str, Any]], None]:
    return lambda row: print(json.dumps(row), file=out, flush=True)


def _csv_writer(out: TextIO, dim: int) -> Callable[[dict[str, Any]], None]:
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["source", "text", "fingerprint", *range(dim)])

    def write(row: dict[str, Any]) -> None:
        if "embedding" in row:
            values = map(str, np.asarray(row["embedding"], np.float32))
            table.writerow([row.get("source", ""), row.get("text", ""), row["fingerprint"], *values])
            out.flush()

    return write


def write_arrays(
    output: Path, sounds: Sequence[EmbeddedSound], texts: Sequence[str], vectors: Embeddings, fingerprint: str
) -> tuple[int, int]:
    """Write `.npz` (embeddings, sources, text_embeddings, texts, fingerprint) or `.npy` (sounds, then texts).

    Args:
        output: the file.
        sounds: the results; skipped ones are left out.
        texts: texts as they were given.
        vectors: their vectors [texts, dim].
        fingerprint: of all vectors.

    Returns:
        How many sounds were written and how many were skipped.
    """
    good = [sound for sound in sounds if sound.vector is not None]
    rows = [sound.vector for sound in good if sound.vector is not None]
    embeddings = np.stack(rows) if rows else np.empty((0, vectors.shape[1]), np.float32)
    if output.suffix == ".npy":
        np.save(output, np.concatenate([embeddings, vectors]))
        return len(good), len(sounds) - len(good)
    np.savez(
        output,
        embeddings=embeddings,
        sources=np.array([sound.source for sound in good], dtype=np.str_),
        text_embeddings=vectors,
        texts=np.array(texts, dtype=np.str_),
        fingerprint=np.array(fingerprint),
    )
    return len(good), len(sounds) - len(good)
