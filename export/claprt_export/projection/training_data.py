"""What a projection is trained on: embeddings, and judgements of which of two sounds is more like a third."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.errors import DatasetError

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Embeddings of sounds."""

    embeddings: NDArray[np.float32]
    """[sounds, dim], finite, none of them zero."""
    first: Rows
    """[sounds], for each sound the first one with the same embedding; itself, but for copies."""
    name: str
    fingerprint: str | None = None
    """Of the pipeline that made them, where the file says."""

    @property
    def distinct(self) -> Rows:
        """Sounds that are not copies of an earlier one."""
        return np.unique(self.first)


def material(embeddings: NDArray[Any], name: str = "the array", fingerprint: str | None = None) -> Material:
    """Embeddings that can be trained on, checked; `name` is for the messages.

    Raises:
        DatasetError: they are not embeddings: not [sounds, dim] of floats, NaN or infinite, or without a direction.
    """
    if embeddings.ndim != 2 or not embeddings.size or embeddings.dtype.kind != "f":
        shape = ", ".join(map(str, embeddings.shape))
        raise DatasetError(
            f"{name} should hold embeddings [sounds, dim] of floats, and holds {embeddings.dtype} [{shape}]."
        )
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(embeddings, np.float32)
    for wrong, what in ((~np.isfinite(rows).all(axis=1), "NaN or infinity"), (~rows.any(axis=1), "nothing but zeros")):
        if wrong.any():
            found = np.flatnonzero(wrong)
            raise DatasetError(
                f"{name} holds {what} in {len(found)} of {len(rows)} rows, first in row {found[0]}. Leave such sounds out."
            )
    _, firsts, groups = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return Material(embeddings=rows, first=firsts[groups.reshape(-1)], name=name, fingerprint=fingerprint)


def read_embeddings(path: Path) -> Material:
    """Embeddings from a `.npy` file [sounds, dim], or from the `.npz` file that `claprt embed -o` writes.

    Raises:
        DatasetError: there is no such file, or it holds no embeddings.
    """
    content = _loaded(path)
    if isinstance(content, np.ndarray):
        return material(content, str(path))
    with content:
        try:
            embeddings = content["embeddings"]
            fingerprint = str(content["fingerprint"]) if "fingerprint" in content else None
        except (KeyError, ValueError) as error:  # absent, or pickled objects
            raise DatasetError(f"{path} holds no array of embeddings: {error}. It has {', '.join(content)}.") from error
    return material(embeddings, str(path), fingerprint)


def _loaded(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is not there.") from error
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} cannot be read as .npy or .npz: {error}") from error


def read_triplets(path: Path, sounds: int) -> Rows:
    """Triplets [n, 3] of (anchor, positive, negative): rows of the embeddings, from 0.

    Args:
        path: a `.npy` file of integers, or a `.csv` file with three columns and perhaps a line of names.
        sounds: how many there are.

    Raises:
        DatasetError: there is no such file, it holds no triplets, or one names a sound that is not there, or one twice.
    """
    content = _csv(path) if path.suffix == ".csv" else _loaded(path)
    if not (isinstance(content, np.ndarray) and content.ndim == 2 and content.shape[1] == 3 and content.dtype.kind in "iu"):
        raise DatasetError(f"{path} should hold triplets [n, 3] of whole numbers: anchor, positive, negative.")
    if not len(content):
        raise DatasetError(f"{path} holds no triplets.")
    outside = np.flatnonzero(((content < 0) | (content >= sounds)).any(axis=1))
    if len(outside):
        raise DatasetError(
            f"{path}: triplet {outside[0]} is {content[outside[0]].tolist()}, and rows go from 0 to {sounds - 1}"
            f" ({len(outside)} of {len(content)} triplets are like that)."
        )
    anchor, positive, negative = content.T
    twice = np.flatnonzero((anchor == positive) | (anchor == negative) | (positive == negative))
    if len(twice):
        raise DatasetError(
            f"{path}: triplet {twice[0]} is {content[twice[0]].tolist()}, which names a sound twice "
            f"({len(twice)} of {len(content)} triplets do)."
        )
    return content.astype(np.int64)


def _csv(path: Path) -> Rows:
    try:
        lines = [line for line in csv.reader(path.read_text(encoding="utf-8").splitlines()) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if lines and not any(cell.strip().lstrip("+-").isdigit() for cell in lines[0]):
        lines = lines[1:]  # names of the columns
    found = np.empty((len(lines), 3), np.int64)
    for number, line in enumerate(lines):
        try:
            found[number] = [int(cell) for cell in line]
        except (ValueError, OverflowError) as error:
            raise DatasetError(
                f"{path}: triplet {number} should be three whole numbers, and is {','.join(line)!r}."
            ) from error
    return found
