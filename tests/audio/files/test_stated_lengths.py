"""Headers that state another length than what is there: all is heard, or it is refused with numbers."""

from __future__ import annotations

import io
import struct
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from claprt.audio.sound import open_sound
from claprt.errors import AudioDecodeError, EmptyAudioError, UnfinishedHeaderWarning
from tests.files import both, samples

NOISE = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
PCM = (np.round(NOISE * 32767) / 32768).astype(np.float32)


def encoded(form: str, subtype: str = "PCM_16", endian: str | None = None, waveform: NDArray[Any] = PCM) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, 44_100, format=form, subtype=subtype, endian=endian)
    return file.getvalue()


# where the length is stated: offset of the field, struct format, what is added to the bytes of samples


FIELDS: dict[str, tuple[bytes, int, str, int]] = {  # content, offset, format, added
    "WAV": (encoded("WAV"), 40, "<I", 0),
    "RIFX": (encoded("WAV", endian="BIG"), 40, ">I", 0),
    "W64": (encoded("W64"), 96, "<Q", 24),
    "AIFF": (encoded("AIFF"), 42, ">I", 8),
    "AU": (encoded("AU"), 8, ">I", 0),
    "AU, little": (encoded("AU", endian="LITTLE"), 8, "<I", 0),
    "CAF": (encoded("CAF"), encoded("CAF").index(b"data") + 4, ">q", 4),
    "RF64": (encoded("RF64"), 28, "<Q", 0),
}


def stating(kind: str, size: int) -> bytes:
    """The file with another size of the samples in its header."""
    content, at, form, added = FIELDS[kind]
    new = bytearray(content)
    struct.pack_into(form, new, at, size + added if size > 0 else size)
    if kind == "AIFF":
        struct.pack_into(">I", new, 22, max(0, size) // 2)  # frames, in COMM
    return bytes(new)


@pytest.mark.parametrize("kind", FIELDS)
def test_the_fields_are_where_the_tests_think(kind: str) -> None:
    content, at, form, added = FIELDS[kind]
    assert struct.unpack_from(form, content, at)[0] == PCM.size * 2 + added
    assert np.array_equal(samples(content), PCM)


@pytest.mark.parametrize("kind", FIELDS)
def test_half_a_sound_that_states_the_whole(tmp_path: Path, kind: str) -> None:
    content = FIELDS[kind][0]
    for source in both(tmp_path, content[: len(content) - PCM.size]):
        with pytest.raises(AudioDecodeError, match="truncated: its header states 40000 and 20000 are there"):
            samples(source)


@pytest.mark.parametrize("kind", FIELDS)
def test_a_whole_sound_that_states_a_half(tmp_path: Path, kind: str) -> None:
    for source in both(tmp_path, stating(kind, PCM.size)):
        with pytest.raises(AudioDecodeError, match=r"states 20000 bytes of samples and 40000 follow.*-ignore_length"):
            samples(source)


@pytest.mark.parametrize("kind", FIELDS)
def test_less_than_one_sample_is_missing(tmp_path: Path, kind: str) -> None:
    content = FIELDS[kind][0]
    for source in both(tmp_path, content[:-1]):
        assert np.array_equal(samples(source), PCM[:-1])
    for source in both(tmp_path, content[:-2]):
        with pytest.raises(AudioDecodeError, match="states 40000 and 39998 are there"):
            samples(source)


@pytest.mark.parametrize("kind", FIELDS)
def test_a_header_that_was_never_finished(tmp_path: Path, kind: str) -> None:
    for source in both(tmp_path, stating(kind, 0)):
        with pytest.warns(UnfinishedHeaderWarning, match="never finished.* 40000 bytes") as caught:
            assert np.array_equal(samples(source), PCM)
        assert len(caught) == 1


@pytest.mark.parametrize("kind", FIELDS)
def test_a_header_of_a_stream(tmp_path: Path, kind: str) -> None:
    """The largest size that fits, or -1: the writer could not go back. That is how it is done, and nothing to warn of."""
    form = FIELDS[kind][2]
    for size in {"<I": (0xFFFF_FFFF, 0x7FFF_F000), "<Q": (1 << 62,), ">q": (-1,)}.get(form, (0x7F00_0008, 0x7FFF_FFF0)):
        for source in both(tmp_path, stating(kind, size)):
            assert np.array_equal(samples(source), PCM)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "W64", "CAF"])
