"""Making libraries and adding to them: `index`, which `claprt index` and `Library.add` call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from claprt.errors import FingerprintError, OptionError
from claprt.library.embedding import Embedder, LocalEmbedder
from claprt.library.indexing import Indexer, Report, RunOptions
from claprt.library.manifest import LIBRARY_FILE, LibraryManifest, RowKind, read_manifest
from claprt.library.own_model import reference
from claprt.library.progress import Summary
from claprt.library.roots import add_roots
from claprt.library.schema import DTYPES, arrow
from claprt.library.sources import Sources
from claprt.library.store import Store, create_store
from claprt.library.workers import WorkerEmbedder
from claprt.model.clap import Clap

if TYPE_CHECKING:
    from claprt.library.ray_data import RayOptions


def index(
    sources: Sequence[str],
    out: str | os.PathLike[str],
    clap: Clap,
    *,
    bundle: str | None = None,
    rows: str | None = None,
    dtype: str | None = None,
    options: RunOptions | None = None,
    workers: int | None = None,
    ray: RayOptions | None = None,
    report: Report = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> Summary:
    """Embed what is new or changed among the sources, and keep it in a library.

    Args:
        sources: Folders, files, patterns, `@list.txt`, `-`, archives, tables, URLs.
        out: The folder of the library, which is made if it is not there.
        clap: The model.
        bundle: What `claprt.load` was given to load it, for whoever searches the library; by default its folder.
        rows: Which rows a sound has: `windows` (the default of a new library), `sounds` or `both`.
        dtype: Of the stored vectors: `float32` (the default of a new library) or `float16`.
        options: What this run does.
        workers: Processes that embed, each with a model of its own and a share of the threads; by default this one.
        ray: Embeds on Ray, where `workers` has no use: the options say how many actors there are.
        report: Called after each sound.
        waiting: Called once if another process writes to the library, which is waited for.

    Returns:
        What was done.

    Raises:
        AudioNotFoundError: If a source is not there.
        OptionError: If an option is not possible, or is another one than the library's.
        FingerprintError: If the library holds vectors of another model.
        LibraryError: If the library cannot be read or written, or a URL cannot be read.
        MissingDependencyError: If pyarrow, or what a source needs, is not installed.
    """
    arrow()
    found = Sources(list(sources))
    embedder = _embedder(clap, workers, ray)
    try:
        store = open_store(Path(out), clap, bundle=bundle, rows=rows, dtype=dtype)
        with store.writing(waiting) as writer:
            indexer = Indexer(store, writer, embedder, options or RunOptions(), report)
            add_roots(store.folder, found.roots)
            try:
                return indexer.run(found)
            finally:
                add_roots(store.folder, found.roots)
    finally:
        embedder.close()


def _embedder(clap: Clap, workers: int | None, ray: RayOptions | None) -> Embedder:
    if ray is not None:
        if workers is not None:
            raise OptionError("workers and ray exclude each other; ray has actors.")
        from claprt.library.ray_data import RayEmbedder

        return RayEmbedder(clap, ray)
    return LocalEmbedder(clap) if workers is None else WorkerEmbedder(clap, workers)


def open_store(folder: Path, clap: Clap, *, bundle: str | None, rows: str | None, dtype: str | None) -> Store:
    """The library at a folder, made if there is none.

    Args:
        folder: Of the library.
        clap: The model.
        bundle: What it was loaded from.
        rows: See `index`.
        dtype: See `index`.

    Raises:
        OptionError: If `rows` or `dtype` is not known, or not the library's.
        FingerprintError: If the library holds vectors of another model.
    """
    if rows is not None and rows not in set(RowKind):
        raise OptionError(f"rows={rows!r} is not known; choose {', '.join(RowKind)}.")
    if dtype is not None and dtype not in DTYPES:
        raise OptionError(f"dtype={dtype!r} is not known; choose {' or '.join(DTYPES)}.")
    if (folder / LIBRARY_FILE).exists():
        check_same(folder, read_manifest(folder), clap.fingerprint, rows, dtype)
        return Store(folder)
    manifest = LibraryManifest(
        fingerprint=clap.fingerprint,
        dim=clap.dim,
        model=reference(clap, bundle),
        rows=RowKind(rows or RowKind.WINDOWS),
        dtype=dtype or DTYPES[0],
    )
    store = create_store(folder, manifest)
    check_same(folder, store.manifest, clap.fingerprint, rows, dtype)  # another process may have been first
    return store


def check_same(folder: Path, manifest: LibraryManifest, fingerprint: str, rows: str | None, dtype: str | None) -> None:
    """Check that what is to be added is of the kind that the library holds.

    Args:
        folder: The library, for messages.
        manifest: Of the library.
        fingerprint: Of the model that is to add to it.
        rows: `windows`, `sounds` or `both` if asked for, else None.
        dtype: Of the vectors if asked for, else None.

    Raises:
        FingerprintError: If it is of another model.
        OptionError: If it has other rows or another dtype.
    """
    if manifest.fingerprint != fingerprint:
        raise FingerprintError(
            f"The library at {folder} holds vectors of {manifest.fingerprint}, and this run would add vectors of "
            f"{fingerprint}, which are not comparable. Name the model and the options that made it "
            f"({manifest.model.arguments()}), or another folder."
        )
    for name, asked, kept in (("rows", rows, str(manifest.rows)), ("dtype", dtype, manifest.dtype)):
        if asked is not None and asked != kept:
            raise OptionError(
                f"{name}={asked} was asked for, and the library at {folder} has {name}={kept}. Leave the option out, or "
                "name another folder."
            )
