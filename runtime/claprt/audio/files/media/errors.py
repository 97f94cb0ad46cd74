"""Errors that several containers share; each function returns one, to be raised."""

from __future__ import annotations

from claprt.errors import AudioDecodeError

REWRITE = "rewrite it (ffmpeg -i FILE out.wav) if what is left is all you want"


def truncated(name: str, stated: int, size: int) -> AudioDecodeError:
    """The content reaches to byte `stated`, behind the end."""
    return AudioDecodeError(
        f"{name} is truncated: what it holds reaches to byte {stated}, and it has {size}. Get the whole file, or {REWRITE}."
    )


def damaged(name: str, where: int) -> AudioDecodeError:
    """Nothing that belongs there stands at byte `where`."""
    return AudioDecodeError(
        f"{name} is damaged at byte {where}: something else stands there than should. Get another copy, or {REWRITE}."
    )


def joined(name: str, where: int) -> AudioDecodeError:
    """Another recording begins at byte `where`."""
    return AudioDecodeError(
        f"{name} is several recordings in one file: another begins at byte {where}. Give them one by one, or join them "
        "with ffmpeg -f concat."
    )


def overstated(name: str, what: str, count: int) -> AudioDecodeError:
    """A header states more of something than is taken."""
    return AudioDecodeError(f"{name} cannot be decoded: its header states {count} {what}; so many are not read.")
