"""MP3 as people have it: joined, cut, with tags and junk around and between its frames. libmpg123 says nothing to it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from claprt.audio.files.mpeg import is_damaged, mpeg_header
from claprt.errors import AudioDecodeError
from tests.files import both, samples

RATE = 44_100
NOISE = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)


def encoded(waveform: NDArray[Any] = NOISE, rate: int = RATE, **kept: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format="MP3", **kept)
    return file.getvalue()


def frames(content: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(content):
        header = mpeg_header(content[at : at + 4])
        assert header is not None
        found.append(content[at : at + header.size])
        at += header.size
    return found


MP3 = encoded()
FRAMES = frames(MP3)
RAW = b"".join(FRAMES[1:])  # without the encoder's count
TAG = b"ID3\4\0\0\0\0\x08\0" + b"TIT2\0\0\0\x0a\0\0\3some title" + bytes(1_004)


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing of libmpg123 reaches the terminal, whatever the file."""
    yield
    assert capfd.readouterr().err == ""


def test_the_encoder_counts() -> None:
    assert b"Info" in FRAMES[0] or b"Xing" in FRAMES[0]
    assert samples(MP3).size == NOISE.size
    assert samples(RAW).size == (len(FRAMES) - 1) * 1152


AROUND = {
    "an ID3 tag": TAG + MP3 + b"TAG" + b"x" * 125,
    "two ID3 tags": TAG + TAG + MP3,
    "an ID3 tag longer than the head": b"ID3\4\0\0\0\0\x7f\x00" + b"\xff\xfb\x90\x64" * 4_064 + MP3,
    "ID3 in UTF-16": b"ID3\3\0\0\0\0\x08\0TIT2\0\0\0\x1a\0\0\1" + "ﬀ text ﬀ".encode("utf-16") + bytes(995) + MP3,
    "an ID3 tag that says a lie": b"ID3\4\0\0\0\0\0\x40" + b"APIC\x7f\x7f\x7f\x7f\0\0" + bytes(54) + MP3,
    "an APE tag": MP3 + b"APETAGEX" + (2000).to_bytes(4, "little") + (40).to_bytes(4, "little") + bytes(16) + b"t" * 40,
    "2 KB of zeros": bytes(2_048) + MP3,
    "20 KB of zeros": bytes(20_480) + MP3,
    "20 KB of junk": np.random.default_rng(1).bytes(20_480) + MP3,
    "zeros behind": MP3 + bytes(3_000),
    "junk behind": MP3 + np.random.default_rng(2).bytes(3_000),
}


@pytest.mark.parametrize("kind", AROUND)
def test_what_stands_around_the_frames(tmp_path: Path, kind: str) -> None:
    expected = samples(MP3)
    for source in both(tmp_path, AROUND[kind]):
        assert np.array_equal(samples(source), expected)


def test_joined_files_are_heard_whole(tmp_path: Path) -> None:
    """Each part as it is alone: the encoder's delay is cut off at each beginning."""
    other = encoded(NOISE[::-1].copy())
    expected = np.concatenate([samples(MP3), samples(other), samples(MP3)])
    for content in (MP3 + other + MP3, TAG + MP3 + b"TAG" + b"x" * 125 + TAG + other + TAG + MP3):
        for source in both(tmp_path, content):
            assert np.array_equal(samples(source), expected)


def test_joined_without_a_count_in_the_second() -> None:
    joined = samples(MP3 + RAW)
    assert joined.size >= 2 * NOISE.size
    assert np.array_equal(joined[: NOISE.size - 2_000], samples(MP3)[:-2_000])


def test_parts_of_other_channels_and_rates() -> None:
    stereo = encoded(np.stack([NOISE, NOISE], axis=1))
    assert np.array_equal(samples(MP3 + stereo), np.concatenate([samples(MP3), samples(stereo)]))
    slower = encoded(rate=22_050)
    with pytest.raises(AudioDecodeError, match="parts that were joined, of 44100 and 22050 Hz"):
        samples(MP3 + slower)


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_far_shorter_than_the_encoder_counted(tmp_path: Path, part: float) -> None:
    counted = len(FRAMES) - 1
    for source in both(tmp_path, MP3[: int(len(MP3) * part)]):
        with pytest.raises(AudioDecodeError, match=rf"encoder counted {counted} frames \(2\.0 s\) and \d+ are there"):
            samples(source)


