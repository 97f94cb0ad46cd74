"""Sound files in folders: which files are taken for sounds, and all of them below a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from claprt.audio.files.containers import HEAD_BYTES, Reader, recognise

_SUFFIXES = frozenset({
    "aac", "ac3", "aif", "aifc", "aiff", "amr", "ape", "au", "avi", "avr", "bw64", "caf", "flac", "flv", "gsm",
    "ircam", "m4a", "m4b", "m4v", "mka", "mkv", "mov", "mp2", "mp3", "mp4", "mpga", "mpeg", "mpg", "nist", "oga",
    "ogg", "ogv", "opus", "paf", "pvf", "rf64", "sd2", "sds", "sf", "snd", "spx", "svx", "tta", "voc", "w64", "wav",
    "wave", "wax", "webm", "wma", "wmv", "wv", "xi",
})  # fmt: skip


def is_sound_name(name: str) -> bool:
    """Whether a file's suffix is one of sound or video files.

    Example:
        >>> is_sound_name("a/DOG.WAV"), is_sound_name("dog"), is_sound_name("dog.txt")
        (True, False, False)
    """
    return os.path.splitext(name)[1][1:].lower() in _SUFFIXES  # noqa: PTH122 - a name, not a place


def sounds_in(folder: str, unreadable: Callable[[str, OSError], None] | None = None) -> Iterator[os.DirEntry[str]]:
    """Sound files in a folder and below, as they are found: of a folder with a million files none waits for the others.

    A sound file is one with a suffix of sound or video files, or one without a suffix whose first bytes are those of such
    a file. Hidden files are left out; links are followed, and a folder that was seen is not entered again.

    Args:
        folder: Where to begin.
        unreadable: Called with each folder that cannot be listed; by default these are passed over.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        below: list[str] = []
        try:
            stat = os.stat(place)  # noqa: PTH116
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        below.append(entry.path)
                    elif _is_sound(entry):
                        yield entry
        except OSError as error:
            if unreadable is not None:
                unreadable(place, error)
        waiting += sorted(below, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _is_sound(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and (is_sound_name(entry.name) or _begins_as_sound(entry.path))
    except OSError:
        return False


def _begins_as_sound(path: str) -> bool:
    if os.path.splitext(path)[1]:  # noqa: PTH122
        return False
    try:
        with Path(path).open("rb") as file:
            container = recognise(file.read(HEAD_BYTES))
    except OSError:
        return False
    return container is not None and container.reader is not Reader.NONE
