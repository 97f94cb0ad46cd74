"""`Library`: what callers do with a library of sounds."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claprt.audio.sound import AudioSource
from claprt.errors import MissingDependencyError
from claprt.library.manifest import LibraryManifest
from claprt.library.own_model import load_own_model
from claprt.library.schema import RecordBatch, Table, arrow
from claprt.library.search.hits import Hit
from claprt.library.search.query import Query
from claprt.library.search.request import Request, SearchOptions
from claprt.library.search.searcher import Searcher
from claprt.library.store import FAILURES, Store
from claprt.library.tables import read_batches, read_table
from claprt.model.clap import Clap

if TYPE_CHECKING:
    from claprt.library.clusters import Cluster
    from claprt.library.duplicates import DuplicateGroup
    from claprt.library.progress import Summary
    from claprt.library.search.approximate import BuildOptions, IndexInfo

_BATCH = 8_192


class Library:
    """A library of sounds on disk, as `open_library` returns it. Reading needs no model."""

    def __init__(
        self,
        store: Store,
        bundle: str | os.PathLike[str] | None = None,
        *,
        searching: SearchOptions | None = None,
        **options: Any,
    ) -> None:
        """Wrap a store; `open_library` does it from a path.

        Args:
            store: The library's files.
            bundle: The model, where it is not to be loaded from where the manifest says.
            searching: How it is searched.
            options: Further arguments of `claprt.load`, such as `provider` and `threads`.
        """
        self.store = store
        self._bundle = bundle
        self._options = options
        self._model: Clap | None = None
        self._searching = searching
        self.searcher = Searcher(store, searching)
        """What `search` uses."""

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
            self._model = load_own_model(self.store, self._bundle, self._options)
        return self._model

    def search(
        self,
        text: str | Iterable[str] | None = None,
        audio: AudioSource | Iterable[AudioSource] | None = None,
        vector: NDArray[np.floating] | Sequence[float] | Sequence[NDArray[np.floating]] | None = None,
        minus: str | Iterable[str] | None = None,
        k: int = 10,
        where: str | None = None,
        windows: bool = True,
        *,
        like: str | Iterable[str] | None = None,
        unlike: str | Iterable[str] | None = None,
        sample_rate: int | None = None,
        names: float = 0.0,
        missing: bool = False,
        exact: bool = False,
    ) -> list[Hit]:
        """Find the sounds that are nearest to a query.

        The vectors of all that is wanted, each of length 1, are added up and scaled to length 1: p. The same of what is not
        wanted gives m. The query is p, or p − 0.5 m scaled to length 1; the score of a sound is the largest cosine of its
        rows with it. Texts longer than the model's number of tokens (77) are truncated, as `Clap.embed_text` does.

        Args:
            text: One text or several.
            audio: One sound or several, as `Clap.embed_audio` takes them.
            vector: [dim] or [n, dim] floats of any length, in the space of the library's fingerprint.
            minus: Texts that sounds should not be like.
            k: Hits at most; all sounds that may be found if there are fewer.
            where: A condition in SQL on columns of the library, such as `duration_s < 2 AND path LIKE '%kick%'`.
            windows: Whether hits state the score of each of their windows.
            like: Ids of sounds in the library to find the like of; they themselves are left out.
            unlike: Ids of sounds in the library that hits should not be like; they themselves are left out.
            sample_rate: Rate of arrays in `audio`, in Hz.
            names: How much the words of `text` in paths add to the score: this for the path that fits best (BM25), less
                for others. 0.2 suits folders of named samples; with 0, the default, only the sound counts.
            missing: Whether sounds that have vanished since they were indexed are found as well.
            exact: Whether an approximate index is left aside. Without one, in small libraries, with a filter, and for more
                than 1000 hits, searches are exact anyway.

        Returns:
            Hits, best first; sounds of equal score in the order of the library.

        Raises:
            OptionError: If there is nothing to look for, a filter is not valid, or an option has no such value.
            ArrayError: If `vector` has another shape, or holds NaN or infinity.
            LibraryError: If the library cannot be read, or what searches need cannot be written beside it.
            ClaprtError: If a text or a sound cannot be embedded, or the library's model cannot be loaded.
        """
        query = Query(text=text, audio=audio, vector=vector, like=like, minus=minus, unlike=unlike, sample_rate=sample_rate)
        request = Request(query=query, k=k, where=where, windows=windows, names=names, missing=missing, exact=exact)
        return self.searcher.search(request, lambda: self.model)

    def build_index(
        self,
        options: BuildOptions | None = None,
        *,
        texts: Sequence[str] = (),
        progress: Callable[[str, float], None] = lambda _stage, _share: None,
    ) -> IndexInfo:
        """Build an approximate index, which searches of large libraries use from then on, and measure its recall.

        Sounds that are added later are found as well; build it again when they are many.

        Args:
            options: How it is built, `claprt.library.search.approximate.BuildOptions`.
            texts: With which the recall of searches for words is measured; sounds of the library are taken in any case.
            progress: Called with what is done, `train`, `add` or `measure`, and the share of it that is done.

        Raises:
            OptionError: If the library is empty, an option has no such value, or it would take more memory than it may.
            LibraryError: If the library cannot be read, or the index cannot be written.
            MissingDependencyError: If faiss is not installed.
        """
        from claprt.library.search.approximate import BuildOptions

        vectors = self.model.embed_text(list(texts)) if texts else None
        return self.searcher.build_index(options or BuildOptions(), vectors, progress)

    @property
    def index(self) -> IndexInfo | None:
        """The approximate index and the recall that was measured when it was built; None where there is none."""
        return self.searcher.index_info()

    def duplicates(self, threshold: float | None = 0.99) -> list[DuplicateGroup]:
        """Find the sounds that are the same, or nearly; see `claprt.library.duplicates.find_duplicates`.

        Args:
            threshold: Cosine of the vectors of two sounds from which they count as nearly the same; None for equal content
                alone.

        Raises:
            OptionError: If `threshold` is not between 0 and 1, or the library is too large to compare all pairs.
            LibraryError: If the library cannot be read.
        """
        from claprt.library.duplicates import find_duplicates

        return self.searcher.read(partial(find_duplicates, threshold=threshold))

    def clusters(self, count: int | None = None, *, words: Sequence[str] = (), seed: int = 0) -> list[Cluster]:
        """Divide the sounds into groups that are alike; see `claprt.library.clusters.find_clusters`.

        Args:
            count: How many groups; by default the root of half the number of sounds, at most 100.
            words: To label groups with: each gets the nearest.
            seed: Of k-means.

        Raises:
            OptionError: If `count` is below 1 or above the number of sounds, or the seed is not from 0 to 2^32 - 1.
            LibraryError: If the library cannot be read.
            MissingDependencyError: If scikit-learn is not installed.
        """
        from claprt.library.clusters import find_clusters

        vectors = self.model.embed_text(list(words)) if words else None
        work = partial(find_clusters, count=count, words=list(words), word_vectors=vectors, seed=seed)
        return self.searcher.read(work)

    def vectors(self) -> NDArray[np.floating]:
        """All vectors [rows, dim] as they are stored, float32 or float16, memory-mapped for reading.

        Rows are those of `to_arrow`, in their order. The array stays as it is when the library changes.

        Raises:
            LibraryError: If the library cannot be read, or what searches need cannot be written beside it.
        """
        return self.searcher.snapshot().vectors

    def __len__(self) -> int:
        """Number of rows, those of vanished sounds included."""
        return sum(part.rows for part in self.store.parts())

    def to_arrow(self, columns: Sequence[str] | None = None) -> Table:
        """All rows, in memory.

        Args:
            columns: Their names; by default all.

        Raises:
            OptionError: If a column is not known.
            LibraryError: If the library cannot be read.
        """
        return read_table(self.store, columns=columns)

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """All rows as a `pandas.DataFrame`; `embedding` holds arrays [dim].

        Raises:
            OptionError: If a column is not known.
            LibraryError: If the library cannot be read.
            MissingDependencyError: If pandas is not installed.
        """
        table = self.to_arrow(columns)
        try:
            importlib.import_module("pandas")
        except ImportError as error:
            raise MissingDependencyError("to_pandas makes a pandas.DataFrame: pip install pandas") from error
        return table.to_pandas()

    def batches(self, n: int = _BATCH, columns: Sequence[str] | None = None) -> Iterator[RecordBatch]:
        """All rows in batches of at most `n`, with one part of the library in memory at a time.

        Raises:
            OptionError: If `n` is below 1, or a column is not known.
            LibraryError: If the library cannot be read.
        """
        return read_batches(self.store, n, columns)

    def failures(self) -> Table:
        """The sounds that could not be embedded, with the class of the error and its message.

        Raises:
            LibraryError: If the library cannot be read.
        """
        return read_table(self.store, FAILURES)

    def add(
        self,
        sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        workers: int | None = None,
        partition: tuple[int, int] | None = None,
        retry_failures: bool = False,
    ) -> Summary:
        """Embed what is new or changed among sources, as `claprt index` does, with the library's own model.

        Args:
            sources: One or several; see `claprt.library.create.index`.
            workers: Processes that embed, each with a model of its own and a share of the threads; by default this one.
            partition: `(i, n)`: only the i-th of n shares of the sounds, from 1 to n.
            retry_failures: Whether sounds that failed before are tried again though they have not changed.

        Raises:
            AudioNotFoundError: If a source is not there.
            LibraryError: If the library cannot be read or written.
            BundleError: If the model cannot be found.
            FingerprintError: If the model that is there now makes other vectors.
        """
        from claprt.library.create import index
        from claprt.library.indexing import RunOptions

        named = [sources] if isinstance(sources, str | os.PathLike) else sources
        options = RunOptions(partition=partition, retry_failures=retry_failures)
        return index([os.fspath(one) for one in named], self.folder, self.model, options=options, workers=workers)

    def prune(self) -> int:
        """Remove the rows of sounds that vanished; gives the number of these sounds.

        Raises:
            LibraryError: If the library cannot be read or written.
        """
        from claprt.library.maintenance import prune

        return prune(self.store)

    def close(self) -> None:
        """Release the model, if it was loaded."""
        if self._model is not None:
            self._model.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: where the library is; it opens it again."""
        return _open_again, (str(self.folder.absolute()), self._bundle, self._searching, self._options)

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Library {self.folder} of {self.fingerprint}>"


