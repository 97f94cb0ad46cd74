"""Libraries with made-up rows, without a model; sounds to be indexed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs claprt[library]")

import pyarrow as pa

import claprt
from claprt.library.manifest import LibraryManifest, ModelReference
from claprt.library.schema import Table
from claprt.library.store import Store, create_store
from tests.library.indexed import CountedEngine, write_sound

DIM = 8
MANIFEST = LibraryManifest(
    fingerprint="toy/laion/windows-10s/fp32/0123456789ab",
    dim=DIM,
    model=ModelReference(bundle="toy", name="toy", checkpoint_sha256="0" * 64),
)


def rows_of(store: Store, paths: list[str], *, windows: int = 1, seed: int = 0) -> Table:
    """Rows of sounds with random unit vectors."""
    count = len(paths) * windows
    vectors = np.random.default_rng(seed).standard_normal((count, store.manifest.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    schema = store.schema()
    each: dict[str, Any] = {
        "id": [hashlib.sha256(path.encode()).hexdigest()[:32] for path in paths for _ in range(windows)],
        "path": [path for path in paths for _ in range(windows)],
        "sha256": [hashlib.sha256(path[::-1].encode()).hexdigest() for path in paths for _ in range(windows)],
        "size": [1000] * count,
        "mtime": [1.5] * count,
        "duration_s": [10.0 * windows] * count,
        "sample_rate": [48_000] * count,
        "channels": [1] * count,
        "window": list(range(windows)) * len(paths),
        "start_s": [10.0 * window for window in range(windows)] * len(paths),
        "embedding": pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.reshape(-1).astype(store.manifest.dtype)), type=schema.field("embedding").type
        ),
        "fingerprint": [store.manifest.fingerprint] * count,
        "missing": [False] * count,
    }
    return pa.table(each, schema=schema)


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Store]:
    """Makes a library of some parts, each a list of paths."""

    def make(*parts: list[str], name: str = "library", windows: int = 1) -> Store:
        store = create_store(tmp_path / name, MANIFEST)
        with store.writing() as writer:
            for number, paths in enumerate(parts):
                writer.commit(rows=[rows_of(store, paths, windows=windows, seed=number)])
        return store

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of five sounds, one of three windows, one in stereo, one below."""
    sounds = tmp_path / "sounds"
    for number in range(3):
        write_sound(sounds / f"{number}.wav", number)
    write_sound(sounds / "long.flac", 3, seconds=23.0)
    write_sound(sounds / "deep" / "er" / "stereo.wav", 4, channels=2)
    (sounds / "notes.txt").write_text("no sound")
    return sounds


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, clap: claprt.Clap) -> CountedEngine:
    return CountedEngine(monkeypatch, clap)
