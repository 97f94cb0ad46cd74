"""What a library holds and which model made it: `library.json`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from claprt._version import __version__
from claprt.errors import LibraryCorruptError, LibraryNotFoundError, LibraryVersionError
from claprt.system.atomic import atomic_file
from claprt.system.foreign_errors import describe_error

FORMAT = 1
"""Format of libraries that this release writes and reads."""
LIBRARY_FILE = "library.json"


class RowKind(StrEnum):
    """Which rows a sound has."""

    WINDOWS = "windows"
    """One for each window."""
    SOUNDS = "sounds"
    """One: the mean of the windows, scaled to length 1."""
    BOTH = "both"
    """That of the sound (`window` -1), and those of the windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """What `claprt.load` is given to load the model of a library again."""

    bundle: str
    """As it was named: `mini`, a published name, a folder or an address."""
    name: str
    """Of the model, as its manifest states it."""
    checkpoint_sha256: str
    precision: str | None = None
    preprocess: str = "laion"
    long: str | None = None
    hop_s: float | None = None
    seed: int | None = None

    def arguments(self) -> str:
        """The arguments of `claprt.load`, but for those that have their defaults, in words.

        Example:
            >>> ModelReference(bundle="mini", name="mini", checkpoint_sha256="0" * 64, hop_s=5.0).arguments()
            "bundle='mini', preprocess='laion', hop_s=5.0"
        """
        names = ("bundle", "precision", "preprocess", "long", "hop_s", "seed")
        return ", ".join(f"{name}={value!r}" for name in names if (value := getattr(self, name)) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryManifest:
    """The options of a library, which are those of its first run."""

    fingerprint: str
    dim: int
    model: ModelReference
    dtype: str = "float32"
    """Of the stored vectors."""
    rows: RowKind = RowKind.WINDOWS
    written_by: str = f"claprt {__version__}"
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write `library.json`, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        with atomic_file(folder / LIBRARY_FILE) as new, new.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())


def read_manifest(folder: Path) -> LibraryManifest:
    """Read `library.json`.

    Raises:
        LibraryNotFoundError: If the folder is not a library.
        LibraryVersionError: If its format is another.
        LibraryCorruptError: If it cannot be read.
    """
    path = folder / LIBRARY_FILE
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        out = "LIBRARY"
        if not folder.exists():
            what, out = "does not exist", folder
        elif folder.is_dir():
            what = "is a folder without library.json"
        else:
            what = "is a file; a library is a folder"
        raise LibraryNotFoundError(
            f"A library was asked for at {folder}, which {what}. `claprt index FOLDER --out {out}` makes one."
        ) from error
    except OSError as error:
        raise LibraryCorruptError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        stated = msgspec.json.decode(content, type=dict[str, object])
        if stated.get("format") != FORMAT:
            raise LibraryVersionError(
                f"The library at {folder} has format {stated.get('format')!r} ({stated.get('written_by')}), and this "
                f"release reads format {FORMAT}. Read it with the release that wrote it, or index its sounds again into a "
                "new folder."
            )
        return msgspec.convert(stated, LibraryManifest)
    except msgspec.MsgspecError as error:
        raise LibraryCorruptError(
            f"{path} is not the manifest of a library ({describe_error(error)}). Put it back from a copy, or index the "
            "sounds again into a new folder."
        ) from error