def _open_again(
    folder: str, bundle: str | os.PathLike[str] | None, searching: SearchOptions | None, options: dict[str, Any]
) -> Library:
    return Library(Store(Path(folder)), bundle, searching=searching, **options)


def open_library(
    path: str | os.PathLike[str],
    bundle: str | os.PathLike[str] | None = None,
    *,
    provider: str = "auto",
    threads: int | None = None,
    fallback: bool = False,
    memory_mb: float = 1000,
) -> Library:
    """Open a library of sounds that `claprt index` has made. The model is loaded when it is first needed.

    Args:
        path: Its folder.
        bundle: The model, where it is not to be loaded from where the library says; its fingerprint must be the library's.
        provider: What the model runs on; see `claprt.load`.
        threads: CPU threads of the model, and of searches.
        fallback: Whether the CPU is used where the provider is not available.
        memory_mb: Bound on what an exact search keeps in memory of the file that it reads, 512 bytes for each row of 512
            numbers. A larger file is given back block by block, and read again from the system's cache by the next search.

    Raises:
        LibraryNotFoundError: If there is no library.
        LibraryVersionError: If its format is another release's.
        LibraryCorruptError: If its manifest is damaged.
        MissingDependencyError: If pyarrow is not installed.
    """
    arrow()
    searching = SearchOptions(threads=threads, memory_mb=memory_mb)
    return Library(Store(Path(path)), bundle, searching=searching, provider=provider, threads=threads, fallback=fallback)
