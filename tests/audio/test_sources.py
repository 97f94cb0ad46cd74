"""One sound in any shape that other libraries give it, or the sentence that names the right call."""

from __future__ import annotations

import array
import ctypes
import io
import os
import re
import warnings
import zipfile
from collections import UserDict, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.sound import is_one_source, source_name
from claprt.audio.sources import resolve_source, split_sources
from claprt.audio.synthetic import SOUNDS
from claprt.errors import (
    AudioDecodeError,
    AudioError,
    AudioShapeError,
    AudioTypeError,
    EmptyAudioError,
    OptionError,
    SampleRateError,
)

RATE = 16_000
SOUND = (0.5 * SOUNDS["rain"](RATE, RATE) + 0.4 * SOUNDS["bell"](RATE, RATE)).astype(np.float32)
SHORT = (SOUND * 32767).astype(np.int16)
BOTH = np.stack([SOUND, SOUND])


def wav(samples: Any = SOUND, subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype=subtype)
    return file.getvalue()


@pytest.fixture(scope="module")
def expected(clap: claprt.Clap) -> Any:
    return clap.embed_audio(SOUND, RATE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a.wav, which is the sound, and b.wav, which is another."""
    (tmp_path / "a.wav").write_bytes(wav())
    (tmp_path / "b.wav").write_bytes(wav(SOUNDS["rain"](RATE, RATE)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class OnDevice:
    """What a tensor on a GPU does."""

    shape = SOUND.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor first")

    def detach(self) -> OnDevice:
        return self

    def cpu(self) -> Any:
        return SOUND


class Exporting:
    """What has nothing but dlpack."""

    def __dlpack__(self, **options: Any) -> Any:
        return SOUND.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return SOUND.__dlpack_device__()


class Decoder:
    """What torchcodec's AudioDecoder does, which datasets gives for a row's sound."""

    def __init__(self, found: Any = None, error: Exception | None = None) -> None:
        self.found, self.error = found, error

    def get_all_samples(self) -> Any:
        if self.error is not None:
            raise self.error
        return SimpleNamespace(data=BOTH, sample_rate=RATE, pts_seconds=0.0) if self.found is None else self.found

    def __getitem__(self, key: str) -> Any:
        raise AssertionError("an iteration would end here")


class Segment:
    """What pydub's AudioSegment does: it can be iterated over, in milliseconds."""

    frame_rate, channels = RATE, 2

    def __init__(self, width: int = 2) -> None:
        self.sample_width = width

    def get_array_of_samples(self) -> Any:
        wide = (SOUND.astype(np.float64) * (2.0 ** (8 * self.sample_width - 1) - 1)).astype(np.int64)
        return array.array({1: "b", 2: "h", 4: "i"}[self.sample_width], np.repeat(wide, 2).tolist())

    def __iter__(self) -> Any:
        raise AssertionError("it was taken for a list")


# one sound


PLAIN: dict[str, Any] = {
    "datasets": {"array": SOUND, "sampling_rate": RATE, "path": None},
    "datasets, with a path that is not here": {"array": SOUND, "sampling_rate": RATE, "path": "elsewhere.wav"},
    "datasets, of JSON": {"array": SOUND.tolist(), "sampling_rate": RATE},
    "datasets, rate as an array": {"array": SOUND, "sampling_rate": np.array(RATE)},
    "undecoded": {"bytes": wav(), "path": "elsewhere.wav"},
    "transformers' pipelines": {"raw": SOUND, "sampling_rate": RATE},
    "text to speech": {"audio": SOUND[None], "sampling_rate": RATE},
    "ComfyUI": {"waveform": BOTH[None], "sample_rate": RATE},
    "pyannote": {"waveform": BOTH, "sample_rate": RATE},
    "another mapping": UserDict({"array": SOUND, "sampling_rate": RATE}),
    "librosa": (SOUND, RATE),
    "soundfile": (BOTH.T, RATE),
    "scipy": (RATE, SHORT),
    "gradio": (RATE, SHORT.copy()),
    "librosa, rate of numpy": (SOUND, np.int64(RATE)),
    "rate as a float": (SOUND, float(RATE)),
    "list and rate": (SOUND.tolist(), RATE),
    "AudioSamples": SimpleNamespace(data=BOTH, sample_rate=RATE),
    "AudioDecoder": Decoder(),
    "pydub": Segment(),
    "pydub, 32 bits": Segment(4),
    "bytes": wav(),
    "bytes of numpy": np.bytes_(wav()),
    "array of bytes": array.array("B", wav()),
    "memory of bytes": memoryview(wav()),
    "every second byte": memoryview(np.repeat(np.frombuffer(wav(), np.uint8), 2).tobytes())[::2],
    "0-d": np.array({"array": SOUND, "sampling_rate": RATE}, object),
}


@pytest.mark.parametrize("name", list(PLAIN))
def test_one_sound_that_states_its_rate(clap: claprt.Clap, expected: Any, name: str) -> None:
    source = PLAIN[name]
    assert is_one_source(source)
    assert clap.embed_audio(source) @ expected > 0.9999
    assert clap.embed_audio([source, source]).shape == (2, 512)
    (alone,) = clap.iter_audio(source)
    assert alone.error is None


SAMPLES: dict[str, Any] = {
    "list": SOUND.tolist(),
    "tuple": tuple(SOUND.tolist()),
    "deque": deque(SOUND.tolist()),
    "list of numpy's numbers": list(SOUND),
    "array of floats": array.array("f", SOUND.tolist()),
    "array of doubles": array.array("d", SOUND.tolist()),
    "array of shorts": array.array("h", SHORT.tolist()),
    "memory of floats": memoryview(SOUND.data),
    "memory of shorts": memoryview(SHORT.data),
    "memory with gaps": memoryview(np.repeat(SOUND, 2).data)[::2],
    "ctypes": (ctypes.c_float * len(SOUND))(*SOUND.tolist()),
    "objects": SOUND.astype(object),
    "on a device": OnDevice(),
    "dlpack": Exporting(),
    "read-only": np.frombuffer(SOUND.tobytes(), np.float32),
}


@pytest.mark.parametrize("name", list(SAMPLES))
def test_samples_of_any_kind(clap: claprt.Clap, expected: Any, name: str) -> None:
    assert is_one_source(SAMPLES[name])
    vector = clap.embed_audio(SAMPLES[name], RATE)
    assert vector.shape == (512,)
    assert vector @ expected > 0.9999
    assert np.array_equal(clap.embed_audio([SAMPLES[name]], RATE)[0], vector)


@pytest.mark.seconds
def test_paths_of_any_kind(clap: claprt.Clap, expected: Any, folder: Path) -> None:
    with zipfile.ZipFile("archive.zip", "w") as archive:
        archive.write("a.wav")
        entries = [entry for where in (".", b".") for entry in os.scandir(where) if os.fsdecode(entry.name) == "a.wav"]
        one = [np.str_("a.wav"), np.array("a.wav"), Path("a.wav"), *entries, {"path": "a.wav"}, {"path": Path("a.wav")}]
        one += [{"bytes": None, "path": "a.wav"}, zipfile.Path(archive, "a.wav")]
        for source in one:
            assert is_one_source(source)
            assert clap.embed_audio(source) @ expected > 0.9999, source
    assert type(source_name(np.str_("a.wav"))) is str


def test_collections_of_paths(clap: claprt.Clap, folder: Path) -> None:
    rows = clap.embed_audio(["a.wav", "b.wav"])
    names = {"a.wav": 1, "b.wav": 2}
    kinds: list[Any] = [
        ("a.wav", "b.wav"), deque(["a.wav", "b.wav"]), np.array(["a.wav", "b.wav"]), iter(["a.wav", "b.wav"]),
        np.array(["a.wav", Path("b.wav")], object), names.keys(), names, (name for name in names),
    ]  # fmt: skip
    for kind in kinds[:-2]:
        assert not is_one_source(kind)
        assert np.allclose(clap.embed_audio(kind), rows, atol=1e-6)
    assert clap.embed_audio({"a.wav"}).shape == (1, 512)
    assert clap.embed_audio(np.array([], object)).shape == (0, 512)


def test_columns_of_tables(clap: claprt.Clap, folder: Path, expected: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    rows = clap.embed_audio(["a.wav", "b.wav"])
    table = pandas.DataFrame({"path": ["a.wav", "b.wav"], "level": [1.0, 2.0]}, index=[7, 9])
    for column in (
        table["path"],
        table.set_index("path").index,
        table["path"].astype("category"),
        table["path"].astype(object),
    ):
        assert np.allclose(clap.embed_audio(column), rows, atol=1e-6)
    assert clap.embed_audio(pandas.Series([{"bytes": wav(), "path": None}])).shape == (1, 512)
    assert clap.embed_audio(pandas.Series([], dtype=object)).shape == (0, 512)
    assert clap.embed_audio(pandas.Series(SOUND), RATE) @ expected > 0.9999
    assert clap.embed_audio(pandas.Series(SOUND.tolist(), dtype=object), RATE) @ expected > 0.9999
    with pytest.raises(AudioShapeError, match=re.escape('table["path"]')):
        clap.embed_audio(table)
    for missing in (None, float("nan"), pandas.NA):
        with pytest.raises(AudioTypeError, match="missing values"):
            clap.embed_audio(pandas.Series(["a.wav", missing], dtype=object))
    assert clap.embed_text(table["path"]).shape == clap.embed_labels(table["path"]).shape == (2, 512)
    with pytest.raises(TypeError, match="missing values"):
        clap.embed_text(pandas.Series(["a", pandas.NA], dtype=object))


def test_the_friendly_functions_take_the_same(clap: claprt.Clap, expected: Any) -> None:
    row = {"array": SOUND, "sampling_rate": RATE}
    other: Any = (RATE, SHORT)
    assert claprt.embed(row, model=clap).to_numpy().shape == (1, 512)
    assert claprt.embed([row, other], model=clap).to_numpy().shape == (2, 512)
    assert claprt.similarity(row, other, model=clap) == pytest.approx(1, abs=1e-4)
    assert np.asarray(claprt.similarity([row, other], [other], model=clap)).shape == (2, 1)
    for one in (row, other):
        assert isinstance(claprt.classify(one, labels=["a", "b"], model=clap), claprt.Classification)
        assert isinstance(claprt.tag(one, tags=["a", "b"], model=clap), claprt.Tagging)
    assert isinstance(claprt.classify([row, other], labels=["a", "b"], model=clap), list)
    with pytest.raises(OptionError, match="two sounds, or two lists"):
        claprt.similarity(row, [row], model=clap)


# one or several


@pytest.mark.parametrize(
    "sources", [[], (), [SOUND], (SOUND, SOUND), ["a", "b"], {"a"}, iter("ab"), {"a": 1}.values(), [[1.0]]]
)
def test_several(sources: Any) -> None:
    assert not is_one_source(sources)


def test_whether_it_is_one_is_told_from_the_first_element() -> None:
    class Once(list[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("it was iterated over")

    assert not is_one_source(Once(["a"] * 10))
    assert is_one_source(Once([0.5] * 10))
    taken = iter(["a", "b"])
    assert split_sources(taken) == (False, taken)
    assert next(taken) == "a"


# rates


def test_a_stated_rate_counts_and_another_is_an_error(clap: claprt.Clap, expected: Any) -> None:
    for source in ({"array": SOUND, "sampling_rate": RATE}, (SOUND, RATE), (RATE, SOUND), Segment(), Decoder()):
        assert clap.embed_audio(source, RATE) @ expected > 0.9999  # type: ignore[arg-type]
        with pytest.raises(SampleRateError, match="16000 Hz itself, and sample_rate=8000"):
            clap.embed_audio(source, 8_000)  # type: ignore[arg-type]
    assert clap.embed_audio({"bytes": wav(), "path": None}, 8_000) @ expected > 0.9999  # files state theirs


@pytest.mark.parametrize("rate", [0, -1, 44_100.5, float("nan"), 10**7])
def test_stated_rates_that_cannot_be(clap: claprt.Clap, rate: Any) -> None:
    for source in ((SOUND, rate), {"array": SOUND, "sampling_rate": rate}):
        with pytest.raises(SampleRateError, match="states"):
            clap.embed_audio(source)
    with pytest.raises(SampleRateError, match="states '48000'"):
        clap.embed_audio({"array": SOUND, "sampling_rate": "48000"})


# sentences


class Answer:
    status_code, content = 200, b"RIFF"

    def __iter__(self) -> Any:
        return iter([b"RI", b"FF"])


class Upload:
    file = io.BytesIO(wav())

    async def read(self) -> bytes:
        return wav()


async def coming() -> bytes:
    return wav()


async def streaming() -> Any:
    yield wav()


def letters() -> Any:
    kind: Any = array.array
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return kind("u", "abc")


REFUSED: dict[str, tuple[Any, type[AudioError], str]] = {
    "row of a dataset": ({"audio": {"array": SOUND, "sampling_rate": RATE}, "label": 3}, AudioTypeError, r"row\['audio'\]"),
    "row, undecoded": ({"sound": {"bytes": wav(), "path": None}}, AudioTypeError, r"row\['sound'\]"),
    "row, decoder": ({"audio": Decoder(), "label": 3}, AudioTypeError, r"row\['audio'\]"),
    "row, path": ({"audio": "a.wav", "label": 3}, AudioTypeError, r"row\['audio'\]"),
    "rows": ({"audio": [{"array": SOUND, "sampling_rate": RATE}], "label": [3]}, AudioTypeError, r"row\['audio'\]"),
    "nothing in it": ({"bytes": None, "path": None}, AudioTypeError, "both None"),
    "no keys": ({}, AudioTypeError, "no keys"),
    "other keys": ({"a.wav": SOUND}, AudioTypeError, r"'a.wav'.*list\(sounds.values\(\)\)"),
    "path as samples": ({"array": "a.wav", "sampling_rate": RATE}, AudioTypeError, "'array' is str; samples are an array"),
    "number as path": ({"path": 3}, AudioTypeError, "'path' is int"),
    "batch of ComfyUI": ({"waveform": np.zeros((2, 1, 9)), "sample_rate": RATE}, AudioShapeError, "holds 2 sounds"),
    "ragged": ({"array": [[0.1, 0.2], [0.3]], "sampling_rate": RATE}, AudioShapeError, "rows have 2, 1 elements"),
    "empty": ({"array": [], "sampling_rate": RATE}, EmptyAudioError, "no samples"),
    "path and rate": (("a.wav", RATE), AudioTypeError, "str and 16000.*pass it alone"),
    "raw and rate": ((b"1234", RATE), AudioTypeError, "numpy.frombuffer"),
    "rate in a list": ([SOUND, RATE], AudioTypeError, r"embed_audio\(samples, sample_rate=16000\)"),
    "a number": (RATE, AudioTypeError, r"sample_rate=16000"),
    "one number": (np.float32(0.5), AudioShapeError, "0 axes"),
    "None": (None, AudioTypeError, "missing values"),
    "None in a list": ([None], AudioTypeError, "missing values"),
    "None among numbers": ([0.5, None], AudioTypeError, "something else than real numbers"),
    "list in a list": ([["a.wav", "b.wav"]], AudioTypeError, "one flat list"),
    "path among numbers": ([0.5, "a.wav"], AudioTypeError, "one flat list"),
    "complex numbers": ([1 + 2j], AudioTypeError, "real numbers"),
    "3 axes": (np.zeros((1, 2, 9)), AudioShapeError, r"3 axes.*list\(batch\).*batch\[0\]"),
    "fields": (np.zeros(9, [("l", "f4"), ("r", "f4")]), AudioShapeError, "numpy.stack"),
    "dates": (np.zeros(9, "M8[s]"), AudioShapeError, "real numbers"),
    "array of paths in a list": ([np.array(["a.wav"])], AudioShapeError, "pass the array itself"),
    "file in an array": (np.frombuffer(wav(), np.uint8), AudioTypeError, r"array.tobytes\(\)"),
    "upload": (Upload(), AudioTypeError, r"await file.read\(\)\), or its .file"),
    "stream": (streaming(), AudioTypeError, "asynchronously"),
    "answer": (Answer(), AudioTypeError, r"\.content"),
    "decoder that cannot": (Decoder(error=RuntimeError("no stream")), AudioDecodeError, "no stream"),
    "decoder of something else": (Decoder(found=3), AudioTypeError, "gives int"),
    "masked": (np.ma.masked_array(np.ones(9), mask=np.arange(9) == 0), AudioTypeError, r"\.filled\(0\)"),
    "letters": (letters(), AudioShapeError, "real numbers"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_sentences(clap: claprt.Clap, name: str) -> None:
    source, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        clap.embed_audio(source)
    if not isinstance(source, list | int | np.generic):  # a list of numbers is one sound
        (alone,) = clap.iter_audio([source])
        assert type(alone.error) is error


def test_a_coroutine(clap: claprt.Clap) -> None:
    waiting: Any = coming()
    with pytest.raises(AudioTypeError, match="await it first"):
        clap.embed_audio(waiting)
    waiting.close()


def test_a_file_of_samples(clap: claprt.Clap, folder: Path) -> None:
    with soundfile.SoundFile("a.wav") as file, pytest.raises(AudioTypeError, match=r"file.samplerate"):
        clap.embed_audio(file)  # type: ignore[arg-type]


def test_a_long_list_is_not_written_out() -> None:
    with pytest.raises(AudioTypeError) as caught:
        resolve_source([0.5] * 100_000 + [None])  # type: ignore[list-item]
    assert len(str(caught.value)) < 300


def test_names() -> None:
    named: list[tuple[Any, str]] = [
        ({"array": SOUND, "path": "a/b.wav"}, "a/b.wav"),
        ({"array": SOUND, "path": None}, "array[16000]"),
        ({"bytes": b"1234", "path": None}, "bytes[4]"),
        ({}, "dictionary"),
        ((SOUND, RATE), "array[16000]"),
        ((RATE, SOUND), "array[16000]"),
        ([0.5, 0.5], "list[2]"),
        (OnDevice(), "array[16000]"),
    ]
    for source, name in named:
        assert source_name(source) == name


# the cache


def test_the_same_content_is_found_again_in_any_wrapping(bundle: Path, folder: Path) -> None:
    clap = claprt.load(bundle, cache=True)
    expected = clap.embed_audio(SOUND, RATE)
    assert clap.cache is not None
    for same in ({"array": SOUND, "sampling_rate": RATE}, (SOUND, RATE), memoryview(SOUND.data), OnDevice()):
        before = clap.cache.hits
        rate = None if isinstance(same, dict | tuple) else RATE
        assert np.array_equal(clap.embed_audio(same, rate), expected)  # type: ignore[arg-type]
        assert clap.cache.hits == before + 1
    with pytest.raises(SampleRateError, match="itself"):  # and is not a hit
        clap.embed_audio((SOUND, RATE), 8_000)
    assert not np.array_equal(clap.embed_audio((SOUND, 2 * RATE)), expected)
    clap.embed_audio({"bytes": wav(), "path": None})
    before = clap.cache.hits
    clap.embed_audio([wav(), {"bytes": wav(), "path": "x"}, {"bytes": None, "path": "a.wav"}])
    assert clap.cache.hits == before + 2
    for source in (None, {}):
        with pytest.raises(AudioTypeError):
            clap.embed_audio([source])  # type: ignore[list-item]


def test_wide_integers_of_an_earlier_release_are_not_found(bundle: Path) -> None:
    """It took them by the full scale of their dtype, and kept the vector of silence."""
    from claprt.model.embedding_cache import content_digest

    clap = claprt.load(bundle, cache=True)
    recall: Any = clap.embedding_cache
    for dtype in (np.int32, np.int64, np.uint32):
        wide = SHORT.astype(dtype)
        old = recall._key(f"array {wide.dtype.str} {wide.shape} {RATE!r}", content_digest(wide.view(np.uint8).data))
        assert recall.key(wide, RATE, 48_000) != old
    same = recall._key(f"array <i2 (16000,) {RATE!r}", content_digest(SHORT.view(np.uint8).data))
    assert recall.key(SHORT, RATE, 48_000) == same


def test_an_object_whose_shape_cannot_be_asked_for(clap: claprt.Clap) -> None:
    """As nested tensors of torch."""

    class Nested:
        @property
        def shape(self) -> tuple[int, ...]:
            raise NotImplementedError("no sizes")

        def __array__(self) -> Any:
            raise RuntimeError("no sizes")

    with pytest.raises(AudioTypeError, match="Nested could not be taken as an array: no sizes"):
        clap.embed_audio([Nested()])  # type: ignore[list-item]
