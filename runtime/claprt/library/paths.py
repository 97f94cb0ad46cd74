"""How sounds are named in a library: `path` and `id`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

_FILE_URL = "file://"
INSIDE = "::"
"""Between an archive or a table and what it holds: `/data/shard-000.tar::dog.flac`."""


def stored_path(path: str) -> str:
    r"""How the path of a local file stands in a library: absolute; where it is not valid UTF-8, as a `file://` URL.

    Args:
        path: As Python has it, with surrogates for bytes that are not UTF-8.

    Example:
        >>> stored_path("/sounds/dog.wav"), stored_path("/sounds/d\udcf6g.wav")
        ('/sounds/dog.wav', 'file:///sounds/d%F6g.wav')
    """
    return stored_form(os.path.abspath(path))  # noqa: PTH100 - links keep their names


def stored_form(absolute: str) -> str:
    """`stored_path` of a path that is absolute and has no `..` in it."""
    try:
        absolute.encode()
    except UnicodeEncodeError:
        return Path(absolute).as_uri()
    return absolute


def local_path(stored: str) -> str | None:
    r"""The path of a local file as Python has it; None for what is not a file by itself (a URL, a member of an archive).

    What looks like a member of an archive, and is there as a file, is that file.

    Example:
        >>> local_path("file:///sounds/d%F6g.wav"), local_path("s3://bucket/dog.wav"), local_path("/a.tar::dog.wav")
        ('/sounds/d\udcf6g.wav', None, None)
    """
    if stored.startswith(_FILE_URL):
        return os.fsdecode(unquote_to_bytes(stored.removeprefix(_FILE_URL)))
    if "://" in stored or (INSIDE in stored and not os.path.lexists(stored)):
        return None
    return stored


def sound_id(path: str) -> str:
    """The id of a sound: 32 hexadecimal digits made of its path as it is stored.

    Example:
        >>> sound_id("/sounds/dog.wav")
        'c691fbd9a59d1b83b68e532b8bc8bb7e'
    """
    return hashlib.sha256(path.encode()).hexdigest()[:32]