def test_a_header_without_samples_is_empty(kind: str) -> None:
    form = kind
    with pytest.raises(EmptyAudioError):
        samples(encoded(form, waveform=PCM[:0]))


def chunk(kind: bytes, content: bytes, order: str = "<") -> bytes:
    return kind + struct.pack(f"{order}I", len(content)) + content + bytes(len(content) % 2)


BEHIND = {
    "LIST": chunk(b"LIST", b"INFOISFT\x06\0\0\0abcdef"),
    "two chunks": chunk(b"bext", bytes(603)) + chunk(b"id3 ", b"ID3\4\0\0\0\0\0\0"),
    "a chunk of its own": chunk(b"xyzq", bytes(77)),
    "a chunk that is cut off": chunk(b"LIST", bytes(300))[:100],
    "a chunk and a little": chunk(b"LIST", bytes(10)) + b"\1\2\3",
    "padding": bytes(512),
    "one byte": b"\1",
    "ID3v1": b"TAG" + b"x" * 125,
    "ID3v2": b"ID3\4\0\0\0\0\0\x10" + bytes(range(1, 17)),
}


@pytest.mark.parametrize("kind", BEHIND)
def test_what_may_follow_the_samples(tmp_path: Path, kind: str) -> None:
    for source in both(tmp_path, encoded("WAV") + BEHIND[kind]):
        assert np.array_equal(samples(source), PCM)
    odd = encoded("WAV", "PCM_U8", waveform=PCM[:9_999])
    unpadded = odd[: 44 + 9_999] + BEHIND[kind]  # some programs leave the padding out
    assert samples(unpadded).size == 9_999


@pytest.mark.parametrize("size", [3, 100, 20_000])
def test_what_may_not_follow_the_samples(size: int) -> None:
    for behind in (b"\xfe" * size, NOISE.tobytes()[:size]):
        with pytest.raises(AudioDecodeError, match=f"states 40000 bytes of samples and {40_000 + size} follow"):
            samples(encoded("WAV") + behind)
    for behind in (b"\xfe" * size, chunk(b"LIST", bytes(size))):
        with pytest.raises(AudioDecodeError, match=r"states 40000 bytes of samples and \d+ follow"):
            samples(encoded("AU") + behind)


def bw64(content: bytes) -> bytes:
    return b"BW64" + content[4:]


@pytest.mark.parametrize("kind", FIELDS)
def test_joined_files_are_several(tmp_path: Path, kind: str) -> None:
    """`cat a.wav b.wav`: the second would be a chunk of the first."""
    content = FIELDS[kind][0]
    for second in (content, FIELDS["WAV"][0], encoded("FLAC")):
        for source in both(tmp_path, content + second):
            with pytest.raises(AudioDecodeError, match=f"several files in one: another begins at byte {len(content)}"):
                samples(source)


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "MS_ADPCM"), ("W64", "MS_ADPCM"), ("W64", "IMA_ADPCM")])
def test_joined_files_of_codecs(form: str, subtype: str) -> None:
    content = encoded(form, subtype)
    with pytest.raises(AudioDecodeError, match="several files in one"):
        samples(content * 2)


def test_bw64_is_rf64_by_another_name(tmp_path: Path) -> None:
    for source in both(tmp_path, bw64(encoded("RF64"))):
        assert np.array_equal(samples(source), PCM)
    with pytest.raises(AudioDecodeError, match="truncated"):
        samples(bw64(encoded("RF64"))[:-1_000])


def test_an_rf64_that_was_never_finished() -> None:
    """All of ds64 is zero, as it was reserved."""
    content = bytearray(encoded("RF64"))
    assert content[12:16] == b"ds64"
    content[20:44] = bytes(24)
    for form in (bytes(content), bw64(bytes(content))):
        with pytest.warns(UnfinishedHeaderWarning):
            assert np.array_equal(samples(form), PCM)


