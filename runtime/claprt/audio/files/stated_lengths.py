"""How many samples the headers of older formats state, where libsndfile takes what is there.

NIST, VOC, AVR, MATLAB 4 and 5, MPC 2000, Psion WVE, MIDI sample dumps and XI. IRCAM, PVF and PAF state none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from claprt.audio.files.binary import BinaryFile
from claprt.audio.files.containers import Container
from claprt.audio.files.magic import AVR, MAT4, MAT5, MPC2K, NIST, SDS, VOC, WVE, XI
from claprt.errors import AudioDecodeError

_MANY_MATRICES = 64
_MANY_BLOCKS = 4096


def stated_samples(name: str, container: Container, file: BinaryFile) -> int | None:
    """Samples per channel by the header, or None where it states none.

    Raises:
        AudioDecodeError: If the file is shorter than its blocks state, or is several.
    """
    if container in _WORDS:
        _refuse_joined(name, file, _WORDS[container])
    look = _LOOK.get(container)
    return look(name, file) if look else None


_WORDS = {
    NIST: b"NIST_1A\n",
    VOC: b"Creative Voice File\x1a",
    XI: b"Extended Instrument: ",
    WVE: b"ALawSoundFile**",
    MAT5: b"MATLAB 5.0 MAT-file",
}
"""How files begin whose further headers libsndfile would take for samples."""
_PIECE = 1 << 20


def _refuse_joined(name: str, file: BinaryFile, word: bytes) -> None:
    for at in range(1, file.size, _PIECE):
        found = file.read_at(at, _PIECE + len(word) - 1).find(word)
        if found >= 0:
            raise AudioDecodeError(
                f"{name} is several files in one: another begins at byte {at + found}. Give them one by one, or join their "
                "samples (ffmpeg -f concat)."
            )


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
    """Blocks, each with its length. libsndfile decodes one block of samples, so a second is refused.

    Raises:
        AudioDecodeError: If there are several blocks of samples, or one is incomplete.
    """
    at, sounds = int.from_bytes(file.read_at(20, 2), "little"), 0
    for _ in range(_MANY_BLOCKS):
        head = file.read_at(at, 4)
        if not head:
            break
        kind, size = head[0], int.from_bytes(head[1:4], "little")
        if kind == 0:
            break
        if at + 4 + size > file.size:
            _refuse_short(name, at + 4 + size, file.size)
        sounds += kind in {1, 2, 3, 9}
        at += 4 + size
    if sounds > 1:
        raise AudioDecodeError(
            f"{name} consists of {sounds} blocks of sound or silence, of which one would be decoded; convert it first "
            "(sox FILE out.wav)."
        )
    return None


def _sds(name: str, file: BinaryFile) -> int | None:
    """Packets of 127 bytes. libsndfile fills up with zeros what is missing, and prints what is damaged.

    Raises:
        AudioDecodeError: If the header or a packet is damaged.
    """
    head = file.read_at(0, 21)
    if len(head) < 21 or not 1 <= head[6] <= 28:
        raise AudioDecodeError(f"{name} begins as a MIDI sample dump, and its header is damaged or cut off.")
    samples = head[10] | head[11] << 7 | head[12] << 14
    packets = -(-samples // (120 // -(-head[6] // 7)))
    _refuse_other(name, 21 + 127 * packets, file.size)
    data = np.frombuffer(file.read_at(21, 127 * packets), np.uint8).reshape(-1, 127)
    whole = (data[:, 0] == 0xF0) & (data[:, 1] == 0x7E) & (data[:, 3] == 2) & (data[:, 126] == 0xF7)
    whole &= (np.bitwise_xor.reduce(data[:, 1:125], axis=1) & 0x7F) == data[:, 125]
    if not whole.all():
        raise AudioDecodeError(f"{name} is damaged: {packets - int(whole.sum())} of {packets} packets of its sample dump.")
    return samples


def _mat4(name: str, file: BinaryFile) -> int | None:
    """Two matrices: the sample rate, and the sound. Others may follow; the rest of the sound may not."""
    order = "little" if file.read_at(0, 4) == bytes(4) else "big"
    at = 0
    for number in range(_MANY_MATRICES):
        fields = [int.from_bytes(file.read_at(at + 4 * field, 4), order) for field in range(5)]
        kind, rows, columns, imaginary, name_size = fields
        width = (8, 4, 4, 2, 2, 1)[min(kind // 10 % 10, 5)]
        is_matrix = kind < 5_000 and kind % 10 < 3 and imaginary < 2 and 0 < name_size < 256
        if number > 1 and not is_matrix:
            _refuse_other(name, at, file.size)
        at += 20 + name_size + rows * columns * width * (1 + imaginary)
        if at >= file.size:
            break
    return None


def _xi(name: str, file: BinaryFile) -> int | None:
    count = int.from_bytes(file.read_at(296, 2), "little")
    sizes = sum(int.from_bytes(file.read_at(298 + 40 * number, 4), "little") for number in range(min(count, 64)))
    _refuse_short(name, 298 + 40 * count + sizes if sizes else 0, file.size)
    return None


def _refuse_other(name: str, needed: int, size: int) -> None:
    _refuse_short(name, needed, size)
    if size > needed + 1:
        raise AudioDecodeError(
            f"{name} states {needed} bytes and {size} are there, so that a part would be taken for the whole. Its header "
            "is wrong, or something was appended: rewrite it, or cut the rest."
        )


def _refuse_short(name: str, needed: int, size: int) -> None:
    if size < needed:
        raise AudioDecodeError(
            f"{name} is truncated: its header states {needed} and {size} are there (bytes). Get the whole file, or rewrite "
            "it (sox FILE out.wav) if what is left is all you want."
        )


_LOOK: dict[Container, Callable[[str, BinaryFile], int | None]] = {
    NIST: _nist, AVR: _avr, MAT5: _mat5, MPC2K: _mpc2k, WVE: _wve, VOC: _voc, MAT4: _mat4, SDS: _sds, XI: _xi,
}  # fmt: skip
