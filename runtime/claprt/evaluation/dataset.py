"""Labelled sounds: what `claprt.evaluation.reading` reads, and everything here measures with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from claprt.audio.sound import AudioSource
from claprt.errors import DatasetError
from claprt.library.archives import archive_sounds
from claprt.library.items import Item as Found
from claprt.library.items import Wanted
from claprt.library.paths import stored_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """Where a sound lies within a tar archive or a table."""

    archive: Path
    number: int
    """Its place among the sounds of the archive, from 0; -1 where only a library says that it is there."""
    name: str
    """What a library calls it, `/data/shard-000.tar::dog.flac`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sound of a dataset."""

    path: Path
    """The file, or for a sound within an archive what names it in messages."""
    label: str | None = None
    """Its class, with spaces for underscores."""
    captions: tuple[str, ...] = ()
    fold: str | None = None
    inside: Inside | None = None
    """None for a file of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Sounds with labels, captions or both."""

    name: str
    items: tuple[Item, ...]
    library: Path | None = None
    """Library whose vectors are used for the sounds that it holds; see `claprt.evaluation.dataset_vectors`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted({item.label for item in self.items if item.label is not None}))


def dataset_sounds(items: Sequence[Item]) -> Iterator[AudioSource]:
    """The sounds themselves, in order: files, and what archives hold, read as it is asked for.

    Args:
        items: Of a dataset; those of one archive one after the other, in its order.

    Raises:
        DatasetError: If an archive has changed since the dataset was read.
        AudioError: If a sound within an archive cannot be read.
        LibraryError: If an archive cannot be read.
    """
    for archive, group in itertools.groupby(items, key=lambda item: item.inside and item.inside.archive):
        if archive is None:
            yield from (item.path for item in group)
        else:
            yield from _within(archive, [item.inside for item in group if item.inside is not None])


def _within(archive: Path, places: Sequence[Inside]) -> Iterator[AudioSource]:
    names, left = {place.name for place in places}, {place.number for place in places}
    if -1 in left:
        raise DatasetError(f"{places[0].name} cannot be read from here; name {archive} itself as the dataset.")
    try:
        for number, found in enumerate(sounds_within(archive, lambda name, *_: name in names)):
            if number in left:
                left.remove(number)
                yield found.open().source
            if not left:
                return
    except OSError as error:
        raise DatasetError(f"{archive} cannot be read any more: {error}") from error
    raise DatasetError(f"{archive} has changed since it was read: it lacks {len(left)} of {len(places)} sounds.")


def sounds_within(archive: Path, wanted: Wanted = lambda *_: False) -> Iterator[Found]:
    """The sounds of a tar archive or a table, in its order.

    Args:
        archive: The file, told apart by its name.
        wanted: Says of which sounds the bytes are read, where they cannot be read later; see `claprt.library.items`.

    Raises:
        LibraryError: If it cannot be read.
        MissingDependencyError: If a table is to be read and pyarrow is not installed.
    """
    return archive_sounds(str(archive), stored_path(str(archive)), archive.stat().st_mtime, wanted)
