"""Libraries on disk of the sounds of a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import soundfile

import claprt
from claprt.library.manifest import LibraryManifest, ModelReference
from claprt.library.roots import add_roots
from claprt.library.store import Store, create_store


def index(folder: Path, out: Path, clap: claprt.Clap, bundle: str) -> Store:
    """Add the sounds of a folder to a library, which is made if it is not there."""
    manifest = LibraryManifest(
        fingerprint=clap.fingerprint,
        dim=clap.dim,
        model=ModelReference(
            bundle=bundle,
            name=clap.manifest.name,
            checkpoint_sha256=clap.manifest.source.sha256,
            preprocess=clap.recipe.name,
        ),
    )
    store = create_store(out, manifest)
    known = set[str]()
    for _, table in store.tables(columns=["path"]):
        known |= set(table["path"].to_pylist())
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*.*")):
        if str(path) in known:
            continue
        info, sound = soundfile.info(path), next(iter(clap.iter_audio([path])))
        content = path.read_bytes()
        for number, (start_s, vector) in enumerate(zip(sound.starts_s, sound.windows, strict=True)):
            rows.append({
                "id": hashlib.sha256(str(path).encode()).hexdigest()[:32], "path": str(path),
                "sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "mtime": path.stat().st_mtime,
                "duration_s": info.duration, "sample_rate": info.samplerate, "channels": info.channels, "window": number,
                "start_s": start_s, "embedding": vector.tolist(), "fingerprint": clap.fingerprint, "missing": False,
            })  # fmt: skip
    with store.writing() as writer:
        writer.commit(rows=[pa.Table.from_pylist(rows, schema=store.schema())])
        add_roots(out, [str(folder)])
    return store
