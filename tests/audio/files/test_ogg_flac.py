"""Ogg of several parts, without its end, with pages missing; FLAC of unknown, small and false lengths, also in Ogg."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from claprt.errors import AudioDecodeError, AudioError
from tests.files import both, samples

RATE = 48_000
NOISE = np.random.default_rng(0).normal(0, 0.1, 4 * RATE).astype(np.float32)
OTHER = np.random.default_rng(1).normal(0, 0.1, 3 * RATE).astype(np.float32)


def encoded(form: str, subtype: str, waveform: NDArray[Any] = NOISE, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=form, subtype=subtype)
    return file.getvalue()


MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc(page: bytes) -> int:
    """Ogg's: zlib's polynomial with the highest bit first, from 0, and not inverted."""
    value = zlib.crc32(page.translate(MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{value:032b}"[::-1], 2)


def page(packets: list[bytes], flags: int, granule: int, count: int, serial: int = 7) -> bytes:
    """A page with whole packets."""
    table = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    head = b"OggS\0" + struct.pack("<BqIIIB", flags, granule, serial, count, 0, len(table)) + table
    whole = head + b"".join(packets)
    return whole[:22] + struct.pack("<I", crc(whole)) + whole[26:]


def pages(content: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(content):
        segments = content[at + 26]
        size = 27 + segments + sum(content[at + 27 : at + 27 + segments])
        found.append(content[at : at + size])
        at += size
    return found


OGG = {codec: encoded("OGG", codec) for codec in ("VORBIS", "OPUS")}


@pytest.mark.parametrize("codec", OGG)
def test_chains_are_heard_whole(tmp_path: Path, codec: str) -> None:
    """As `cat` and internet radio make them."""
    second = encoded("OGG", codec, OTHER)
    expected = np.concatenate([samples(OGG[codec]), samples(second), samples(OGG[codec])])
    assert abs(expected.size - (2 * NOISE.size + OTHER.size)) < 2_000
    for source in both(tmp_path, OGG[codec] + second + OGG[codec]):
        assert np.array_equal(samples(source), expected)


def test_parts_of_other_channels_and_rates(tmp_path: Path) -> None:
    mono, stereo = OGG["VORBIS"], encoded("OGG", "VORBIS", np.stack([OTHER, -OTHER], axis=1))
    assert np.array_equal(samples(mono + stereo), np.concatenate([samples(mono), samples(stereo)]))
    for source in both(tmp_path, mono + encoded("OGG", "VORBIS", OTHER, 44_100)):
        with pytest.raises(AudioDecodeError, match="parts that were joined, of 48000 and 44100 Hz"):
            samples(source)


@pytest.mark.parametrize("codec", OGG)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
def test_without_the_last_page(tmp_path: Path, codec: str, part: float) -> None:
    content = OGG[codec]
    without_last = b"".join(pages(content)[:-1])
    for cut in (content[: int(len(content) * part)], without_last, content[:-1]):
        for source in both(tmp_path, cut):
            with pytest.raises(AudioDecodeError, match=r"is truncated: it ends after \d+ of \d+ bytes without the page"):
                samples(source)
    with pytest.raises(AudioDecodeError, match="part 1 of 2 ends after"):
        samples(without_last + content)
    with pytest.raises(AudioDecodeError, match="part 2 of 2 ends after"):
        samples(content + without_last)


@pytest.mark.parametrize("codec", OGG)
def test_a_page_that_is_missing(tmp_path: Path, codec: str) -> None:
    rows = pages(OGG[codec])
    assert len(rows) > 5
    for source in both(tmp_path, b"".join(rows[:4] + rows[5:])):
        with pytest.raises(AudioDecodeError, match="lacks pages 4 to 4 of its Ogg stream"):
            samples(source)


@pytest.mark.parametrize("codec", OGG)
def test_a_part_without_its_headers(tmp_path: Path, codec: str) -> None:
    other = pages(encoded("OGG", codec, OTHER))
    for content in (b"".join(other[2:]), b"".join(other[2:]) + OGG[codec], OGG[codec] + b"".join(other[1:])):
        for source in both(tmp_path, content):
            with pytest.raises(AudioDecodeError, match="pages of an Ogg stream without its beginning"):
                samples(source)


def test_a_skeleton_beside_the_sound(tmp_path: Path) -> None:
    """Metadata in a stream of its own, in front and behind the first page of the sound."""
    rows = pages(OGG["VORBIS"])
    skeleton = [page([b"fishead\0" + bytes(56)], 2, 0, 0, 99), page([b"fisbone\0" + bytes(44)], 0, 0, 1, 99)]
    skeleton.append(page([b""], 4, 0, 2, 99))
    content = skeleton[0] + rows[0] + skeleton[1] + rows[1] + skeleton[2] + b"".join(rows[2:])
    for source in both(tmp_path, content):
        assert np.array_equal(samples(source), samples(OGG["VORBIS"]))


@pytest.mark.parametrize("codec", OGG)
def test_a_page_that_is_damaged(tmp_path: Path, codec: str) -> None:
    """Its checksum is wrong, so that libogg drops it."""
    rows = pages(OGG[codec])
    rows[4] = rows[4][:-9] + bytes([rows[4][-9] ^ 0x55]) + rows[4][-8:]
    for source in both(tmp_path, b"".join(rows)):
        with pytest.raises(AudioDecodeError):
            samples(source)


@pytest.mark.parametrize("codec", OGG)
def test_one_bit_of_a_page(codec: str) -> None:
    """A page of Opus that is dropped takes half a second or more with it, and nothing else would say so."""
    content = OGG[codec]
    for at in np.linspace(len(content) // 8, len(content) - 60, 12).astype(int):
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        with pytest.raises(AudioDecodeError, match="checksum|lacks pages|truncated|headers are missing"):
            samples(flipped)


def test_zeros_behind_the_last_page(tmp_path: Path) -> None:
    for source in both(tmp_path, OGG["VORBIS"] + bytes(500)):
        assert np.array_equal(samples(source), samples(OGG["VORBIS"]))


# FLAC

FLAC = encoded("FLAC", "PCM_16")
EXACT = (np.round(NOISE * 32768) / 32768).astype(np.float32)


def with_total(content: bytes, total: int) -> bytes:
    new = bytearray(content)
    new[21] = new[21] & 0xF0 | total >> 32
    new[22:26] = (total & 0xFFFF_FFFF).to_bytes(4, "big")
    return bytes(new)


@pytest.mark.parametrize("seconds", [0.01, 1, 4, 20])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stream_of_unknown_length(tmp_path: Path, seconds: float, channels: int) -> None:
    """As every encoder writes it into a pipe."""
    waveform = np.random.default_rng(2).normal(0, 0.1, (int(seconds * RATE), channels)).astype(np.float32)
    content = encoded("FLAC", "PCM_24", waveform)
    for source in (*both(tmp_path, with_total(content, 0)), io.BytesIO(with_total(content, 0))):
        assert np.array_equal(samples(source), samples(content))
    assert samples(content).size == len(waveform)


@pytest.mark.parametrize("total", [1, 1_000, NOISE.size - 1_000, NOISE.size - 1])
def test_a_total_that_is_too_small(tmp_path: Path, total: int) -> None:
    for source in both(tmp_path, with_total(FLAC, total)):
        assert np.allclose(samples(source), EXACT, atol=1e-4)


def test_a_total_that_is_too_large(tmp_path: Path) -> None:
    for source in both(tmp_path, with_total(FLAC, NOISE.size + 1)):
        with pytest.raises(AudioDecodeError, match=f"{NOISE.size} of {NOISE.size + 1} samples could be decoded"):
            samples(source)
    with pytest.raises(AudioDecodeError, match=r"\d+ of 192000 samples|breaks off"):
        samples(FLAC[: len(FLAC) // 2])


@pytest.mark.parametrize("behind", [b"TAG" + b"x" * 125, bytes(4_000), b"\x55" * 1_000])
def test_what_stands_behind_the_frames(tmp_path: Path, behind: bytes) -> None:
    ape = b"t" * 40 + b"APETAGEX" + struct.pack("<IIII8x", 2_000, 72, 1, 0)
    for content in (FLAC + behind, FLAC + ape):
        for source in both(tmp_path, content):
            assert np.array_equal(samples(source), samples(FLAC))


@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125), bytes(2_000)])
@pytest.mark.parametrize("total", [NOISE.size, 0])
def test_joined_files_are_heard_whole(tmp_path: Path, between: bytes, total: int) -> None:
    """`cat a.flac b.flac c.flac`."""
    one, other = with_total(FLAC, total), with_total(encoded("FLAC", "PCM_16", OTHER), OTHER.size)
    if between and not total:
        between = b""  # nothing says where the frames of an open stream end
    heard = [samples(FLAC), samples(other), samples(FLAC)]
    for source in both(tmp_path, one + between + other + one):
        assert np.array_equal(samples(source), np.concatenate(heard))
    with pytest.raises(AudioDecodeError, match="44100 and 48000 Hz|48000 and 44100 Hz"):
        samples(FLAC + encoded("FLAC", "PCM_16", OTHER, 44_100))
    with pytest.raises(AudioDecodeError, match="breaks off|could be decoded"):
        samples(FLAC + other[: len(other) // 2])


@pytest.mark.parametrize("size", [4, 5, 8, 21, 41, 42])
def test_a_file_that_ends_within_its_header(tmp_path: Path, size: int) -> None:
    for source in both(tmp_path, FLAC[:size]):
        with pytest.raises(AudioError, match="ends within the header of FLAC|0 of 192000 samples"):
            samples(source)


def in_ogg(content: bytes, serial: int = 7) -> bytes:
    """FLAC as `flac --ogg` puts it into pages: the header packets, then some of the frames at a time."""
    first = b"\x7fFLAC\1\0\0\1" + content[:42]
    rows = [page([first], 2, 0, 0, serial)]
    at = 42
    while True:
        size = 4 + int.from_bytes(content[at + 1 : at + 4], "big")
        rows.append(page([content[at : at + size]], 0, 0, len(rows), serial))
        last, at = content[at] & 0x80, at + size
        if last:
            break
    body = content[at:]
    step = 20_000
    for begin in range(0, len(body), step):
        last = 4 if begin + step >= len(body) else 0
        rows.append(page([body[begin : begin + step]], last, begin + 1, len(rows), serial))
    return b"".join(rows)


def without_end_mark(content: bytes) -> bytes:
    """Metadata of libFLAC may end with STREAMINFO alone; Ogg FLAC needs a comment behind it."""
    if content[4] & 0x80:
        return content[:4] + b"\0" + content[5:42] + b"\x84\0\0\x08" + bytes(8) + content[42:]
    return content


@pytest.mark.parametrize("total", [0, NOISE.size])
def test_flac_in_ogg(tmp_path: Path, total: int) -> None:
    ogg = in_ogg(without_end_mark(with_total(FLAC, total)))
    for source in both(tmp_path, ogg):
        assert np.array_equal(samples(source), samples(FLAC))
    other = in_ogg(without_end_mark(encoded("FLAC", "PCM_16", OTHER)), serial=8)
    expected = np.concatenate([samples(FLAC), samples(encoded("FLAC", "PCM_16", OTHER))])
    assert np.array_equal(samples(ogg + other), expected)
    with pytest.raises(AudioDecodeError, match="is truncated"):
        samples(ogg[: len(ogg) // 2])


def test_a_part_of_vorbis_and_a_part_of_flac() -> None:
    ogg = in_ogg(without_end_mark(FLAC))
    assert np.array_equal(samples(OGG["VORBIS"] + ogg), np.concatenate([samples(OGG["VORBIS"]), samples(FLAC)]))
