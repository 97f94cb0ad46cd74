"""Searches, look-ups, waveforms and files of one library for many clients, without blocking the event loop.

One thread searches, one looks sounds up, one reads waveforms, each a step of the client that has used it the least; a few
read files, which may lie on a disk that hangs. All vectors of queries come from the service's own model.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from claprt.errors import FingerprintError, LibraryError, OptionError
from claprt.serve.errors import OverloadedError, log
from claprt.serve.library.errors import LibraryUnavailableError, NotServedError, UnknownSoundError
from claprt.serve.library.files import Roots, Verifier, open_served
from claprt.serve.library.interface import FoundSound, Query, SearchableLibrary, SoundFacts
from claprt.serve.library.peaks import Peaks, PeaksCache, peaks_of
from claprt.serve.library.playable import content_of
from claprt.serve.library.ranges import Content
from claprt.serve.limits import check_count
from claprt.serve.scheduling.audio_input import AudioInput
from claprt.serve.scheduling.fair_queue import Steps, current_client
from claprt.serve.scheduling.fair_thread import FairThread
from claprt.serve.scheduling.service import Service, Times

T = TypeVar("T")

_FILE_THREADS = 4
MOST_FILE_READS = 64
"""Reads of files that may wait; there are more only where a disk hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A request to search, decoded."""

    texts: Sequence[str]
    sounds: Sequence[AudioInput]
    ids: Sequence[str]
    minus: Sequence[str]
    minus_ids: Sequence[str]
    k: int
    where: str | None
    windows: bool
    names: float


class LibraryService:
    """One library beside one model."""

    def __init__(self, service: Service, library: SearchableLibrary, *, allow_audio: bool) -> None:
        """Start the threads.

        Args:
            service: The service, whose model embeds queries.
            library: The library.
            allow_audio: Whether the sounds' files may be sent.

        Raises:
            FingerprintError: If the library's vectors are not the model's.
        """
        if library.fingerprint != service.clap.fingerprint:
            raise FingerprintError(
                f"The library has vectors of {library.fingerprint}, and the service's model gives "
                f"{service.clap.fingerprint}; they cannot be compared. Serve the model that the library was made with, or "
                "index the sounds again."
            )
        self.service, self.library, self.allow_audio = service, library, allow_audio
        self._named = tuple(library.roots())
        self.roots = Roots.of(self._named)
        self._peaks, self._verifier = PeaksCache(), Verifier()
        self._searching, self._looking, self._drawing = (
            FairThread(f"claprt-library-{name}", contextlib.nullcontext()) for name in ("search", "look-up", "peaks")
        )
        self._files = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="claprt-library-files")
        self._file_reads, self._files_lock = 0, threading.Lock()

    def close(self) -> None:
        """Finish all work, then end the threads."""
        for thread in (self._searching, self._looking, self._drawing):
            thread.close()
        self._files.shutdown(wait=False, cancel_futures=True)

    async def counts(self) -> tuple[int, int]:
        """Number of sounds and of rows."""
        return await self._read(self._looking, self.library.counts)

    async def find(self, sound_id: str) -> SoundFacts:
        """The sound of an id.

        Raises:
            UnknownSoundError: If there is none.
        """
        facts = await self._read(self._looking, lambda: self.library.find(sound_id))
        if facts is None:
            raise UnknownSoundError(f"The library has no sound {sound_id[:100]!r}.")
        return facts

    async def search(self, wanted: Search, times: Times) -> list[FoundSound]:
        """The sounds that fit best, best first.

        Raises:
            OptionError: If nothing is searched for, too much is, or the filter is not valid.
            ClaprtError: If a text or a sound cannot be embedded.
        """
        self._check(wanted)
        words, none = [*wanted.texts, *wanted.minus], np.zeros((0, self.service.clap.dim), np.float32)
        texts = await self.service.embed_texts(words, times) if words else none
        sounds = np.stack(await self.service.embed_all(wanted.sounds)) if wanted.sounds else none
        began = time.perf_counter()
        query = Query(
            texts=wanted.texts,
            minus=wanted.minus,
            text_vectors=texts,
            sounds=sounds,
            like=wanted.ids,
            unlike=wanted.minus_ids,
            k=wanted.k,
            where=wanted.where,
            windows=wanted.windows,
            names=wanted.names,
        )
        hits = await self._read(self._searching, lambda: self.library.search(query))
        took = time.perf_counter() - began
        times.stages["search"] = 1000 * took
        self.service.note(search=took)
        return hits

    async def peaks(self, sound_id: str, columns: int) -> Peaks:
        """The outline of a sound's waveform.

        Raises:
            HttpError: If there is no such sound, or its file is not served, gone or not decoded.
        """
        self._check_audio()
        facts = await self.find(sound_id)

        def steps() -> Generator[None, None, Peaks]:
            with open_served(facts, self.roots) as file:  # also where the outline is kept: the file may have gone
                key = (facts.id, facts.sha256, os.fstat(file.fileno()).st_mtime_ns, columns)
                if (kept := self._peaks.get(key)) is not None:
                    return kept
                yield from self._verifier.verify(file, facts, self.roots)
                peaks = yield from peaks_of(self.roots.shown(facts), file, columns)
            self._peaks.put(key, peaks)
            return peaks

        return await self._run(self._drawing, steps())

    async def content(self, sound_id: str) -> tuple[SoundFacts, Content]:
        """A sound and its content as browsers play it, which is to be closed.

        Raises:
            HttpError: If there is no such sound, or its file is not served, gone or not played.
        """
        self._check_audio()
        facts = await self.find(sound_id)

        def opened() -> Content:
            file = open_served(facts, self.roots)
            try:
                for _ in self._verifier.verify(file, facts, self.roots):
                    pass
                return content_of(self.roots.shown(facts), file)
            except BaseException:
                file.close()
                raise

        return facts, await self.in_file_thread(opened, lambda content: content.close())

    async def in_file_thread(self, work: Callable[[], T], discard: Callable[[T], None] = lambda _: None) -> T:
        """Run work that reads a file.

        Args:
            work: The work.
            discard: Called with its result if the caller was cancelled meanwhile.

        Raises:
            OverloadedError: If much of it waits, because the disk does not answer.
            CancelledError: If the caller is cancelled.
        """
        with self._files_lock:
            if self._file_reads >= MOST_FILE_READS:
                raise OverloadedError("The library's files are not read fast enough. Try again a little later.")
            self._file_reads += 1
        future = self._files.submit(work)
        future.add_done_callback(self._count_read)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda done: _discard(done, discard))
            raise

    def _count_read(self, _: object) -> None:
        with self._files_lock:
            self._file_reads -= 1

    def _check_audio(self) -> None:
        if not self.allow_audio:
            raise NotServedError(
                "This service does not serve the library's sounds; its operator can allow it (--allow-audio)."
            )

    def _check(self, wanted: Search) -> None:
        limits = self.service.limits
        if not (wanted.texts or wanted.sounds or wanted.ids):
            raise OptionError("There is nothing to search for: give text, audio or ids.")
        check_count(wanted.k, limits.hits, "hits")
        for many, called in ((wanted.sounds, "sounds"), (wanted.ids, "ids"), (wanted.minus_ids, "minus_ids")):
            if many:
                check_count(len(many), limits.sounds, called)
        most = limits.filter_characters
        if wanted.where is not None and len(wanted.where) > most:
            raise OptionError(f"A filter may have up to {most} characters here; this one has {len(wanted.where)}.")

    async def _read(self, thread: FairThread, work: Callable[[], T]) -> T:
        """Run work on the library in one of its threads.

        Raises:
            LibraryUnavailableError: If the library cannot be read.
        """

        def steps() -> Steps[T]:
            yield from ()
            try:
                if (named := tuple(self.library.roots())) != self._named:  # an indexer has been at work
                    self._named, self.roots = named, Roots.of(named)
                return work()
            except LibraryError as error:
                log.error("%s", error)  # it names folders of this machine
                raise LibraryUnavailableError from error

        return await self._run(thread, steps())

    async def _run(self, thread: FairThread, steps: Steps[T]) -> T:
        done = thread.add(current_client(), steps)
        try:
            return await asyncio.wrap_future(done)
        finally:
            done.cancel()


def _discard(done: Future[T], discard: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        discard(done.result())
