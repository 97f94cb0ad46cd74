"""Containers that are cut, damaged, joined or made to do harm: a sentence each time, and nothing else."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from claprt.errors import AudioDecodeError, AudioError, EmptyAudioError
from tests.media import decoded, encoded, replaced, tones

av = pytest.importorskip("av", reason="needs the media extra (PyAV)")

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}
RANDOM = np.random.default_rng(0).normal(0, 0.1, (2, 48_000)).astype("f4")
STBL = "moov/trak/mdia/minf/stbl/"

WHOLE: list[tuple[str, str, dict[str, Any]]] = [
    ("ipod", "aac", {}),
    ("ipod", "alac", {}),
    ("mp4", "aac", {"options": FRAGMENTS}),
    ("mov", "pcm_s16le", {}),
    ("webm", "libopus", {}),
    ("webm", "libopus", {"pipe": True}),
    ("matroska", "flac", {}),
    ("adts", "aac", {}),
    ("ac3", "ac3", {}),
    ("asf", "wmav2", {}),
    ("wv", "wavpack", {"sample_format": "s16p"}),
    ("tta", "tta", {"sample_format": "s16"}),
    ("ogg", "flac", {}),
    ("flac", "flac", {"sample_format": "s32"}),
    ("flv", "aac", {}),
    ("avi", "libmp3lame", {}),
]


@pytest.mark.parametrize(("form", "codec", "options"), WHOLE)
@pytest.mark.parametrize("share", [0.3, 0.51, 0.77, 0.95])
def test_cut(form: str, codec: str, options: dict[str, Any], share: float) -> None:
    content = encoded(form, codec, RANDOM, **options)
    with pytest.raises(
        (AudioDecodeError, EmptyAudioError), match="truncated|damaged|breaks off|no header|cannot be decoded"
    ):
        decoded(content[: int(share * len(content)) | 1])


@pytest.mark.parametrize(("form", "codec", "options"), [case for case in WHOLE if case[0] not in {"mov", "ogg", "asf"}])
def test_zeros_in_the_middle(form: str, codec: str, options: dict[str, Any]) -> None:
    """Of what has checksums or a syntax; raw samples may be zero, and page checksums are the demuxer's."""
    if codec in {"libopus", "libmp3lame"}:  # they take anything
        pytest.skip("the codec has no redundancy")
    content = bytearray(encoded(form, codec, RANDOM, **options))
    middle = len(content) // 2
    content[middle : middle + 900] = bytes(900)
    with pytest.raises(AudioDecodeError):
        decoded(bytes(content))


def test_a_page_of_ogg_that_is_missing() -> None:
    content = encoded("ogg", "flac", np.tile(RANDOM, 2), options={"page_duration": "100000"})
    pages = [index for index in range(len(content)) if content[index : index + 5] == b"OggS\0"]
    assert len(pages) > 8
    with pytest.raises(AudioDecodeError, match=r"not one sound: after .* are missing|it states 2\.00 s"):
        decoded(content[: pages[5]] + content[pages[7] :])


def test_a_fragment_that_is_missing() -> None:
    content = encoded("mp4", "aac", RANDOM, options=FRAGMENTS)
    moofs = [index - 4 for index in range(len(content)) if content[index : index + 4] == b"moof"]
    assert len(moofs) >= 4
    whole = decoded(content[: moofs[3]])[2]  # a recording that was stopped between two fragments, without an index
    assert whole.size > 20_000
    with pytest.raises(AudioDecodeError, match="not one sound: after .* s are missing"):
        decoded(content[: moofs[1]] + content[moofs[2] :])


def test_a_recorder_that_did_not_finish() -> None:
    content = encoded("mov", "pcm_s16le")
    with pytest.raises(AudioDecodeError, match="it has no header"):
        decoded(content[: content.index(b"moov") - 4])
    content = encoded("mp4", "aac", options=FRAGMENTS)
    with pytest.raises(AudioDecodeError, match="piece of a stream, without the header that comes first"):
        decoded(content[content.index(b"moof") - 4 :])


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [
        ("webm", "libopus", {}),
        ("mp4", "aac", {"options": FRAGMENTS}),
        ("flv", "aac", {}),
        ("flv", "libmp3lame", {"rate": 44_100}),
        ("tta", "tta", {"sample_format": "s16"}),
    ],
)
def test_two_recordings_in_one_file(form: str, codec: str, options: dict[str, Any], pipe: bool) -> None:
    content = encoded(form, codec, pipe=pipe, **options)
    with pytest.raises(AudioDecodeError, match="several recordings in one file: another begins at byte"):
        decoded(content * 2)