def test_ieee_float_and_24_bit_and_stereo() -> None:
    stereo = np.stack([PCM, -PCM / 2], axis=1)
    for subtype in ("FLOAT", "DOUBLE", "PCM_24", "PCM_32", "ULAW", "ALAW"):
        for form in ("WAV", "WAVEX", "AIFF", "CAF"):
            content = encoded(form, subtype, waveform=stereo)
            whole = samples(content)
            assert whole.size == PCM.size
            with pytest.raises(AudioDecodeError, match="truncated"):
                samples(content[:-200])
            end = len(content) - len(encoded(form, subtype, waveform=stereo[:0]))
            assert end // PCM.size in {2, 4, 6, 8, 16}


@pytest.mark.parametrize("subtype", ["MS_ADPCM", "IMA_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_32"])
def test_codecs_in_wav_that_are_cut(subtype: str) -> None:
    content = encoded("WAV", subtype)
    assert samples(content).size >= PCM.size
    with pytest.raises(AudioDecodeError, match="truncated"):
        samples(content[: len(content) * 6 // 10])


# sizes that 32 bits cannot hold


def sparse(path: Path, head: bytes, size: int, end: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size - len(end))
        file.seek(0, 2)
        file.write(end)
    return path


def wav_head(stated: int, rate: int = 48_000) -> bytes:
    return b"RIFF" + struct.pack("<I", stated + 36 & 0xFFFF_FFFF) + b"WAVEfmt " + struct.pack(
        "<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16
    ) + b"data" + struct.pack("<I", stated & 0xFFFF_FFFF)  # fmt: skip


def length_in_file(path: Path) -> int:
    """Samples that the header is opened with; they are not read."""
    from claprt.audio.files.binary import WholeFile
    from claprt.audio.files.chunked import wav

    with path.open("rb") as file:
        found = wav("it", WholeFile(file))
    assert found is not None
    assert found[1].samples is not None
    return found[1].samples


@pytest.mark.timing
def test_sizes_modulo_4_gb(tmp_path: Path) -> None:
    size = (1 << 32) + 200_000_000
    path = sparse(tmp_path / "large.wav", wav_head(size), size, b"\1\2")
    assert length_in_file(path) == size // 2
    started = time.perf_counter()
    sound = open_sound(path, None, 48_000)
    first = next(iter(sound.blocks))
    assert time.perf_counter() - started < 2
    assert sound.rate == 48_000
    assert not first.any()
    with path.open("ab") as file:  # and something else behind
        file.write(chunk(b"LIST", b"INFO"))
    assert length_in_file(path) == size // 2
    other = sparse(tmp_path / "other.wav", wav_head(100_000_000), size, b"\1\2")
    with pytest.raises(AudioDecodeError, match=f"states 100000000 bytes of samples and {size} follow"):
        open_sound(other, None, 48_000)


@pytest.mark.timing
def test_ten_gigabytes_are_opened_at_once(tmp_path: Path) -> None:
    size = 10 << 30
    head = encoded("RF64", waveform=PCM[:0])
    data = head.index(b"data") + 8
    ds64 = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<IQQQI", 28, size + 72, size, size // 2, 0)
    rest = head[head.index(b"fmt ") : data - 4] + b"\xff\xff\xff\xff"
    path = sparse(tmp_path / "huge.wav", ds64 + rest, size)
    started = time.perf_counter()
    sound = open_sound(path, None, 48_000)
    next(iter(sound.blocks))
    assert time.perf_counter() - started < 2


# formats without chunks


CUT = [
    ("NIST", "PCM_16"), ("NIST", "ULAW"), ("VOC", "PCM_16"), ("VOC", "PCM_U8"), ("AVR", "PCM_16"), ("MAT4", "DOUBLE"),
    ("MAT5", "FLOAT"), ("MAT5", "PCM_16"), ("MPC2K", "PCM_16"), ("SDS", "PCM_16"), ("SDS", "PCM_24"), ("SVX", "PCM_16"),
    ("WVE", "ALAW"), ("HTK", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("RF64", "FLOAT"), ("W64", "ALAW"),
    ("CAF", "ALAC_16"),
]  # fmt: skip


ONE_CHANNEL = {"SDS", "WVE", "HTK", "SVX"}


@pytest.mark.parametrize(
    ("form", "subtype", "channels"),
    [(form, subtype, channels) for form, subtype in CUT for channels in ((1,) if form in ONE_CHANNEL else (1, 2))],
)
def test_sixty_percent_of_a_file(tmp_path: Path, form: str, subtype: str, channels: int) -> None:
    waveform = PCM if channels == 1 else np.stack([PCM, -PCM], axis=1)
    content = encoded(form, subtype, waveform=waveform)
    assert samples(content).size == PCM.size
    for source in both(tmp_path, content[: len(content) * 6 // 10]):
        with pytest.raises(AudioDecodeError):
            samples(source)


@pytest.mark.parametrize("form", ["MAT4", "SDS"])
def test_more_than_an_older_header_states(tmp_path: Path, form: str) -> None:
    content = bytearray(encoded(form, "PCM_16"))
    if form == "SDS":
        content[10:13] = bytes([10_000 & 127, 10_000 >> 7 & 127, 0])
    else:
        at = content.index(b"wavedata") - 12
        assert content[at : at + 4] == PCM.size.to_bytes(4, "little")
        content[at : at + 4] = (PCM.size // 2).to_bytes(4, "little")
    for source in both(tmp_path, bytes(content)):
        with pytest.raises(AudioDecodeError, match=r"states \d+ bytes and \d+ are there"):
            samples(source)


@pytest.mark.parametrize(("form", "subtype"), [("NIST", "PCM_16"), ("VOC", "PCM_16"), ("WVE", "ALAW"), ("MAT5", "FLOAT")])
def test_joined_files_of_older_forms(form: str, subtype: str) -> None:
    content = encoded(form, subtype)
    assert samples(content).size >= PCM.size
    with pytest.raises(AudioDecodeError, match=f"several files in one: another begins at byte {len(content)}"):
        samples(content * 2)


@pytest.mark.parametrize("form", ["NIST", "AVR", "MPC2K", "MAT5", "WVE", "AIFF"])
def test_more_than_a_header_states_is_heard(form: str) -> None:
    """libsndfile goes by the size of the file there."""
    content = bytearray(encoded(form, "ALAW" if form == "WVE" else "PCM_16"))
    second = 136 + int.from_bytes(content[132:136], "little")
    at, stated = {
        "NIST": (content.find(b"sample_count -i 20000") + 16, b"20000"), "AVR": (26, PCM.size.to_bytes(4, "big")),
        "MPC2K": (30, PCM.size.to_bytes(4, "little")), "MAT5": (second + 36, PCM.size.to_bytes(4, "little")),
        "WVE": (18, PCM.size.to_bytes(4, "big")), "AIFF": (22, PCM.size.to_bytes(4, "big")),
    }[form]  # fmt: skip
    assert content[at : at + len(stated)] == stated
    content[at : at + len(stated)] = _half(stated)
    assert samples(bytes(content)).size == PCM.size


def _half(stated: bytes) -> bytes:
    if stated.isdigit():
        return b"10000"
    order = "big" if stated[0] == 0 else "little"
    return (PCM.size // 2).to_bytes(4, order)


def test_voc_of_several_blocks() -> None:
    content = encoded("VOC", "PCM_U8")
    block = content[26:-1]
    assert block[0] == 1
    with pytest.raises(AudioDecodeError, match="2 blocks of sound or silence"):
        samples(content[:26] + block + block + b"\0")


def test_nan_in_stereo_without_a_word_of_numpy() -> None:
    waveform = np.stack([PCM, PCM], axis=1)
    for value in (np.nan, np.inf):
        waveform[5] = value, -value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(AudioDecodeError.__mro__[1], match="nan near sample 5"):
                samples(encoded("WAV", "FLOAT", waveform=waveform))
