"""Indexing: from sources to rows, in units that are written whole, only what is new or changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from claprt.errors import LibraryError, OptionError
from claprt.library.claims import ContentClaims
from claprt.library.embedding import Embedder, Outcome
from claprt.library.items import UNKNOWN_SIZE, Absent, Item
from claprt.library.known import FAILED, MISSING, KeyTable, Known, Sound, short_key
from claprt.library.paths import sound_id
from claprt.library.progress import Summary
from claprt.library.sources import Sources
from claprt.library.store import Store, Writer
from claprt.library.unit_writer import ROWS_PER_PART, UnitWriter
from claprt.library.units import Unit, copied, stored_sound
from claprt.library.upkeep import CHANGE, apply_changes, vanished

Report: TypeAlias = Callable[[Summary], None]
_FIRST_COMMIT_S, _COMMIT_S = 1.0, 15.0
"""A unit is written after so many seconds at the latest: the first soon, each next one after twice the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one run does; the library's own options are in its manifest."""

    partition: tuple[int, int] | None = None
    """`(i, n)`: only the i-th of n shares of the sounds, from 1 to n, as their ids say."""
    retry_failures: bool = False
    """Whether sounds that failed before are tried again though they have not changed."""

    def __post_init__(self) -> None:
        if self.partition is not None and not 1 <= self.partition[0] <= self.partition[1]:
            i, n = self.partition
            there_are = f"the partitions of {n} are 1/{n} to {n}/{n}" if n > 0 else "the second of four is 2/4"
            raise OptionError(f"partition {i}/{n} does not exist; {there_are}.")

    def has(self, path: str) -> bool:
        """Whether a sound is in the partition of this run."""
        return self.partition is None or self.is_mine(short_key(sound_id(path)))

    def is_mine(self, key: int) -> bool:
        """Whether a sound, by the first 64 bits of its id, is in the partition of this run."""
        return self.partition is None or key % self.partition[1] == self.partition[0] % self.partition[1]