def test_zeros_in_place_of_a_box() -> None:
    """Zeros at the end are padding; with boxes behind them they are damage."""
    content = encoded("mp4", "aac", options=FRAGMENTS)
    whole = decoded(content)[2]
    assert decoded(content + bytes(3_000))[2].size == whole.size
    at = content.index(b"moof", len(content) // 3) - 4
    with pytest.raises(AudioDecodeError, match=f"damaged at byte {at}"):
        decoded(content[:at] + bytes(100) + content[at + 100 :])


@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_flash_video_that_states_its_duration(part: float) -> None:
    content = encoded("flv", "libmp3lame", rate=44_100)
    with pytest.raises(AudioDecodeError, match="truncated or damaged"):
        decoded(content[: int(part * len(content))])


def test_junk_between_elements_of_matroska() -> None:
    content = encoded("matroska", "flac", tones(12.0, channels=1))
    clusters = [index for index in range(len(content)) if content[index : index + 4] == b"\x1f\x43\xb6\x75"]
    assert len(clusters) > 2
    for junk in (b"\x12\x34\x56\x78" * 4, b"\0" * 9, b"\xff" * 3):
        with pytest.raises(AudioDecodeError, match="damaged|truncated"):
            decoded(content[: clusters[1]] + junk + content[clusters[1] :])


def test_a_reference_to_another_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QuickTime tracks can say that their samples are in another file; with the option on, FFmpeg reads it."""
    monkeypatch.chdir(tmp_path)
    content = encoded("mov", "pcm_s16le")
    Path("other.mov").write_bytes(content)
    path = str(tmp_path / "other.mov").encode()
    path += bytes(len(path) & 1)
    alias = bytes(130) + struct.pack(">HH", 1, 1) + bytes(16) + struct.pack(">HH", 2, len(path)) + path + b"\xff\xff\0\0"
    alias += bytes(max(0, 160 - len(alias)))
    for kind in (b"alis", b"url "):
        dref = struct.pack(">II", 0, 1) + struct.pack(">I4sI", 12 + len(alias), kind, 0) + alias
        referring = replaced(content, "moov/trak/mdia/minf/dinf/dref", dref)
        with pytest.raises(AudioDecodeError, match="refers to another file for its sound, which is not opened"):
            decoded(referring)
    # the entry is one that FFmpeg follows where it is let
    Path("referring.mov").write_bytes(replaced(content, "moov/trak/mdia/minf/dinf/dref", dref.replace(b"url ", b"alis")))
    Path("other.mov").unlink()
    with av.open("referring.mov", container_options={"enable_drefs": "1"}) as container:
        assert not list(container.decode(audio=0))
    with monkeypatch.context() as patch:  # and our own options keep FFmpeg from it
        patch.setattr("claprt.audio.files.media.boxes._REFERENCES", set[int]())
        with pytest.raises(AudioError, match="0.00 s could be decoded|holds no samples"):
            decoded(Path("referring.mov").read_bytes())


def table(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


@pytest.mark.parametrize(
    ("box", "payload"),
    [
        (STBL + "stsz", table(0, 1, 170_000_000)),
        (STBL + "stsz", table(0, 0, 100_000_000)),
        ("moov/trak/edts/elst", table(0, 100_000) + table(48_000, 0, 0x10000) * 1_000),
        ("moov/udta", table(16) + b"trun" + table(0, 100_000_000)),
        ("moov/udta", table(16) + b"cmov" + table(0, 1)),
    ],
)
def test_tables_longer_than_a_sound(box: str, payload: bytes) -> None:
    content = replaced(encoded("ipod", "aac", options={"movflags": "+use_metadata_tags"}), box, payload)
    begin = time.process_time()
    with pytest.raises(AudioDecodeError, match="so many are not read|compressed"):
        decoded(content)
    assert time.process_time() - begin < 1


def test_a_codec_whose_name_is_no_text() -> None:
    """The name of the description of AAC is not needed where the description says what it is."""
    content = encoded("ipod", "aac")
    np.testing.assert_array_equal(decoded(content.replace(b"mp4a", b"mp\xf7a"))[2], decoded(content)[2])
    with pytest.raises(AudioDecodeError, match="coded in an unknown way"):
        decoded(encoded("mov", "pcm_s16le").replace(b"sowt", b"so\xf7t"))


def test_more_tracks_than_a_file_has() -> None:
    content = encoded("ipod", "aac")
    begin = content.index(b"trak") - 4
    track = content[begin : begin + int.from_bytes(content[begin : begin + 4], "big")]
    header = content.index(b"moov") - 4
    moov = content[header + 8 : header + int.from_bytes(content[header : header + 4], "big")]
    with pytest.raises(AudioDecodeError, match="too many streams"):
        decoded(replaced(content, "moov", moov + 500 * track))


def test_chunks_longer_than_a_sound() -> None:
    content = replaced(encoded("mov", "pcm_s16le"), STBL + "stsc", table(0, 1, 1, 0x7FFF_FFFF, 1))
    content = replaced(content, STBL + "stco", table(0, 40, *[36] * 40))
    with pytest.raises(AudioDecodeError, match="samples in chunks; so many are not read"):
        decoded(content)


def core_audio(labels: tuple[int, ...]) -> bytes:
    """CAF with channels in an order of its own."""
    count = len(labels)
    chunks = {
        b"desc": struct.pack(">d4sIIIII", 48_000.0, b"lpcm", 2, 2 * count, 1, count, 16),
        b"chan": struct.pack(">III", 0, 0, count) + b"".join(struct.pack(">IIfff", label, 0, 0, 0, 0) for label in labels),
        b"data": bytes(4) + np.full((4_800, count), 8_192, "<i2").tobytes(),
    }
    return b"caff" + struct.pack(">HH", 1, 0) + b"".join(k + struct.pack(">q", len(v)) + v for k, v in chunks.items())


CHILD = """
import sys
sys.path[:0] = {path!r}
import io, random, time, warnings
from claprt.errors import AudioError
from tests.media import decoded
warnings.simplefilter("error")
from claprt.audio.files.containers import Container
turns, changes = {turns}, {changes}
for form, contents in {contents!r}:
    container = form and Container("it", "media", form)
    draw = random.Random(0)
    for turn in range(turns * len(contents)):
        content = bytearray(contents[turn % len(contents)])
        for _ in range(changes):
            at = draw.choice((draw.randrange(len(content)), draw.randrange(min(300, len(content)))))
            match draw.randrange(4):
                case 0: content[at] = draw.randrange(256)
                case 1: content[at : at + 4] = draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 10**6)).to_bytes(4, "big")
                case 2: del content[at : at + draw.randrange(60)]
                case _: content[at:at] = draw.randbytes(draw.randrange(60))
        begin = time.process_time()
        try:
            decoded(bytes(content), container)
        except AudioError:
            pass
        assert time.process_time() - begin < 5, (form, turn)
