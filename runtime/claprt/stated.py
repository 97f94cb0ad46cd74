"""How many samples headers state in formats where libsndfile takes what is there: NIST, VOC, AVR, MAT5, MPC2K, WVE, SDS."""

from __future__ import annotations

import re
from collections.abc import Callable

from claprt.binary import BinaryFile
from claprt.containers import Container
from claprt.errors import AudioDecodeError
from claprt.magic import AVR, MAT5, MPC2K, NIST, VOC, WVE


def stated_samples(name: str, container: Container, file: BinaryFile) -> int | None:
    """Samples per channel by the header, or None where it states none.

    Raises:
        AudioDecodeError: the file is shorter than its blocks state.
    """
    look = _LOOK.get(container)
    return look(name, file) if look else None


def _nist(_: str, file: BinaryFile) -> int | None:
    count = re.search(rb"\nsample_count -i (\d+)", file.read_at(0, 4096))
    return int(count[1]) if count else None


def _avr(_: str, file: BinaryFile) -> int | None:
    head = file.read_at(0, 128)
    if len(head) < 128:
        return None
    frames = int.from_bytes(head[26:30], "big")
    width = 2 if int.from_bytes(head[14:16], "big") > 8 else 1
    # Some programs count the samples of both channels.
    is_whole = frames * width == file.size - 128
    return None if is_whole else frames


def _mat5(_: str, file: BinaryFile) -> int | None:
    """The second matrix holds the sound: its columns are the samples of a channel."""
    order = "little" if file.read_at(126, 2) == b"IM" else "big"
    second = 128 + 8 + int.from_bytes(file.read_at(132, 4), order)
    return int.from_bytes(file.read_at(second + 36, 4), order) or None


def _mpc2k(_: str, file: BinaryFile) -> int | None:
    return int.from_bytes(file.read_at(30, 4), "little")


def _wve(_: str, file: BinaryFile) -> int | None:
    return int.from_bytes(file.read_at(18, 4), "big")


def _voc(name: str, file: BinaryFile) -> int | None:
    """Blocks, each with its length. libsndfile decodes one block of samples, so a second is refused."""
    at, sounds = int.from_bytes(file.read_at(20, 2), "little"), 0
    while head := file.read_at(at, 4):
        kind, size = head[0], int.from_bytes(head[1:4], "little")
        if kind == 0:
            break
        if at + 4 + size > file.size:
            raise AudioDecodeError(
                f"{name} is truncated: its header states {size} and {max(0, file.size - at - 4)} are there (bytes of a "
                "block). Get the whole file, or rewrite it (sox FILE out.wav) if what is left is all you want."
            )
        sounds += kind in {1, 2, 3, 9}
        at += 4 + size
    if sounds > 1:
        raise AudioDecodeError(
            f"{name} consists of {sounds} blocks of sound or silence, of which one would be decoded; convert it first "
            "(sox FILE out.wav)."
        )
    return None


_LOOK: dict[Container, Callable[[str, BinaryFile], int | None]] = {
    NIST: _nist, AVR: _avr, MAT5: _mat5, MPC2K: _mpc2k, WVE: _wve, VOC: _voc,
}  # fmt: skip
