"""What is sent as raw float32 samples and is something else: decoded where it is certain, named otherwise, never noise."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile

from claprt.audio.files.containers import recognise
from claprt.audio.raw_audio import check_samples, raw_source
from claprt.audio.sound import open_sound
from claprt.audio.synthetic import SOUNDS
from claprt.errors import AudioDecodeError, AudioError

RATE = 16_000
SHORT = {name: made(RATE, RATE).astype(np.float64) for name, made in SOUNDS.items()}
HEARD = {name: sound for name, sound in SHORT.items() if np.count_nonzero(sound) > RATE / 10}
"""Sounds of which there is enough: a few impulses look alike in every format."""


def encoded(samples: Any, form: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=form, subtype=subtype)
    return file.getvalue()


def as_float(data: bytes) -> Any:
    source = raw_source(data)
    assert isinstance(source, np.ndarray)
    assert source.dtype == np.float32
    return source


def named(data: bytes) -> str:
    with pytest.raises(AudioError) as caught:
        list(open_sound(raw_source(data), RATE, RATE).blocks)
    assert "nan_to_num" not in str(caught.value)
    return str(caught.value)


FILES = [
    (form, subtype)
    for form in soundfile.available_formats()
    for subtype in soundfile.available_subtypes(form)
    if form not in ("RAW", "SD2")  # the one has no header, the other keeps it in a second file
]


@pytest.mark.parametrize("sound", ["rain", "silence", "constant"])
def test_whole_files_are_decoded_at_their_own_rate(sound: str) -> None:
    samples = np.full(RATE, 0.5) if sound == "constant" else SHORT[sound]
    tried = 0
    for form, subtype in FILES:
        try:
            data = encoded(samples, form, subtype)
        except (RuntimeError, ValueError):  # this pair is not one, or not at this rate
            continue
        tried += 1
        assert raw_source(data) is data, (form, subtype)
    assert tried > 40


def test_a_file_states_its_own_rate() -> None:
    opened = open_sound(raw_source(encoded(SHORT["rain"], "WAV", "FLOAT")), 48_000, 48_000)
    assert opened.rate == RATE
    assert np.abs(np.concatenate(list(opened.blocks)) - SHORT["rain"]).max() < 1e-6


@pytest.mark.parametrize("name", HEARD)
@pytest.mark.parametrize(
    "made",
    [
        lambda sound: sound,
        lambda sound: sound * (1 / 3),
        lambda sound: sound.astype(np.float32).astype(np.float64),
        lambda sound: np.rint(sound * 32767) / 32768,
        lambda sound: np.rint(sound * 300) / 32768,
        lambda sound: np.rint(sound * 2**23) / 2**23,
        lambda sound: np.concatenate([np.zeros(RATE), sound]),
        lambda sound: sound * 1e-4,
    ],
    ids=["double", "scaled", "from float32", "from 16 bits", "from 9 bits", "from 24 bits", "after silence", "quiet"],
)
def test_float64_is_taken(name: str, made: Callable[[Any], Any]) -> None:
    samples = made(HEARD[name])
    found = as_float(samples.astype("<f8").tobytes())
    assert (found == samples.astype(np.float32)).all()


@pytest.mark.parametrize("name", HEARD)
@pytest.mark.parametrize("level", [32_767, 1000, 40])
def test_integers_are_named(name: str, level: int) -> None:
    samples = np.rint(HEARD[name] * level).astype("<i2")
    assert "16-bit integers" in named(samples.tobytes())
    assert "something else" in named(samples[:-1].tobytes())
    assert "16-bit integers" in named(np.stack([samples, samples], 1).tobytes())
    large = np.rint(HEARD[name] * level * 2.0**15).astype("<i4")
    assert "32-bit integers" in named(large.tobytes())
    if level > 40:
        assert "24-bit integers" in named((large >> 8).view(np.uint8).reshape(-1, 4)[:, :3].tobytes())


@pytest.mark.parametrize("name", HEARD)
def test_float64_with_the_values_of_integers_is_taken(name: str) -> None:
    """`wavfile.read(...)[1].astype(float)`; a recipe that divides by the peak hears it right."""
    samples = np.rint(HEARD[name] * 32_767)
    assert (as_float(samples.astype("<f8").tobytes()) == samples.astype(np.float32)).all()


@pytest.mark.parametrize("name", HEARD)
def test_narrow_integers_in_wide_ones_are_named(name: str) -> None:
    samples = np.rint(HEARD[name] * 32_767)
    assert "32-bit integers: divide them by 32768" in named(samples.astype("<i4").tobytes())
    assert "64-bit integers: divide them by 32768" in named(samples.astype("<i8").tobytes())
    after_silence = np.concatenate([np.zeros(RATE), samples])
    assert "16-bit integers: divide them by 32768" in named(after_silence.astype("<i2").tobytes())


@pytest.mark.parametrize("name", HEARD)
@pytest.mark.parametrize("steps", [0, 2**15, 32])
def test_samples_of_another_order_are_named(name: str, steps: int) -> None:
    """Those of 16-bit integers have empty low bytes, which the other order makes numbers next to nothing of."""
    samples = np.rint(HEARD[name] * steps) / steps if steps else HEARD[name]
    assert "big-endian float32" in named(samples.astype(">f4").tobytes())
    assert "big-endian float64" in named(samples.astype(">f8").tobytes())


@pytest.mark.parametrize("name", HEARD)
def test_bytes_of_eight_bits_are_not_called_another_size(name: str) -> None:
    for data in ((HEARD[name] * 127 + 128).astype(np.uint8), np.rint(HEARD[name] * 127).astype(np.int8)):
        assert "integers of another size" in named(data.tobytes())


def test_coarse_integers_are_named() -> None:
    draw = np.random.default_rng(0)
    square = np.where(np.arange(RATE) // 50 % 2, 20_000, -20_000)
    for samples in (square, draw.integers(-1, 2, RATE), draw.integers(0, 100, RATE), -3 * (draw.random(RATE) > 0.99)):
        assert "16-bit integers" in named(samples.astype("<i2").tobytes())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "text that begins with '<!DOCTYPE html>"),
        (json.dumps({"audio_buffer": "AAAA", "sample_rate": 8000}).encode(), "text message"),
        (json.dumps([0.125, -0.25, 0.5, 0.0625, 0.75, 0.3, 0.2, 0.1] * 9).encode(), "text that begins with '[0.125"),
        ("\n".join(str(number / 777) for number in range(900)).encode(), "text that begins with '0.0"),
        (gzip.compress(SHORT["rain"].tobytes(), 1), "gzip"),
        (b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(4000), "PNG"),
        (b"abc", "not a whole number"),
        (bytes(7), "not a whole number"),
        (np.random.default_rng(0).bytes(4000), "something else"),
        (encoded(SHORT["rain"], "WAV", "FLOAT")[:9000], "truncated"),
        (np.geomspace(1e-30, 1e30, 999, dtype=np.float32).tobytes(), "something else"),
    ],
)
def test_what_is_not_sound_is_named(data: bytes, sentence: str) -> None:
    assert sentence in named(data)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("share", [1e-4, 0.3, 1.0])
def test_samples_with_nan_are_still_called_so(bad: float, share: float) -> None:
    samples = SHORT["rain"].astype(np.float32)
    samples[: max(1, int(share * RATE))] = bad
    with pytest.raises(AudioError, match="nan_to_num"):
        list(open_sound(raw_source(samples.tobytes()), RATE, RATE).blocks)


_MADE: tuple[Callable[[np.random.Generator, int], Any], ...] = (
    lambda draw, n: draw.standard_normal(n),
    lambda draw, n: draw.uniform(-1, 1, n),
    lambda draw, n: np.zeros(n),
    lambda draw, n: np.full(n, draw.uniform(-1, 1)),
    lambda draw, n: np.full(n, 10.0 ** draw.uniform(-37, 4)),
    lambda draw, n: draw.standard_normal(n) * 10.0 ** draw.uniform(-37, 4),
    lambda draw, n: (draw.random(n) < 0.01) * draw.uniform(-1, 1),
    lambda draw, n: np.where(np.arange(n) % int(draw.integers(2, 9)) == 1, draw.uniform(0.2, 1, n), 0),
    lambda draw, n: np.tile([0, 1, 0, -1], n)[:n] * np.geomspace(1, 0.2, n),
    lambda draw, n: np.rint(draw.uniform(-1, 1, n) * 32768) / 32768,
    lambda draw, n: draw.integers(-128, 128, n) / 128 * 2.0 ** -int(draw.integers(0, 100)),
    lambda draw, n: np.stack([np.zeros(n), draw.standard_normal(n)], 1).ravel(),
    lambda draw, n: draw.standard_normal(n) * np.exp(-np.arange(n) * draw.uniform(0, 0.1)),
    lambda draw, n: np.sin(np.arange(n) * draw.uniform(0, np.pi)) * draw.uniform(0, 32768),
    lambda draw, n: np.rint(draw.standard_normal(n) * 2.0**29),
    lambda draw, n: np.full(n, 3e8),
)


@pytest.mark.parametrize("made", range(len(_MADE)))
def test_ordinary_samples_are_never_taken_for_anything_else(made: int) -> None:
    for seed in range(150):
        draw = np.random.default_rng([made, seed])
        samples = _MADE[made](draw, int(draw.integers(1, 4000))).astype(np.float32)
        found = as_float(samples.astype("<f4").tobytes())
        assert found.tobytes() == samples.tobytes(), (seed, samples[:4])


@pytest.mark.parametrize(("head", "size"), [(b"\xff\xfb\x50", 208), (b"\xff\xf3\x48", 144), (b"\x56\xe0\x00", 0)])
def test_noise_that_begins_as_a_stream_is_noise(head: bytes, size: int) -> None:
    """Two frame headers, or the mark of AAC, among samples that are all within full scale."""
    data = bytearray(SHORT["white noise"].astype("<f4").tobytes())
    for start in {0, size}:
        data[start : start + 3] = head
    data[3::4] = b"\x3d" * (len(data) // 4)
    assert recognise(bytes(data[:4096])) is not None
    assert as_float(bytes(data)).tobytes() == bytes(data)


def test_arrays_of_a_tensor() -> None:
    samples = np.zeros(48_000, np.float32)
    assert check_samples("waveforms", samples) is samples
    file = encoded(SHORT["rain"], "WAV", "FLOAT")
    with pytest.raises(AudioDecodeError, match="waveforms"):
        check_samples("waveforms", np.frombuffer(file[: len(file) // 4 * 4], np.float32))