print("all refused or read")
"""


def run(contents: Sequence[tuple[str | None, list[bytes]]], *, turns: int, changes: int) -> None:
    """Decodes in a process of its own, whose end would say that it crashed.

    Args:
        contents: Files, and the form of their container, None where the file itself says it.
        turns: How often each file is decoded.
        changes: Changes of each time.
    """
    code = CHILD.format(path=sys.path, contents=contents, turns=turns, changes=changes)
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False, timeout=500)
    assert (done.returncode, done.stdout, done.stderr) == (0, "all refused or read\n", "")


@pytest.mark.seconds
def test_orders_of_channels_without_a_name() -> None:
    """PyAV frees those twice."""
    run([(None, [core_audio((2, 1)), core_audio((1, 1)), core_audio((3, 9, 12, 2, 5))])], turns=3, changes=0)
    assert decoded(core_audio((2, 1)))[1] == 2
    np.testing.assert_array_equal(decoded(core_audio((2, 1)))[2], np.full(4_800, 0.25, "f4"))


@pytest.mark.seconds
def test_damaged_files() -> None:
    kinds: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
        "mov": [
            ("ipod", "aac", {}),
            ("ipod", "alac", {}),
            ("mp4", "aac", {"options": FRAGMENTS}),
            ("mov", "adpcm_ima_qt", {}),
        ],
        "matroska": [
            ("webm", "libopus", {"pipe": True}),
            ("matroska", "wavpack", {}),
            ("matroska", "aac", {"video": True}),
        ],
        "asf": [("asf", "wmav2", {})],
        "aac": [("adts", "aac", {})],
        "wv": [("wv", "wavpack", {"sample_format": "s32p"})],
    }
    made = [
        (form, [encoded(muxer, codec, tones(0.3), **options) for muxer, codec, options in cases])
        for form, cases in kinds.items()
    ]
    run(made, turns=40, changes=3)
