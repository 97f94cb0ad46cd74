"""The files under `LIBRARY/index`, derived from the library's parts; they may be deleted at any time.

    state.json          which parts they cover, and the size, time and checksum of each file
    GENERATION.vectors  the vectors as they are stored, [rows, dim], one after the other
    GENERATION.codes    the same in int8, which the exact scan reads
    GENERATION.rows     scale and error of the codes, number of the sound, whether it is left out
    facts/PART.arrow    all other columns of a part, as an Arrow IPC file

New parts are added to the end of the three files, which no reader looks at before `state.json` says so. Where parts have
gone, or a file is damaged, a new generation is written and the old one removed; whoever has it open keeps it. One process
at a time writes, under a lock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import msgspec

from claprt.errors import LibraryCorruptError, LibraryWriteError
from claprt.library.schema import arrow
from claprt.library.search.derived_part import ROW, DerivedPart, derive_part
from claprt.library.search.signature import Signature, checksum, copy_bytes, is_unchanged, signature_of
from claprt.library.store import ROWS, Part, PartGoneError, Store
from claprt.system.atomic import atomic_file
from claprt.system.locks import waiting_lock

FORMAT = 1
STATE = "state.json"
_LOCK, _FACTS = ".lock", "facts"
KINDS = ("vectors", "codes", "rows")
"""The large files, which hold all parts one after the other."""
_TRIES = 20


class DerivedInfo(msgspec.Struct, frozen=True):
    """A part that is covered."""

    file: str
    """Path within the library."""
    rows: int
    sounds: int
    facts: Signature


class State(msgspec.Struct, frozen=True):
    """What the derived files are."""

    fingerprint: str
    dim: int
    dtype: str
    generation: str
    parts: tuple[DerivedInfo, ...] = ()
    files: dict[str, Signature] = {}
    """The three large files by their kind."""
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(part.rows for part in self.parts)

    @property
    def sounds(self) -> int:
        """Number of runs of rows of one sound."""
        return sum(part.sounds for part in self.parts)


class DerivedFiles:
    """The derived files of one library."""

    def __init__(self, store: Store, folder: Path) -> None:
        """Name the folder; nothing is read or written yet."""
        self.store = store
        self.folder = folder
        manifest = store.manifest
        self._empty = State(manifest.fingerprint, manifest.dim, manifest.dtype, secrets.token_hex(4))
        self._width = {
            "vectors": manifest.dim * (4 if manifest.dtype == "float32" else 2),
            "codes": manifest.dim,
            "rows": ROW.itemsize,
        }

    def path(self, state: State, kind: str) -> Path:
        """One of the large files."""
        return self.folder / f"{state.generation}.{kind}"

    def facts_path(self, part: DerivedInfo) -> Path:
        """The facts of a part."""
        return self.folder / _FACTS / f"{Path(part.file).stem}.arrow"

    @contextmanager
    def lock(self, name: str = _LOCK) -> Generator[None]:
        """Be the one that writes to the folder, or under a `name` of its own to files that are not these.

        Raises:
            OSError: If it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with waiting_lock(self.folder / name, lambda: None):
            yield

    def bring_up_to_date(self, progress: Callable[[int], None] = lambda _: None) -> State:
        """Make the files cover the parts that the library has now, and check that they are whole.

        Args:
            progress: Called with the number of rows of each part as it is added.

        Raises:
            LibraryWriteError: If they cannot be written.
            PartGoneError: If the library changes all the time.
            LibraryError: If the library cannot be read.
        """
        for _ in range(_TRIES):
            state = self._read()
            if state is not None and self._covers(state) and self._unchanged(state):
                return state
            try:
                with self.lock():
                    return self._update(progress)
            except PartGoneError:  # a writer of the library was at work
                continue
            except OSError as error:
                raise self._unwritable(error) from error
        raise PartGoneError(f"{self.store.folder} changed {_TRIES} times while it was read; try again.")

    def _read(self) -> State | None:
        try:
            state = msgspec.json.decode((self.folder / STATE).read_bytes(), type=State)
        except (OSError, msgspec.MsgspecError):
            return None
        mine, its = self._empty, (state.format, state.fingerprint, state.dim, state.dtype)
        return state if its == (mine.format, mine.fingerprint, mine.dim, mine.dtype) else None

    def _covers(self, state: State) -> bool:
        """Whether the parts are those of now."""
        files = [file for file in self.store.files(ROWS) if file not in self.store.damaged]
        return [part.file for part in state.parts] == files

    def _unchanged(self, state: State) -> bool:
        """Whether the large files are as they were written, as far as size and time say."""
        return all(is_unchanged(self.path(state, kind), state.files.get(kind)) for kind in KINDS)

    def _update(self, progress: Callable[[int], None]) -> State:
        """Bring the files up to date, with the lock held."""
        old = self._read()
        if old is not None and not self._unchanged(old):
            old = self._adopted(old)
        parts = self.store.parts()
        wanted = [part.file for part in parts]
        covered = [] if old is None else [part.file for part in old.parts]
        if old is not None and wanted == covered:
            return old
        if old is not None and wanted[: len(covered)] == covered:
            state = self._extended(old, parts[len(covered) :], None, progress)
        else:
            new = msgspec.structs.replace(self._empty, generation=secrets.token_hex(4))
            state = self._extended(new, parts, old, progress)
        self._write(state)
        self._remove_others(state)
        return state

    def _adopted(self, state: State) -> State | None:
        """The state with the files' present times, if their content is as it was written, as after a copy; else None."""
        found: dict[str, Signature] = {}
        for kind in KINDS:
            known, path = state.files.get(kind), self.path(state, kind)
            try:
                if known is None or path.stat().st_size < known.size or checksum(path, known.size) != known.crc32:
                    return None
                os.truncate(path, known.size)  # what a writer that was killed has left behind the end
                found[kind] = signature_of(path, known.crc32)
            except OSError:
                return None
        state = msgspec.structs.replace(state, files=found)
        self._write(state)
        return state

    def _extended(self, state: State, parts: Iterable[Part], old: State | None, progress: Callable[[int], None]) -> State:
        """Add parts to the end of the files of a state.

        Args:
            state: Whose generation is written to.
            parts: What is added.
            old: The generation before, from which parts are copied that it has.
            progress: See `bring_up_to_date`.
        """
        (self.folder / _FACTS).mkdir(exist_ok=True)
        checks = {kind: state.files[kind].crc32 if kind in state.files else 0 for kind in KINDS}
        known = dict(_offsets(old))
        infos = list(state.parts)
        with contextlib.ExitStack() as stack:
            files = {
                kind: stack.enter_context(self.path(state, kind).open("r+b" if state.files else "w+b")) for kind in KINDS
            }
            for kind, file in files.items():
                file.truncate(state.rows * self._width[kind])
                file.seek(0, os.SEEK_END)
            for part in parts:
                if old is not None and part.file in known and self.facts_are_whole(known[part.file][1]):
                    offset, info = known[part.file]
                    for kind, file in files.items():
                        width = self._width[kind]
                        source = self.path(old, kind)
                        checks[kind] = copy_bytes(source, offset * width, info.rows * width, file, checks[kind])
                else:
                    try:
                        derived = derive_part(self.store.read(part), state.dtype)
                    except LibraryCorruptError as error:
                        self.store.leave_out(part.file, str(error))
                        continue
                    for kind, file in files.items():
                        content = memoryview(getattr(derived, kind).reshape(-1)).cast("B")
                        file.write(content)
                        checks[kind] = zlib.crc32(content, checks[kind])
                    info = self._write_facts(part, derived)
                infos.append(info)
                progress(part.rows)
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        signatures = {kind: signature_of(self.path(state, kind), checks[kind]) for kind in KINDS}
        return msgspec.structs.replace(state, parts=tuple(infos), files=signatures)

    def _write_facts(self, part: Part, derived: DerivedPart) -> DerivedInfo:
        pa = arrow()
        (self.folder / _FACTS).mkdir(exist_ok=True)
        info = DerivedInfo(part.file, part.rows, derived.sounds, Signature())
        path = self.facts_path(info)
        with atomic_file(path) as new:
            with pa.OSFile(str(new), "wb") as file, pa.ipc.new_file(file, derived.facts.schema) as writer:
                writer.write_batch(derived.facts)
            crc = checksum(new, new.stat().st_size)
        return msgspec.structs.replace(info, facts=signature_of(path, crc))

    def facts_are_whole(self, part: DerivedInfo) -> bool:
        """Whether the facts of a part are as they were written, perhaps after a copy."""
        path = self.facts_path(part)
        try:
            return is_unchanged(path, part.facts) or (
                path.stat().st_size == part.facts.size and checksum(path, part.facts.size) == part.facts.crc32
            )
        except OSError:
            return False

    def repair_facts(self, part: DerivedInfo) -> None:
        """Write the facts of a part again.

        Raises:
            LibraryWriteError: If they cannot be written.
            PartGoneError: If the part was replaced since the state was read.
            LibraryError: If the part cannot be read.
        """
        stored = Part(Path(part.file).name, part.rows)
        try:
            with self.lock():
                self._write_facts(stored, derive_part(self.store.read(stored), self._empty.dtype))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> LibraryWriteError:
        return LibraryWriteError(
            f"What searches need cannot be written to {self.folder}: {error.strerror or error}. The library itself is "
            "as it was."
        )

    def _write(self, state: State) -> None:
        with atomic_file(self.folder / STATE) as new, new.open("wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())

    def _remove_others(self, state: State) -> None:
        """Remove what no state names any more; on Windows a file that is open stays until later."""
        facts = {self.facts_path(part).name for part in state.parts}
        others = [path for path in self.folder.iterdir() if path.suffix[1:] in KINDS and path.stem != state.generation]
        others += [path for path in (self.folder / _FACTS).iterdir() if path.name not in facts]
        others += self.folder.glob(".state.json.*")  # half written by a process that was killed
        for path in others:
            with contextlib.suppress(OSError):
                path.unlink()


def _offsets(state: State | None) -> list[tuple[str, tuple[int, DerivedInfo]]]:
    """Each part with its first row."""
    found: list[tuple[str, tuple[int, DerivedInfo]]] = []
    row = 0
    for part in state.parts if state else ():
        found.append((part.file, (row, part)))
        row += part.rows
    return found
