"""Units of work: sounds that are committed together, and their tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from claprt.library.embedding import Outcome
from claprt.library.items import UNREAD
from claprt.library.manifest import LibraryManifest, RowKind
from claprt.library.paths import sound_id
from claprt.library.schema import WHOLE_SOUND, Table, arrow
from claprt.library.store import Store


@dataclass(slots=True)
class Unit:
    """What is committed together: sounds, failures, and what they replace."""

    sounds: list[Outcome] = field(default_factory=list[Outcome])
    failures: list[Outcome] = field(default_factory=list[Outcome])
    by_content: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    """Sounds by their sha256."""
    replaced: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set[str]))
    """Ids whose rows go, by the place of their part."""
    rows: int = 0

    def add(self, sound: Outcome, kind: RowKind) -> None:
        """Add a sound."""
        self.sounds.append(sound)
        self.by_content.setdefault(sound.sha256, sound)
        self.rows += {RowKind.SOUNDS: 1, RowKind.WINDOWS: len(sound.starts_s)}.get(kind, 1 + len(sound.starts_s))

    def __bool__(self) -> bool:
        return bool(self.sounds or self.failures or self.replaced)


def copied(sound: Outcome, owner: Outcome) -> Outcome:
    """A sound with the vectors of another of the same content."""
    return replace(owner, path=sound.path, size=sound.size, mtime=sound.mtime, item=None)


def row_table(sounds: list[Outcome], store: Store) -> Table:
    """Rows of sounds, as the manifest says."""
    pa, manifest = arrow(), store.manifest
    schema = store.schema()
    windows = [_windows(sound, manifest) for sound in sounds]
    counts = [len(one) for one in windows]

    def each(values: list[Any]) -> list[Any]:
        return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]

    vectors = [row[2] for one in windows for row in one]
    flat = (np.stack(vectors) if vectors else np.empty((0, manifest.dim))).astype(manifest.dtype).reshape(-1)
    columns = {
        "id": each([sound_id(sound.path) for sound in sounds]),
        "path": each([sound.path for sound in sounds]),
        "sha256": each([sound.sha256 for sound in sounds]),
        "size": each([sound.size for sound in sounds]),
        "mtime": each([sound.mtime for sound in sounds]),
        "duration_s": each([sound.duration_s for sound in sounds]),
        "sample_rate": each([sound.sample_rate for sound in sounds]),
        "channels": each([sound.channels for sound in sounds]),
        "window": [row[0] for one in windows for row in one],
        "start_s": [row[1] for one in windows for row in one],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat), type=schema.field("embedding").type),
        "fingerprint": [manifest.fingerprint] * len(vectors),
        "missing": [False] * len(vectors),
    }
    return pa.table(columns, schema=schema)


def _windows(sound: Outcome, manifest: LibraryManifest) -> list[tuple[int, float, Any]]:
    """Number, start in seconds and vector [dim] of each row of a sound."""
    assert sound.vector is not None
    assert sound.windows is not None
    found = [(WHOLE_SOUND, 0.0, sound.vector)] if manifest.rows is not RowKind.WINDOWS else []
    if manifest.rows is not RowKind.SOUNDS:
        found += [(n, start, sound.windows[n]) for n, start in enumerate(sound.starts_s)]
    return found


def failure_table(failures: list[Outcome], store: Store) -> Table:
    """Rows of failures; those that could not be read at all have `UNREAD` as `mtime`."""
    columns = {
        "id": [sound_id(one.path) for one in failures],
        "path": [one.path for one in failures],
        "size": [max(0, one.size) for one in failures],
        "mtime": [one.mtime if one.sha256 else UNREAD for one in failures],
        "error": [one.error[0] if one.error else "" for one in failures],
        "message": [_valid(one.error[1]) if one.error else "" for one in failures],
    }
    return arrow().table(columns, schema=store.schema("failures"))


def _valid(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def stored_sound(table: Table, sound: Outcome, manifest: LibraryManifest) -> Outcome | None:
    """A sound with the vectors that a part holds of the same content; None where it holds none, or not all of them.

    Args:
        table: The rows of the part.
        sound: Of which path, size, mtime and sha256 are taken.
        manifest: Of the library.
    """
    pa = arrow("compute")
    found = table.filter(pa.compute.equal(table["sha256"], sound.sha256))
    if not found.num_rows:
        return None
    found = found.filter(pa.compute.equal(found["id"], found["id"][0]))
    vectors = np.stack(found["embedding"].to_numpy())
    numbers, starts = found["window"].to_numpy(), found["start_s"].to_numpy()
    windows = numbers != WHOLE_SOUND
    first = found.slice(0, 1).to_pylist()[0]
    return replace(
        sound,
        duration_s=first["duration_s"],
        sample_rate=first["sample_rate"],
        channels=first["channels"],
        windows=vectors[windows],
        starts_s=tuple(starts[windows].tolist()),
        vector=vectors[0] if manifest.rows is RowKind.WINDOWS else vectors[~windows][0],
        item=None,
    )
