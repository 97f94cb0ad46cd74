"""Whatever a caller may hand in as a sound: taken right, or refused with one of our errors."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import claprt
from claprt.audio.sound import MAX_CHANNELS, AudioSource, open_sound, source_name
from claprt.errors import (
    AudioDecodeError,
    AudioError,
    AudioNotFoundError,
    AudioShapeError,
    AudioTypeError,
    ClaprtError,
    EmptyAudioError,
    NonFiniteAudioError,
    SampleRateError,
)

RATE = 48_000
RAMP = np.linspace(-0.5, 0.5, 1_000, dtype=np.float32)


def samples(source: Any, rate: int | None = RATE) -> NDArray[Any]:
    return np.concatenate(list(open_sound(source, rate, RATE).blocks))


def wav(waveform: NDArray[Any], rate: int = 44_100, subtype: str = "PCM_16", form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=form, subtype=subtype)
    return file.getvalue()


# arrays


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64"])
def test_signed_dtypes_are_scaled_by_their_range(dtype: str) -> None:
    scale = 1.0 if dtype.startswith("float") else 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
    found = samples((np.array([-0.5, 0.0, 0.25]) * scale).astype(dtype))
    assert found.tolist() == [-0.5, 0.0, 0.25]
    assert found.dtype == (np.float64 if dtype == "float64" else np.float32)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_unsigned_dtypes_have_their_middle_at_zero(dtype: str) -> None:
    half = 2 ** (8 * np.dtype(dtype).itemsize - 1)
    assert samples(np.array([0, half, half + half // 2]).astype(dtype)).tolist() == [-1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    "shape", [(1_000,), (1, 1_000), (2, 1_000), (6, 1_000), (16, 1_000), (1_000, 2), (1_000, 1), (1_000, 6), (3, 2), (1, 1)]
)
def test_channels_are_averaged(shape: tuple[int, ...]) -> None:
    length = max(shape)
    along = shape.index(length) if len(shape) > 1 else 0
    ramp = np.linspace(-0.5, 0.5, length, dtype=np.float32)
    array = np.broadcast_to(ramp if along == len(shape) - 1 else ramp[:, None], shape)
    assert np.allclose(samples(array), ramp, atol=1e-7)


def test_two_by_two_is_two_channels() -> None:
    assert samples(np.array([[0.0, 1.0], [0.5, 0.0]])).tolist() == [0.25, 0.5]


def test_other_array_libraries() -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[np.float32]:
            return RAMP

    assert np.array_equal(samples(Tensor()), RAMP)


def test_byte_order_and_strides_do_not_matter() -> None:
    assert np.allclose(samples(RAMP.astype(">f4")[::-2]), RAMP[::-2])


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.zeros((2, 3, 4)), AudioShapeError, "3 axes"),
        (np.float32(1.0), AudioShapeError, "0 axes"),
        (np.zeros((32, 48_000)), AudioShapeError, "32 channels.*list of arrays"),
        (np.zeros((48_000, 32)), AudioShapeError, "48000 channels"),
        (np.zeros(10, np.complex64), AudioShapeError, "complex64"),
        (np.zeros(10, np.bool_), AudioShapeError, "bool"),
        (np.array(["a"]), AudioShapeError, "real numbers"),
        (np.array([object()]), AudioShapeError, "real numbers"),
        (np.zeros(0), EmptyAudioError, "no samples"),
        (np.zeros((2, 0)), EmptyAudioError, "no samples"),
        (np.zeros((0, 2)), EmptyAudioError, "no samples"),
        (np.array([0.0, np.nan]), NonFiniteAudioError, "nan near sample 1"),
        (np.array([np.inf, 0.0]), NonFiniteAudioError, "inf near sample 0"),
        (np.array([[0.0, np.inf], [0.0, -np.inf]]), NonFiniteAudioError, "near sample 1"),
    ],
)
def test_arrays_that_are_no_sound(array: NDArray[Any], error: type[AudioError], words: str) -> None:
    with pytest.raises(error, match=words):
        samples(array)


@pytest.mark.parametrize("rate", [1_000, 44_100, 768_000, 48_000.0, np.int32(8_000)])
def test_rates_that_are_taken(rate: Any) -> None:
    assert open_sound(RAMP, rate, RATE).rate == int(rate)


@pytest.mark.parametrize("rate", [0, -1, 999, 768_001, 44_100.5, float("nan"), float("inf"), True, "48000"])
def test_rates_that_are_refused(rate: Any) -> None:
    with pytest.raises(SampleRateError, match="1000 to 768000"):
        open_sound(RAMP, rate, RATE)


def test_an_array_without_a_rate_is_at_the_models() -> None:
    assert open_sound(RAMP, None, RATE).rate == RATE


@pytest.mark.parametrize("source", [None, 3, 1.5, object(), ["a.wav", "b.wav"], [0.0, None]])
def test_what_can_be_no_sound(source: Any) -> None:
    with pytest.raises(AudioTypeError, match=r"numpy.array\(samples\)|one flat list"):
        open_sound(source, RATE, RATE)


# files


@pytest.mark.parametrize(
    ("form", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("WAV", "ULAW", 3e-2),
        ("FLAC", "PCM_24", 1e-6),
        ("AIFF", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.2),
        ("MP3", "MPEG_LAYER_III", 0.2),
        ("RF64", "PCM_16", 1e-4),
        ("CAF", "PCM_16", 1e-4),
    ],
)
def test_formats(tmp_path: Path, form: str, subtype: str, tolerance: float) -> None:
    waveform = (0.5 * np.sin(np.arange(48_000) / 30)).astype(np.float32)
    path = tmp_path / f"sound.{form.lower()}"
    path.write_bytes(wav(waveform, 44_100, subtype, form))
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        sound = open_sound(source, None, RATE)
        found = np.concatenate(list(sound.blocks))
        assert sound.rate == 44_100
        assert abs(found.size - waveform.size) <= (0 if tolerance < 0.1 else 2_400)
        assert np.abs(found[:40_000] - waveform[:40_000]).max() <= tolerance or tolerance == 0.2


def test_channels_of_a_file_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([RAMP, np.zeros_like(RAMP)], axis=1), 44_100, subtype="FLOAT")
    assert np.allclose(samples(path), RAMP / 2)


def test_large_files_come_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(600_000, np.float32), 44_100)
    sizes = [block.size for block in open_sound(path, None, RATE).blocks]
    assert sum(sizes) == 600_000
    assert len(sizes) > 1


def test_file_objects(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(wav(RAMP))
    with path.open("rb") as file:
        assert samples(file).size == RAMP.size
    assert samples(io.BytesIO(path.read_bytes())).size == RAMP.size
    program = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert samples(process.stdout).size == RAMP.size  # a pipe cannot be rewound


def truncated_flac() -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, 100_000)
    content = wav(noise, form="FLAC")
    return content[: len(content) // 2]


def patched(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + struct.pack("<I", value) + content[at + 4 :]


BROKEN: dict[str, tuple[bytes, type[AudioError], str]] = {
    "empty": (b"", EmptyAudioError, "empty file|no bytes"),
    "text": (b"this is not a sound, whatever its name says\n" * 9, AudioDecodeError, "a text file"),
    "header only": (wav(RAMP)[:20], AudioDecodeError, "cannot be decoded"),
    "no samples": (wav(np.zeros(0)), EmptyAudioError, "no samples"),
    "truncated wav": (wav(RAMP)[:-500], AudioDecodeError, "truncated: its header states 2000 and 1500 are there"),
    "truncated aiff": (wav(RAMP, form="AIFF")[:-500], AudioDecodeError, "truncated"),
    "truncated flac": (truncated_flac(), AudioDecodeError, "breaks off|truncated"),
    "NaN": (wav(np.array([0, np.nan, 0]), subtype="FLOAT"), NonFiniteAudioError, "nan near sample 1"),
    "infinity": (wav(np.array([0, 0, np.inf]), subtype="DOUBLE"), NonFiniteAudioError, "inf near sample 2"),
    "0 Hz": (patched(wav(RAMP), 24, 0), AudioError, "0 Hz|cannot be decoded"),
    "2 GHz": (patched(wav(RAMP), 24, 2_000_000_000), SampleRateError, "2000000000 Hz"),
    "32 channels": (wav(np.zeros((100, 32))), AudioShapeError, f"32 channels; at most {MAX_CHANNELS}"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_files(tmp_path: Path, name: str) -> None:
    content, error, words = BROKEN[name]
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(error, match=words) as caught:
            samples(source)
        assert source_name(source) in str(caught.value)


def test_a_stream_of_unstated_length_is_whole() -> None:
    """Programs that write WAV to a pipe cannot go back to fill in the size."""
    content = wav(RAMP)
    assert samples(patched(content, 40, 0xFFFFFFFF)).size == RAMP.size


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioNotFoundError, match="no such file"):
        samples(tmp_path / "missing.wav")
    with pytest.raises(FileNotFoundError):
        samples(str(tmp_path / "missing.wav"))
    with pytest.raises(AudioDecodeError, match="is a folder"):
        samples(tmp_path)


def test_headerless_file(tmp_path: Path) -> None:
    path = tmp_path / "sound.raw"
    path.write_bytes(RAMP.tobytes())
    with pytest.raises(AudioDecodeError, match="go in as an array: embed_audio"):
        samples(path)


@pytest.mark.parametrize("cut", range(0, 160, 7))
def test_any_cut_of_a_wav_is_refused(cut: int) -> None:
    content = wav(RAMP[:40], subtype="PCM_24")
    assert cut < len(content)
    with pytest.raises(AudioError):
        samples(content[:cut])


def test_names() -> None:
    named: list[tuple[AudioSource, str]] = [
        ("a/b.wav", "a/b.wav"),
        (Path("a/b.wav"), "a/b.wav"),
        (RAMP, "array[1000]"),
        (np.zeros((2, 5)), "array[2, 5]"),
        (b"1234", "bytes[4]"),
        (io.BytesIO(), "BytesIO"),
    ]
    for source, name in named:
        assert source_name(source) == name


def test_odd_files(shared: Path) -> None:
    """Every odd file is decoded or refused by us, and the ones that libsndfile is known to read are decoded."""
    decoded = refused = 0
    for path in sorted((shared / "odd").iterdir()):
        try:
            decoded += samples(path).size > 0
        except ClaprtError as error:
            refused += str(path) in str(error)
    assert decoded + refused == len(list((shared / "odd").iterdir()))
    assert decoded >= 140
    assert refused >= 40


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_subclasses_of_arrays_are_arrays(clap: claprt.Clap, tmp_path: Path, dtype: str) -> None:
    samples = (np.random.default_rng(0).uniform(-0.5, 0.5, 9000) * (32767 if dtype == "int16" else 1)).astype(dtype)
    np.save(tmp_path / "x.npy", samples)
    plain = clap.embed_audio(samples, 16_000)
    for subclass in (np.load(tmp_path / "x.npy", mmap_mode="r"), np.ma.masked_array(samples), samples.view(np.recarray)):
        assert np.array_equal(clap.embed_audio(subclass, 16_000), plain)


def test_masked_samples_are_refused(clap: claprt.Clap) -> None:
    with pytest.raises(AudioTypeError, match=r"fill them first, for instance with \.filled"):
        clap.embed_audio(np.ma.masked_array(np.ones(9), mask=np.arange(9) == 0))


def test_an_empty_name_is_no_folder(clap: claprt.Clap) -> None:
    with pytest.raises(AudioNotFoundError, match="empty name"):
        clap.embed_audio("")
