"""Size, time and CRC-32 of a file as it was written, to notice damage and to accept copies, which have other times."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

import msgspec

_CHUNK = 1 << 24


class Signature(msgspec.Struct, frozen=True):
    """What a file was when it was written."""

    size: int = 0
    mtime_ns: int = 0
    crc32: int = 0


def is_unchanged(path: Path, signature: Signature | None) -> bool:
    """Whether a file has the size and the time of when it was written."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return signature is not None and (stat.st_size, stat.st_mtime_ns) == (signature.size, signature.mtime_ns)


def signature_of(path: Path, crc: int) -> Signature:
    """The signature of a file whose CRC-32 is known."""
    stat = path.stat()
    return Signature(stat.st_size, stat.st_mtime_ns, crc)


def checksum(path: Path, size: int) -> int:
    """CRC-32 of the first `size` bytes of a file."""
    crc = 0
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, _CHUNK))):
            crc, size = zlib.crc32(chunk, crc), size - len(chunk)
    return crc


def copy_bytes(source: Path, start: int, size: int, target: BinaryIO, crc: int) -> int:
    """Copy bytes to the end of a file, and give the checksum with them.

    Args:
        source: File that they are read from.
        start: Position of the first of them.
        size: How many.
        target: File that they are written to.
        crc: Checksum (CRC-32) of what stands before them.

    Raises:
        OSError: If they end too early.
    """
    with source.open("rb") as file:
        file.seek(start)
        while size > 0:
            chunk = file.read(min(size, _CHUNK))
            if not chunk:
                raise OSError(f"{source} ends too early")
            target.write(chunk)
            crc, size = zlib.crc32(chunk, crc), size - len(chunk)
    return crc
