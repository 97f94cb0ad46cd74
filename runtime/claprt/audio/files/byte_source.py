"""Whatever holds the bytes of a file (a path, bytes, a file object, a pipe) as one binary file that can seek.

A path and a file object that can seek are read in place, a file object from its beginning, wherever it stands: a buffer
that was just written and a file that was read before give the whole sound. What cannot seek (a named pipe, /dev/stdin,
process substitution, a response of an HTTP client) and what unpacks as it is read (gzip, bz2, lzma, a member of a zip) is
opened once and read once, into memory up to `SPOOL_BYTES` and into a temporary file beyond.
"""

from __future__ import annotations

import io
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from claprt.audio.files.binary import BinaryFile, Memory, WholeFile, check_read, readable_as
from claprt.audio.files.containers import HEAD_BYTES, Reader, recognise
from claprt.errors import AudioDecodeError, AudioNotFoundError, AudioTypeError

SPOOL_BYTES = 32 << 20
"""How much of a source that cannot seek is kept in memory [bytes]."""

_CHUNK = 1 << 20
_UNPACKING = {"gzip", "bz2", "lzma", "zipfile", "_compression", "compression._common._streams"}
_DESCRIPTOR = re.compile(r"/(?:dev/(?P<stdin>stdin)|(?:dev|proc/self)/fd/(?P<number>\d+))\Z")


def open_binary(name: str, source: object) -> BinaryFile:
    """Open a path, the bytes of a file, or a binary file object.

    Args:
        name: What to call the source in messages.
        source: A path, bytes, bytearray, memoryview of bytes, or an object with `read`.

    Raises:
        AudioError: If it cannot be read.
        AudioTypeError: If it is neither a path, nor bytes, nor a binary file object.
    """
    with readable_as(name):
        if isinstance(source, str | os.PathLike):
            return _open_path(name, Path(cast("str", source)))
        if isinstance(source, bytes | bytearray | memoryview):
            content = memoryview(source)
            return Memory(content.cast("B") if content.contiguous else memoryview(content.tobytes()))
        if hasattr(source, "read"):
            return _file_object(name, cast("IO[bytes]", source))
    raise AudioTypeError(
        f"A sound is a path, bytes, a binary file or an array; got {type(source).__name__} ({source!r:.40}). Samples "
        "go in as numpy.array(samples), several sounds as a list."
    )


def _open_path(name: str, path: Path) -> BinaryFile:
    if not name:
        raise AudioNotFoundError("An empty name was given where a sound file was expected.")
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise IsADirectoryError
    if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
        raise AudioDecodeError(f"{name} is a device or a terminal; give a file, or pipe a sound into it.")
    descriptor = _DESCRIPTOR.match(os.fspath(path))
    if descriptor and stat.S_ISSOCK(kind):  # the only kind that cannot be opened again by its name
        file: IO[bytes] = os.fdopen(os.dup(int(descriptor["number"] or 0)), "rb")
    else:
        file = path.open("rb")
    if stat.S_ISREG(kind):
        return WholeFile(file, close=file.close)
    with file:
        return _spool(name, file)


def _file_object(name: str, file: IO[bytes]) -> BinaryFile:
    if isinstance(file, io.TextIOBase):
        raise AudioTypeError(f"{name} is open as text; open it in binary mode (open(path, 'rb')).")
    unpacks = type(file).__module__ in _UNPACKING
    if hasattr(file, "seekable") and file.seekable() and not unpacks:
        return WholeFile(file)
    if unpacks and file.seekable():
        file.seek(0)
    return _spool(name, file)


def _spool(name: str, file: IO[bytes]) -> BinaryFile:
    """Read to the end, once. Of what begins as no sound does, no more than the beginning is read."""
    import tempfile  # takes a while, and few need it

    kept = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - closed by `WholeFile`
    try:
        begin = b""
        while chunk := _next_chunk(name, file):
            kept.write(chunk)
            if len(begin) < HEAD_BYTES:
                begin += chunk[:HEAD_BYTES]
                container = recognise(begin) if len(begin) >= HEAD_BYTES else None
                if container is not None and container.reader is Reader.NONE:
                    break
        return WholeFile(cast("IO[bytes]", kept), close=kept.close)
    except BaseException:
        kept.close()
        raise


def _next_chunk(name: str, file: IO[bytes]) -> bytes:
    try:
        content: object = file.read(_CHUNK)
    except TypeError:  # some responses read all or nothing
        content = file.read()
    if hasattr(content, "__await__"):
        with suppress(Exception):
            cast("Any", content).close()
        raise AudioTypeError(
            f"{name} gives {type(content).__name__}: its read() is asynchronous. Give the bytes (await file.read()) or, "
            "for an UploadFile, its .file."
        )
    if not isinstance(content, bytes | bytearray | memoryview | None):
        raise AudioTypeError(f"{name} gives {type(content).__name__}, not bytes; open it in binary mode.")
    return check_read(content)
