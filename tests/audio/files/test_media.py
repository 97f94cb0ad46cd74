"""Containers and codecs that libsndfile does not know: the right samples, by every way in."""

from __future__ import annotations

import gc
import io
import os
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from claprt.audio.files.binary import Memory, WholeFile
from claprt.audio.files.containers import Container
from claprt.audio.files.media import open_media
from claprt.audio.sound import open_sound
from claprt.errors import AudioDecodeError, AudioShapeError, EmptyAudioError, NonFiniteAudioError
from tests.media import RATE, Array, container_of, decoded, encoded, likeness, replaced, tones

av = pytest.importorskip("av", reason="needs the media extra (PyAV)")

RANDOM = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype("f4")
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}

LOSSLESS: list[tuple[str, str, dict[str, Any]]] = [
    ("ipod", "alac", {"sample_format": "s16p"}),
    ("ipod", "alac", {"sample_format": "s32p"}),
    ("mp4", "flac", {}),
    ("mov", "pcm_s16le", {}),
    ("mov", "pcm_s24be", {}),
    ("mov", "pcm_f32le", {}),
    ("matroska", "flac", {}),
    ("matroska", "pcm_f64le", {}),
    ("matroska", "wavpack", {"sample_format": "s32p"}),
    ("wv", "wavpack", {"sample_format": "s16p"}),
    ("wv", "wavpack", {"sample_format": "fltp"}),
    ("tta", "tta", {"sample_format": "s16"}),
    ("tta", "tta", {"sample_format": "s32"}),
    ("ogg", "flac", {}),
    ("flac", "flac", {"sample_format": "s32"}),
]

LOSSY: list[tuple[str, str, dict[str, Any]]] = [
    ("ipod", "aac", {}),
    ("mp4", "aac", {"video": True}),
    ("mp4", "ac3", {}),
    ("adts", "aac", {}),
    ("ac3", "ac3", {}),
    ("eac3", "eac3", {}),
    ("asf", "wmav2", {}),
    ("asf", "wmav1", {}),
    ("webm", "libopus", {}),
    ("webm", "libopus", {"pipe": True}),
    ("matroska", "aac", {"video": True}),
    ("mp4", "aac", {"options": FRAGMENTS, "pipe": True}),
    ("mov", "adpcm_ima_qt", {}),
    ("flv", "aac", {}),
    ("avi", "libmp3lame", {"video": True}),
    ("mpegts", "aac", {}),
]


@pytest.mark.parametrize(("form", "codec", "options"), LOSSLESS)
def test_lossless(form: str, codec: str, options: dict[str, Any]) -> None:
    """Sample for sample, at the scale of libsndfile: 24 bits stand in the upper ones of 32."""
    wave = tones()
    rate, channels, mono = decoded(encoded(form, codec, wave, **options))
    deep = options.get("sample_format", "") in {"s32", "s32p", "fltp"} or codec in {"pcm_s24be", "pcm_f32le", "pcm_f64le"}
    assert (rate, channels, mono.size) == (RATE, 2, wave.shape[1])
    np.testing.assert_allclose(mono, wave.mean(axis=0), atol=2**-22 if deep else 2**-15)


def place(part: Array, whole: Array) -> int:
    """Where a part is in a longer sound: the sample from which their product is largest."""
    size = whole.size + part.size
    products = np.fft.irfft(np.fft.rfft(whole, size) * np.fft.rfft(part, size).conj(), size)
    return int(np.argmax(products[: whole.size - part.size + 1]))


@pytest.mark.parametrize(("form", "codec", "options"), LOSSY)
def test_lossy(form: str, codec: str, options: dict[str, Any]) -> None:
    wave = tones()
    content = encoded(form, codec, wave, **options)
    rate, channels, mono = decoded(content)
    expected = wave.mean(axis=0)
    assert (rate, channels) == (RATE, 2)
    assert abs(mono.size - expected.size) <= 5 * 2_048  # delay and padding of the encoder, where no table states them
    delay = place(expected[10_000:40_000], mono) - 10_000
    assert -2_048 <= delay <= 2_048
    assert likeness(mono[max(0, delay) :], expected[max(0, -delay) :]) > 0.99