class Indexer:
    """One run over sources."""

    def __init__(
        self, store: Store, writer: Writer, embedder: Embedder, options: RunOptions, report: Report = lambda _: None
    ) -> None:
        """Prepare a run.

        Args:
            store: The library.
            writer: Who writes to it.
            embedder: Makes vectors.
            options: What the run does.
            report: Called after every sound, in the thread of `run`.
        """
        self.summary = Summary()
        self._store, self._writer, self._embedder, self._options, self._report = store, writer, embedder, options, report
        self._known = Known(store)
        self._claims = ContentClaims(self._known)
        self._seen = KeyTable(np.dtype([("key", "u8")]))
        self._changes = KeyTable(CHANGE)
        self._again: list[Item] = []
        self._unit = Unit()
        self._due_s = _FIRST_COMMIT_S
        self._unit_began = time.perf_counter()

    def run(self, sources: Sources) -> Summary:
        """Embed what is new or changed, mark what vanished, and write it all.

        Raises:
            LibraryError: If the library cannot be read or written, or a source cannot be listed.
            ProviderError: If the model fails.
        """
        with UnitWriter(self._store, self._writer, self._known) as self._writing:
            try:
                self._embed(self._new(sources.scan(self._is_new)))
                while self._again:
                    again, self._again = self._again, []
                    self._embed(iter(again))
                self._flush()
                self._settle()
                self._mark(sources)
            except BaseException:
                self._keep_what_is_done()
                raise
        self.summary.unreadable = [sentence for _, sentence in sources.unreadable]
        self._tell()
        return self.summary

    def _keep_what_is_done(self) -> None:
        """Write what was embedded before an error or Ctrl-C, if that can still be written."""
        try:
            self._flush()
            self._settle()
        except LibraryError:
            return

    def _embed(self, items: Iterator[Item]) -> None:
        for outcome in self._embedder.run(items, self._claims):
            self._take(outcome)
            if self._unit.rows >= ROWS_PER_PART or time.perf_counter() - self._unit_began >= self._due_s:
                self._flush()
            self._tell()

    def _is_new(self, path: str, size: int, mtime: float) -> bool:
        """Whether a sound has to be read, as far as size and time say."""
        key = short_key(sound_id(path))
        found = self._known.sound(key)
        return self._options.is_mine(key) and (found is None or not self._is_same(found, size, mtime))

    def _is_same(self, found: Sound, size: int, mtime: float) -> bool:
        if found.state & FAILED and self._options.retry_failures:
            return False
        return found.mtime == mtime and size in (UNKNOWN_SIZE, found.size)

    def _new(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass on what is new or changed; count the rest."""
        for item in items:
            key = short_key(sound_id(item.path))
            if not self._options.is_mine(key) or self._seen.find(key) is not None:
                continue
            self.summary.found += 1
            found = self._known.sound(key)
            if isinstance(item, Absent) and found is not None and not found.state & FAILED:
                self.summary.found -= 1
                if not found.state & MISSING:
                    self.summary.vanished += 1
                    self._changes.add((key, np.nan, True))
                self._seen.add((key,))
                continue
            self._seen.add((key,))
            if found is None or not self._is_same(found, item.size, item.mtime):
                yield item
                continue
            self.summary.unchanged += 1
            self.summary.failed_before += bool(found.state & FAILED)
            self._unmark(key, found)
            self._tell()

    def _unmark(self, key: int, found: Sound, mtime: float = np.nan) -> None:
        was_missing = bool(found.state & MISSING)
        self.summary.returned += was_missing
        if was_missing or not np.isnan(mtime):
            self._changes.add((key, mtime, False))

    def _take(self, outcome: Outcome) -> None:
        """Put an outcome into the unit, or have it wait for another."""
        key = short_key(sound_id(outcome.path))
        found = self._known.sound(key)
        if outcome.item is not None:
            if found is not None and not found.state & FAILED and found.digest == short_key(outcome.sha256):
                self.summary.touched += 1
                self._unmark(key, found, outcome.mtime)
                return
            self._copy(outcome, found)
            return
        self._replace(outcome, found)
        if outcome.error is not None:
            self.summary.failed += 1
            self._unit.failures.append(outcome)
            if outcome.sha256:
                self._claims.failed(outcome.sha256)
                self._again += [one.item for one in self._claims.waiting.pop(outcome.sha256, []) if one.item is not None]
            return
        self.summary.embedded += 1
        self.summary.sound_s += outcome.duration_s or 0.0
        self._add(outcome)
        for waiting in self._claims.waiting.pop(outcome.sha256, []):
            self._copy(waiting, self._known.sound(short_key(sound_id(waiting.path))))

    def _copy(self, sound: Outcome, found: Sound | None) -> None:
        """Give a sound the vectors of its content, wherever they are."""
        units = (self._unit, self._writing.unit)
        owner = next((one for unit in units if unit and (one := unit.by_content.get(sound.sha256))), None)
        if owner is not None:
            taken = copied(sound, owner)
        elif self._claims.has_failed(sound.sha256):  # while this one was on its way
            self._again += [] if sound.item is None else [sound.item]
            return
        else:
            self._settle()
            place = self._claims.place_of(sound.sha256)
            if place is None:
                self._claims.waiting.setdefault(sound.sha256, []).append(sound)
                return
            part = self._known.parts[place]
            kept = None if part is None else stored_sound(self._store.read(part), sound, self._store.manifest)
            if kept is None:  # the sound that had it has another content now
                self._claims.failed(sound.sha256)
                self._again += [] if sound.item is None else [sound.item]
                return
            taken = kept
        self.summary.copied += 1
        self._replace(sound, found)
        self._add(taken)

    def _add(self, sound: Outcome) -> None:
        before = self._unit.rows
        self._unit.add(sound, self._store.manifest.rows)
        self.summary.rows += self._unit.rows - before

    def _replace(self, outcome: Outcome, found: Sound | None) -> None:
        """Have the rows or the failure go that the sound had before."""
        if found is not None:
            self._unit.replaced[found.part].add(sound_id(outcome.path))

    def _flush(self) -> None:
        unit, self._unit = self._unit, Unit()
        self._note(self._writing.write(unit))
        self._unit_began = time.perf_counter()
        self._due_s = min(2 * self._due_s, _COMMIT_S)

    def _settle(self) -> None:
        self._note(self._writing.settle())

    def _note(self, written: tuple[Unit, int] | None) -> None:
        if written is not None:
            unit, place = written
            self._claims.stored(unit.by_content, place)

    def _mark(self, sources: Sources) -> None:
        """Write what became of sounds that are not embedded again."""
        sounds, failures = vanished(self._store, self._known, self._seen, sources.covers, self._options.is_mine)
        for key in sounds:
            self._changes.add((key, np.nan, True))
        self.summary.vanished += len(sounds)
        if failures:
            self._writing.replace({part: self._writing.without(part, ids) for part, ids in failures.items()})
        apply_changes(self._writing, self._store, self._known, self._changes)

    def _tell(self) -> None:
        summary, timings = self.summary, self._embedder.timings
        summary.read_s, summary.compute_s, summary.write_s = timings.read_s, timings.compute_s, self._writing.write_s
        summary.seconds = time.perf_counter() - summary.began
        self._report(summary)