def test_the_last_frame_may_be_cut() -> None:
    """Less than a frame, 26 ms, is missing."""
    assert abs(samples(MP3[:-50]).size - NOISE.size) < 1_200
    assert samples(RAW[:-50]).size == (len(FRAMES) - 2) * 1152


def test_frames_of_many_sizes_without_a_count() -> None:
    """libsndfile takes the length of such a file from the size of its first frame, and would drop the rest."""
    quiet = encoded(np.concatenate([NOISE, np.zeros(8 * RATE, np.float32)]), compression_level=0.0, bitrate_mode="VARIABLE")
    rows = frames(quiet)[1:]
    assert max(map(len, rows)) > 2 * min(map(len, rows))
    assert samples(b"".join(rows)).size == len(rows) * 1152


def test_a_single_frame() -> None:
    assert samples(FRAMES[1]).size == 1152


def test_mpeg_in_wav(tmp_path: Path) -> None:
    fmt = (
        b"fmt "
        + (30).to_bytes(4, "little")
        + bytes.fromhex("55000100 44ac0000 803e0000 01000000 0c00 0100 02000000 a101 0100 7105")
    )
    body = fmt + b"fact" + (4).to_bytes(4, "little") + (NOISE.size + 1_105).to_bytes(4, "little")
    body += b"data" + len(MP3).to_bytes(4, "little") + MP3 + bytes(len(MP3) % 2)
    content = b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WAVE" + body
    for source in both(tmp_path, content):
        assert np.array_equal(samples(source), samples(MP3))
    with pytest.raises(AudioDecodeError, match="truncated"):
        samples(content[: len(content) // 2])


def test_bytes_between_frames_are_passed_over() -> None:
    """Every third frame is followed by junk, as of a radio station that sends titles."""
    junk = np.random.default_rng(3).bytes(200).replace(b"\xff", b"\0")
    content = b"".join(frame + (junk if number % 4 == 3 else b"") for number, frame in enumerate(FRAMES))
    assert np.array_equal(samples(content), samples(MP3))


def test_frames_that_never_follow_each_other(tmp_path: Path) -> None:
    junk = np.random.default_rng(3).bytes(150)
    for source in both(tmp_path, b"".join(frame + junk for frame in FRAMES)):
        with pytest.raises(AudioDecodeError, match=r"MPEG audio \(MP3\) by its beginning, and no frames of it follow"):
            samples(source)


def test_frames_of_noise_are_refused(tmp_path: Path) -> None:
    """Right headers with random bits behind: libmpg123 would write a line for each, and decode noise."""
    random = np.random.default_rng(4)
    content = FRAMES[0] + b"".join(frame[:4] + random.bytes(len(frame) - 4) for frame in FRAMES[1:])
    for source in both(tmp_path, content):
        with pytest.raises(AudioDecodeError, match=r"is damaged: \d+ of \d+ frames"):
            samples(source)


def test_whole_frames_are_not_called_damaged() -> None:
    for waveform, rate in ((NOISE, RATE), (NOISE, 16_000), (np.stack([NOISE, -NOISE], axis=1), 48_000)):
        for frame in frames(encoded(waveform, rate)):
            header = mpeg_header(frame[:4])
            assert header is not None
            assert not is_damaged(frame, header, len(frame))


def test_tags_without_sound() -> None:
    with pytest.raises(AudioDecodeError, match="no frames of it follow each other"):
        samples(TAG + bytes(500))


def test_flac_behind_a_long_tag(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, NOISE, RATE, format="FLAC")
    content = b"ID3\4\0\0\0\0\x7f\x00" + bytes(0x7F << 7) + file.getvalue()
    for source in both(tmp_path, content):
        assert samples(source).size == NOISE.size


@pytest.mark.parametrize("junk", [b"\xff", b"\xff\xfb\x90\x64", b"\0"])
def test_megabytes_of_junk_are_given_up(junk: bytes) -> None:
    """Behind the frames, where nothing else could be: at once, and not after a look at every byte."""
    with pytest.raises(AudioDecodeError, match="1 MB of it, up to .* are not frames of MPEG audio"):
        samples(MP3 + junk * (8_000_000 // len(junk)))
