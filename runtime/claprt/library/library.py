"""`Library`: what callers do with a library of sounds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from claprt.errors import FingerprintError
from claprt.library.manifest import LibraryManifest
from claprt.library.schema import RecordBatch, Table, arrow
from claprt.library.store import FAILURES, ROWS, PartGoneError, Store
from claprt.model.clap import Clap

_BATCH = 8_192
_TRIES = 5


class Library:
    """A library of sounds on disk, as `open_library` returns it. Reading needs no model."""

    def __init__(self, store: Store, bundle: str | os.PathLike[str] | None = None, **options: Any) -> None:
        """Wrap a store; `open_library` does it from a path.

        Args:
            store: The library's files.
            bundle: The model, where it is not to be loaded from where the manifest says.
            options: Further arguments of `claprt.load`, such as `provider` and `threads`.
        """
        self.store = store
        self._bundle = bundle
        self._options = options
        self._model: Clap | None = None

    @property
    def folder(self) -> Path:
        """Where the library lies."""
        return self.store.folder

    @property
    def manifest(self) -> LibraryManifest:
        """Its options, and the model that its vectors are of."""
        return self.store.manifest

    @property
    def fingerprint(self) -> str:
        """Of its vectors: what made them, in one word."""
        return self.manifest.fingerprint

    @property
    def model(self) -> Clap:
        """The model of the library, loaded when first used.

        Raises:
            BundleError: If it cannot be found.
            FingerprintError: If the model that is there now makes other vectors.
        """
        if self._model is None or self._model.closed:
            from claprt.model.load import load

            made_by = self.manifest.model
            try:
                self._model = load(
                    made_by.bundle if self._bundle is None else self._bundle,
                    precision=made_by.precision,
                    preprocess=made_by.preprocess,
                    long=made_by.long,
                    hop_s=made_by.hop_s,
                    seed=made_by.seed,
                    fingerprint=self.fingerprint,
                    **self._options,
                )
            except FingerprintError as error:
                raise FingerprintError(
                    f"The library at {self.folder} holds vectors of {self.fingerprint}. {error} Name the model that made "
                    "it (bundle=), or index the sounds into a new library."
                ) from error
        return self._model

    def __len__(self) -> int:
        """Number of rows, those of vanished sounds included."""
        return sum(part.rows for part in self.store.parts())

    def to_arrow(self, columns: Sequence[str] | None = None) -> Table:
        """All rows, in memory.

        Args:
            columns: Their names; by default all.

        Raises:
            LibraryError: If the library cannot be read.
        """
        return self._whole(ROWS, columns)

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """All rows as a `pandas.DataFrame`; `embedding` holds arrays [dim].

        Raises:
            LibraryError: If the library cannot be read.
        """
        return self.to_arrow(columns).to_pandas()

    def batches(self, n: int = _BATCH, columns: Sequence[str] | None = None) -> Iterator[RecordBatch]:
        """All rows in batches of at most `n`, with one part of the library in memory at a time."""
        for _, table in self.store.tables(ROWS, columns):
            yield from table.to_batches(max_chunksize=n)

    def failures(self) -> Table:
        """The sounds that could not be embedded, with the class of the error and its message.

        Raises:
            LibraryError: If the library cannot be read.
        """
        return self._whole(FAILURES, None)

    def _whole(self, table: str, columns: Sequence[str] | None) -> Table:
        pa = arrow()
        schema = self.store.schema(table)
        wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        for trial in range(_TRIES):
            try:
                found = [content.select(wanted.names) for _, content in self.store.tables(table, columns)]
                return pa.concat_tables([wanted.empty_table(), *found])
            except PartGoneError:  # a writer was at work
                if trial == _TRIES - 1:
                    raise
        raise AssertionError

    def close(self) -> None:
        """Release the model, if it was loaded."""
        if self._model is not None:
            self._model.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Library {self.folder} of {self.fingerprint}>"


def open_library(
    path: str | os.PathLike[str],
    bundle: str | os.PathLike[str] | None = None,
    *,
    provider: str = "auto",
    threads: int | None = None,
    fallback: bool = False,
) -> Library:
    """Open a library of sounds that `claprt index` has made. The model is loaded when it is first needed.

    Args:
        path: Its folder.
        bundle: The model, where it is not to be loaded from where the library says; its fingerprint must be the library's.
        provider: What the model runs on; see `claprt.load`.
        threads: CPU threads of the model.
        fallback: Whether the CPU is used where the provider is not available.

    Raises:
        LibraryNotFoundError: If there is no library.
        LibraryVersionError: If its format is another release's.
        LibraryCorruptError: If its manifest is damaged.
        MissingDependencyError: If pyarrow is not installed.
    """
    arrow()
    return Library(Store(Path(path)), bundle, provider=provider, threads=threads, fallback=fallback)
