"""sha256 of files, and stamps (size, times, inode) that tell whether a file is still the one that was hashed.

`remembered_digests` keeps digests in the cache folder, so that unchanged files are not read again.

`unchanged_file` ties what is run to what was compared: it checks the file that a runtime is about to read, lets it be read
under a name that nobody can put another file behind, and checks afterwards that nobody has written to it meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from claprt.errors import BundleCorruptError
from claprt.system.cache_folder import CHECKED, CacheFolder, read_record, write_record

RACY_NS = 2_000_000_000
"""A file changed less than this ago may change again without its times showing it."""

_DESCRIPTORS = Path("/proc/self/fd")

Stamp = tuple[int, int, int, int]
"""Size, modification and change time, and inode: what differs between a file and the same file written again."""

_known: dict[tuple[int, ...], str] = {}
"""Digests of files that this process has hashed, by device and stamp."""


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file."""
    return _stamp(path.stat())


def settled(stamp: Stamp, now: int) -> bool:
    """Whether a stamp that a file had at a time `now`, in ns, identifies its content."""
    return now - max(stamp[1], stamp[2]) > RACY_NS


def is_settled(path: Path, stamp: Stamp, now: int) -> bool:
    """Whether a stamp identifies the content of a file that had it at a time `now`, in ns, and was read after that."""
    return settled(stamp, now) and stamp_of(path) == stamp


def has_stamp(record: object, stamp: Stamp) -> bool:
    """Whether a record (`stamp` and `sha256`) is of a file with this stamp."""
    return isinstance(record, dict) and record.get("stamp") == list(stamp) and isinstance(record.get("sha256"), str)


def remembered_digests(
    cache: CacheFolder, folder: Path, names: Iterable[str], compute: Callable[[Sequence[str]], Mapping[str, str]]
) -> dict[str, str]:
    """sha256 of the files of a folder, computed only for those that have changed since the last call.

    Args:
        cache: Where digests are kept.
        folder: Where the files are.
        names: Names of the files.
        compute: Checks and hashes files by name.
    """
    cache.remove_leftovers()
    record_file = cache.folder / CHECKED / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.json"
    records, now = read_record(record_file), time.time_ns()
    stamps = {name: stamp_of(folder / name) for name in names}
    digests = {name: str(records[name]["sha256"]) for name in stamps if has_stamp(records.get(name), stamps[name])}
    for name, digest in digests.items():
        remember(folder / name, stamps[name], digest)
    missing = [name for name in stamps if name not in digests]
    if not missing:
        return digests
    digests |= compute(missing)
    kept = {
        name: {"stamp": stamp, "sha256": digests[name]}
        for name, stamp in stamps.items()
        if is_settled(folder / name, stamp, now)
    }
    with suppress(OSError):
        cache.make(record_file.parent)
        write_record(record_file, kept, record_file.parent)
    return digests


def remember(path: Path, stamp: Stamp, digest: str) -> None:
    """Keep the digest of a file that has this stamp, for `unchanged_file`."""
    found = path.stat()
    if _stamp(found) == stamp and settled(stamp, time.time_ns()):
        _known[found.st_dev, *stamp] = digest


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return _digest(file)


@contextmanager
def unchanged_file(path: Path, sha256: str | None, *, by_descriptor: bool = True) -> Generator[str]:
    """The name under which a file is to be read, while it is checked that it is and stays the one that is meant.

    Args:
        path: Of the file.
        sha256: What it has to hash to; None for whatever it is. It is not read where its stamp is known.
        by_descriptor: Whether its folder may be named `/proc/self/fd/N`, where there is such a name: that stays the same
            folder when another is put in its place.

    Raises:
        BundleCorruptError: If it is another file, or was written to or replaced while the block ran.
        OSError: If it cannot be opened.
    """
    if sha256 is None:
        yield str(path)
        return
    with ExitStack() as stack:
        name = path
        if by_descriptor and _DESCRIPTORS.is_dir():
            descriptor = os.open(path.parent, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            name = _DESCRIPTORS / str(descriptor) / path.name
        now, link = time.time_ns(), _stamp(name.lstat())
        file = stack.enter_context(name.open("rb"))
        found = os.fstat(file.fileno())
        stamp = _stamp(found)
        digest = _known.get((found.st_dev, *stamp)) or _digest(file)
        if digest != sha256:
            raise BundleCorruptError(
                f"{path} is not the file that was exported, or not the one that was compared with the manifest: its sha256 "
                f"begins {digest[:12]}, the manifest says {sha256[:12]}. Copy the bundle again or export it again."
            )
        yield str(name)
        try:
            same = _stamp(os.fstat(file.fileno())) == stamp_of(name) == stamp and _stamp(name.lstat()) == link
        except OSError:  # removed
            same = False
        if not same or (not settled(stamp, now) and _digest(file) != sha256):
            raise BundleCorruptError(f"{path} was changed while it was loaded. Load it again once that has ended.")


def _digest(file: BufferedReader) -> str:
    file.seek(0)
    now, before = time.time_ns(), os.fstat(file.fileno())
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    stamp = _stamp(before)
    if _stamp(os.fstat(file.fileno())) == stamp and settled(stamp, now):
        _known[before.st_dev, *stamp] = digest
    return digest


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