@pytest.mark.parametrize(
    ("form", "codec"),
    [("caf", "flac"), ("wav", "ac3"), ("caf", "ac3"), ("wav", "adpcm_yamaha"), ("w64", "libmp3lame")],
)
def test_codecs_in_containers_of_libsndfile(form: str, codec: str) -> None:
    wave = tones(channels=2, rate=44_100)
    content = encoded(form, codec, wave, rate=44_100)
    sound = open_sound(content, None, 48_000)
    mono = np.concatenate(list(sound.blocks)).astype("f4")
    expected, begin = wave.mean(axis=0), max(0, mono.size - wave.shape[1])
    assert sound.rate == 44_100
    delay = place(expected[10_000:14_000], mono[10_000 : 14_000 + begin])
    assert likeness(mono[delay:], expected) > 0.97
    with pytest.raises(AudioDecodeError):
        list(open_sound(content[: len(content) // 2], None, 48_000).blocks)


def test_delay_and_padding_of_the_encoder_are_cut_where_a_table_states_them() -> None:
    for form, codec in (("ipod", "aac"), ("webm", "libopus")):
        wave = tones(0.987)
        mono = decoded(encoded(form, codec, wave))[2]
        assert mono.size == wave.shape[1]
        assert likeness(mono, wave.mean(axis=0)) > 0.99


def edits(content: bytes, *entries: tuple[int, int]) -> bytes:
    """An edit list for a file, of (duration [ms], begin in the track [samples], -1 for silence)."""
    units = int.from_bytes(content[(at := content.index(b"mvhd") + 16) : at + 4])  # in a second: FFmpeg 8 takes the rate
    return struct.pack(">II", 0, len(entries)) + b"".join(
        struct.pack(">IiI", duration * units // 1_000, begin, 1 << 16) for duration, begin in entries
    )


def test_edits_of_a_track_are_followed() -> None:
    content = encoded("ipod", "aac", tones(2.0))
    whole = decoded(content)[2]

    def edited(*entries: tuple[int, int]) -> Any:
        return decoded(replaced(content, "moov/trak/edts/elst", edits(content, *entries)))[2]

    part = edited((500, 1_024 + 24_000))
    assert part.size == 24_000
    assert likeness(part, whole[24_000:]) > 0.999
    late = edited((300, -1), (1_000, 1_024))  # a track that starts later
    np.testing.assert_array_equal(late, whole[:48_000])
    assert edited((500, 1_024), (500, 1_024 + 48_000)).size == 48_000


@pytest.mark.skipif("libopencore_amrnb" not in av.codecs_available, reason="this PyAV cannot encode AMR")
def test_speech_codec() -> None:
    wave = tones(rate=8_000, channels=1)
    rate, channels, mono = decoded(encoded("amr", "libopencore_amrnb", wave, rate=8_000))
    assert (rate, channels) == (8_000, 1)
    assert abs(mono.size - wave.size) <= 320


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_are_averaged(channels: int) -> None:
    """Of eight planes, too: PyAV's own conversion reads behind the eighth."""
    wave = tones(channels=channels)
    assert decoded(encoded("ipod", "aac", wave))[1] == channels  # FFmpeg 8 writes no eight into ADTS
    found = decoded(encoded("wv", "wavpack", wave, sample_format="s16p"))
    assert found[1] == channels
    np.testing.assert_allclose(found[2], wave.mean(axis=0), atol=2**-15)


def test_samples_of_eight_bits_have_their_middle_at_zero() -> None:
    wave = tones()
    mono = decoded(encoded("tta", "tta", wave, sample_format="u8"))[2]
    np.testing.assert_allclose(mono, wave.mean(axis=0), atol=2**-7)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_the_same_bytes_by_every_way_in(tmp_path: Path) -> None:
    content = encoded("ipod", "aac")
    path = tmp_path / "sound.txt"
    path.write_bytes(content)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(content,))
    writer.start()
    with path.open("rb") as file:
        sources: list[Any] = [path, content, io.BytesIO(content), file, fifo]
        found = [np.concatenate(list(open_sound(source, None, RATE).blocks)) for source in sources]
    writer.join()
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_the_stream_marked_as_default_is_taken() -> None:
    """Of two; without a mark the first."""
    low, high = tones(channels=1)[0], tones(channels=2)[1]

    def file(default: int) -> bytes:
        target = io.BytesIO()
        with av.open(target, "w", format="matroska") as container:
            streams = [container.add_stream("flac", rate=RATE, layout="mono") for _ in range(2)]
            for index, stream in enumerate(streams):
                stream.disposition = int(index == default)
            for stream, wave in zip(streams, (low, high), strict=True):
                frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
                frame.sample_rate, frame.pts = RATE, 0
                container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        return target.getvalue()

    np.testing.assert_allclose(decoded(file(0))[2], low, atol=2**-15)
    np.testing.assert_allclose(decoded(file(1))[2], high, atol=2**-15)


def test_a_video_without_sound() -> None:
    for form in ("mp4", "matroska"):
        with pytest.raises(AudioDecodeError, match="sound is a video without sound"):
            decoded(encoded(form, "", video=True, sound=False))


def test_no_samples() -> None:
    with pytest.raises(EmptyAudioError, match="sound holds no samples"):
        decoded(b"#!AMR\n")


def test_a_codec_that_is_not_read_is_named() -> None:
    content = encoded("wav", "dfpwm")
    with pytest.raises(AudioDecodeError, match="its sound is coded in dfpwm, which is not read here"):
        decoded(content)


def test_infinity_is_refused() -> None:
    wave = tones()
    wave[0, 30_000] = np.inf
    with pytest.raises(NonFiniteAudioError):
        list(open_sound(encoded("matroska", "pcm_f32le", wave), None, RATE).blocks)


def test_blocks_are_bounded_and_the_file_is_closed_when_they_are_dropped() -> None:
    wave = tones(30.0, channels=1)
    content = encoded("matroska", "pcm_s16le", wave)
    opened = open_media("sound", Memory(memoryview(content)), container_of(content))
    first = next(opened.blocks)
    assert first.size < 4 * RATE
    opened.close()
    opened.close()
    assert list(opened.blocks) == []
    opened = open_media("sound", Memory(memoryview(content)), container_of(content))
    next(opened.blocks)
    del opened
    gc.collect()


def test_several_at_once() -> None:
    contents = [encoded("ipod", "aac"), encoded("webm", "libopus"), encoded("wv", "wavpack")]
    expected = [decoded(content)[2] for content in contents]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(decoded, contents * 8))
    for index, (_, _, mono) in enumerate(found):
        np.testing.assert_array_equal(mono, expected[index % 3])


@pytest.mark.seconds
def test_nothing_is_written_to_stderr() -> None:
    """FFmpeg's own messages of damage stay where they are."""
    code = (
        "import sys; sys.path[:0] = %r\n"
        "from tests.media import *\nfrom claprt.errors import AudioError\n"
        "for form, codec in (('ipod', 'aac'), ('adts', 'aac'), ('webm', 'libopus')):\n"
        "    content = bytearray(encoded(form, codec)); content[3000:3200] = bytes(200)\n"
        "    try: decoded(bytes(content))\n    except AudioError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code % sys.path], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout
    assert not done.stderr


def test_a_reader_that_fails_is_quoted() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 100_000:
                raise OSError(5, "the disk is gone")
            return super().read(size)

    for form in ("matroska", "mov"):
        content = encoded(form, "pcm_s32le", RANDOM)
        with pytest.raises(AudioDecodeError, match="sound cannot be read: the disk is gone"):
            list(open_media("sound", WholeFile(Failing(content)), container_of(content)).blocks)


def test_too_many_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claprt.audio.files.media.stream._MOST_CHANNELS", 4)
    with pytest.raises(AudioShapeError, match="6 channels"):
        decoded(encoded("wv", "wavpack", tones(channels=6)))


def test_a_change_of_rate_is_refused() -> None:
    parts = [encoded("adts", "aac", tones(rate=rate), rate=rate) for rate in (48_000, 32_000)]
    with pytest.raises(AudioDecodeError, match="changes its rate from 48000 to 32000 Hz"):
        decoded(b"".join(parts))


def test_names_of_containers_are_those_of_ffmpeg() -> None:
    from claprt.audio.files import magic

    found = [value for value in vars(magic).values() if isinstance(value, Container)]
    found += [kind for _, kind in magic.MAGIC] + list(magic.RIFF.values()) + list(magic.FORM.values())
    for container in found:
        if container.media_format is not None:
            assert av.ContainerFormat(container.media_format, "r").is_input
