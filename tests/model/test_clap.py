"""`Clap`: the properties that every vector has, whatever the model."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import AudioNotFoundError, NonFiniteAudioError, OptionError, SkippedSourcesWarning
from claprt.model.results import mean_pool

RATE = 48_000
MIXED = [479, 48_000, 480_000, 480_001, 700_000]
LENGTHS = [1, 479, 480, 48_000, 479_999, 480_000, 480_001, 480_479, 480_480, 700_000, 1_500_000]
SAME = 1 - 1e-7


@cache
def _made(samples: int, name: str) -> Any:
    return SOUNDS[name](samples, RATE)


def sound(samples: int, name: str = "rain") -> Any:
    return _made(samples, name).copy()


def cosines(left: Any, right: Any) -> Any:
    left, right = (np.atleast_2d(rows).astype(np.float64) for rows in (left, right))
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("model", ["clap", "fused_clap"])
def test_every_length_gives_a_unit_vector(samples: int, model: str, request: pytest.FixtureRequest) -> None:
    clap: claprt.Clap = request.getfixturevalue(model)
    vector = clap.embed_audio(sound(samples), RATE)
    assert vector.shape == (512,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vector, clap.embed_audio(sound(samples), RATE))


@pytest.mark.parametrize("model", ["clap", "fused_clap"])
@pytest.mark.seconds
def test_single_batched_and_permuted_are_the_same(model: str, request: pytest.FixtureRequest) -> None:
    clap: claprt.Clap = request.getfixturevalue(model)
    sounds = [make(samples, RATE) for make, samples in zip(SOUNDS.values(), MIXED, strict=False)]
    together = clap.embed_audio(sounds, RATE)
    alone = np.stack([clap.embed_audio(one, RATE) for one in sounds])
    order = np.random.default_rng(0).permutation(len(sounds))
    shuffled = clap.embed_audio([sounds[position] for position in order], RATE)
    assert cosines(together, alone).min() > SAME
    assert cosines(together[order], shuffled).min() > SAME


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 9), picks=st.lists(st.sampled_from(LENGTHS[:9]), min_size=1, max_size=6))
@pytest.mark.seconds
def test_batch_size_does_not_matter(bundle: Path, batch: int, picks: list[int]) -> None:
    clap = _with_batch(bundle, batch)
    sounds = [sound(samples, name) for samples, name in zip(picks, SOUNDS, strict=False)]
    expected = np.stack([clap.embed_audio(one, RATE) for one in sounds])
    assert cosines(clap.embed_audio(sounds, RATE), expected).min() > SAME


_LOADED: dict[int, claprt.Clap] = {}


def _with_batch(bundle: Path, batch: int) -> claprt.Clap:
    if batch not in _LOADED:
        _LOADED[batch] = claprt.load(bundle, batch_size=batch, threads=1)
    return _LOADED[batch]


def test_silence_has_a_vector_and_unlike_sounds_have_unlike_ones(clap: claprt.Clap) -> None:
    vectors = clap.embed_audio([sound(RATE, name) for name in ("silence", "tone", "drums")], RATE)
    assert cosines(vectors[0], vectors[1:]).max() < 0.9
    assert cosines(vectors[1], vectors[2])[0] < 0.99


def test_windows_are_given_with_their_starts(bundle: Path) -> None:
    clap = claprt.load(bundle, hop_s=5)
    long = np.concatenate([sound(600_000, "rain"), sound(440_000, "tone")])
    embedded = next(clap.iter_audio([long], RATE))
    assert embedded.starts_s == pytest.approx((0, 5, 10, (1_040_000 - 480_000) / RATE))
    for start, window in zip(embedded.starts_s, embedded.windows, strict=True):
        first = round(start * RATE)
        assert cosines(window, clap.embed_audio(long[first : first + 480_000], RATE)) > SAME
    assert embedded.vector is not None
    assert cosines(embedded.vector, mean_pool(embedded.windows)) > SAME


def test_long_modes_differ_and_take_the_part_they_say(bundle: Path) -> None:
    long = np.concatenate([sound(480_000, name) for name in ("rain", "tone", "drums")])
    middle = long[480_000:960_000]
    plain = claprt.load(bundle)
    for mode, part in (("head", long[:480_000]), ("center", middle)):
        assert cosines(claprt.load(bundle, long=mode).embed_audio(long, RATE), plain.embed_audio(part, RATE)) > SAME
    np.random.seed(4)
    start = np.random.randint(0, long.size - 480_000 + 1)
    drawn = claprt.load(bundle, long="random", seed=4).embed_audio(long, RATE)
    assert cosines(drawn, plain.embed_audio(long[start : start + 480_000], RATE)) > SAME
    thirds = plain.embed_audio([long[:480_000], middle, long[960_000:]], RATE)
    assert cosines(plain.embed_audio(long, RATE), mean_pool(thirds)) > SAME


@pytest.mark.parametrize("mode", ["windows", "center", "head", "random"])
def test_long_modes_leave_short_clips_alone(bundle: Path, mode: str) -> None:
    clap = claprt.load(bundle, long=mode, seed=1 if mode == "random" else None)
    for samples in (100, 480_000):
        expected = claprt.load(bundle).embed_audio(sound(samples), RATE)
        assert np.array_equal(clap.embed_audio(sound(samples), RATE), expected)


def test_fusion_takes_the_path_that_each_clips_own_length_asks_for(fused_bundle: Path) -> None:
    """A long neighbour does not make a short clip longer, nor the other way round."""
    clap = claprt.load(fused_bundle)
    short, long, nearly = sound(100_000, "tone"), sound(900_000), sound(480_479)
    together = clap.embed_audio([short, long, nearly], RATE)
    for row, one in zip(together, (short, long, nearly), strict=True):
        assert cosines(row, clap.embed_audio(one, RATE)) > SAME
    windows = claprt.load(fused_bundle, long="windows")
    assert cosines(windows.embed_audio(short, RATE), together[0]) > SAME
    assert cosines(windows.embed_audio(long, RATE), together[1]) < SAME
    forced = claprt.load(fused_bundle, preprocess="transformers").embed_audio(short, RATE)
    assert cosines(forced, together[0]) < SAME


def test_fusion_seeds(fused_bundle: Path) -> None:
    long = np.concatenate([sound(400_000, name) for name in ("rain", "chirp", "drums")])
    vectors = [claprt.load(fused_bundle, seed=seed).embed_audio(long, RATE) for seed in (None, None, 1, 1, 2)]
    assert np.array_equal(vectors[0], vectors[1])
    assert np.array_equal(vectors[2], vectors[3])
    assert not np.array_equal(vectors[2], vectors[4])


def test_one_source_gives_one_vector_and_a_list_gives_rows(clap: claprt.Clap, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, sound(RATE), RATE, subtype="FLOAT")
    expected = clap.embed_audio(sound(RATE), RATE)
    one: list[Any] = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), np.stack([sound(RATE)] * 2)]
    for source in one:
        assert cosines(clap.embed_audio(source), expected) > SAME
    rows = clap.embed_audio(iter([str(path), sound(RATE), path]))
    assert rows.shape == (3, 512)
    assert clap.embed_audio([]).shape == (0, 512)
    assert clap.embed_text([]).shape == (0, 512)
    assert clap.embed_text("a dog").shape == (512,)
    assert clap.embed_text(text for text in ("a", "b")).shape == (2, 512)


def test_files_are_resampled_and_mixed(clap: claprt.Clap, tmp_path: Path) -> None:
    path = tmp_path / "sound.flac"
    at_16k = SOUNDS["bell"](32_000, 16_000)
    soundfile.write(path, np.stack([at_16k, at_16k], axis=1), 16_000, subtype="PCM_24")
    assert cosines(clap.embed_audio(path), clap.embed_audio(at_16k, 16_000)) > 1 - 1e-5


def test_text_batches(clap: claprt.Clap) -> None:
    texts = [f"sound number {number} " * (number % 7 + 1) for number in range(70)]
    alone = np.stack([clap.embed_text(text) for text in texts])
    assert cosines(clap.embed_text(texts), alone).min() > SAME
    assert cosines(clap.embed_text(texts[::-1])[::-1], alone).min() > SAME


def test_errors_are_raised_or_skipped(clap: claprt.Clap) -> None:
    bad = np.array([0.0, np.nan])
    sources: list[Any] = [sound(RATE), "missing.wav", bad, sound(900_000)]
    with pytest.raises(AudioNotFoundError):
        clap.embed_audio(sources, RATE)
    with pytest.warns(SkippedSourcesWarning, match=r"2 of 4 sources skipped: missing.wav \(.*; array\[2\] \(.*nan"):
        vectors = clap.embed_audio(sources, RATE, on_error="skip")
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, True, False]
    assert cosines(vectors[0], clap.embed_audio(sources[0], RATE)) > SAME
    assert cosines(vectors[3], clap.embed_audio(sources[3], RATE)) > SAME


def test_iter_audio_names_what_failed(clap: claprt.Clap) -> None:
    late = np.concatenate([sound(900_000), [np.inf]]).astype(np.float32)
    embedded = list(clap.iter_audio([late, sound(RATE), "missing.wav"], RATE))
    assert [type(one.error) for one in embedded] == [NonFiniteAudioError, type(None), AudioNotFoundError]
    assert embedded[0].vector is None
    assert embedded[0].windows.shape == (0, 512)
    assert embedded[2].source == "missing.wav"
    assert "AudioNotFoundError" in str(embedded[2].to_dict()["error"])
    assert embedded[1].fingerprint == clap.fingerprint


def test_iter_audio_holds_no_more_than_a_batch(bundle: Path) -> None:
    """Sounds are opened as they are needed, and given as soon as they are done."""
    clap = claprt.load(bundle, batch_size=2)
    opened: list[int] = []

    def sources() -> Any:
        for number in range(6):
            opened.append(number)
            yield sound(1_000)

    stream = clap.iter_audio(sources(), RATE)
    next(stream)
    assert opened == [0, 1]
    assert len(list(stream)) == 5


def test_iter_audio_does_not_wait_for_a_batch_that_never_fills(bundle: Path) -> None:
    """One window waits for others, and none comes: the sources after it are no sounds."""
    clap = claprt.load(bundle, batch_size=3)
    opened: list[int] = []

    def sources() -> Iterator[Any]:
        yield sound(1_000)
        for number in range(1_000):
            opened.append(number)
            yield "missing.wav"

    stream = clap.iter_audio(sources(), RATE)
    first = next(stream)
    assert first.vector is not None
    assert len(opened) == 2 * 3  # with the first one more than twice a batch
    assert cosines(first.vector, clap.embed_audio(sound(1_000), RATE)) > SAME
    assert isinstance(next(stream).error, AudioNotFoundError)


def test_iter_audio_goes_on_after_names_that_fail(clap: claprt.Clap) -> None:
    found = list(clap.iter_audio(iter([sound(RATE), "a" * 5_000, np.zeros((2, 2, 2)), sound(RATE)]), RATE))
    assert [one.error is None for one in found] == [True, False, False, True]
    assert found[1].source == "a" * 5_000
    assert found[2].source == "array[2, 2, 2]"


@pytest.mark.parametrize("model", ["clap", "fused_clap"])
@pytest.mark.parametrize("level", [1e25, 1e38])
@pytest.mark.parametrize("samples", [RATE, 15 * RATE])
def test_levels_beyond_float32_are_refused(
    bundle: Path, fused_bundle: Path, model: str, level: float, samples: int
) -> None:
    """Their power is infinite. LAION's recipe clips them, as it clips everything."""
    path = fused_bundle if model == "fused_clap" else bundle
    loud = sound(samples) / np.abs(sound(samples)).max() * np.float32(level)
    with pytest.raises(NonFiniteAudioError, match="far beyond full scale"):
        claprt.load(path, preprocess="transformers").embed_audio(loud, RATE)
    assert np.isfinite(claprt.load(path).embed_audio(loud, RATE)).all()


def test_unknown_on_error(clap: claprt.Clap) -> None:
    with pytest.raises(OptionError, match="raise or skip"):
        clap.embed_audio([], on_error="ignore")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "fp8"}, "precision='fp8' is not known"),
        ({"preprocess": "librosa"}, "preprocess='librosa' is not known"),
        ({"long": "tail"}, "windows, center, head, random, fusion"),
        ({"long": "fusion"}, "needs a fused checkpoint"),
        ({"long": "random"}, "needs a seed"),
        ({"long": "random", "seed": -1}, "seed=-1"),
        ({"long": "random", "seed": 1.5}, "seed=1.5"),
        ({"long": "center", "seed": 1}, 'no use with long="center"'),
        ({"seed": 1}, 'no use with long="windows"'),
        ({"long": "center", "hop_s": 5}, "hop_s=5 has no use"),
        ({"hop_s": 0}, "hop_s=0 must be more than 0"),
        ({"hop_s": 10.5}, "at most a window of 10 s"),
        ({"hop_s": float("nan")}, "hop_s=nan"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"provider": "gpu"}, "provider='gpu' is not known"),
        *(
            ({name: value}, f"{name}={value!r} is not a whole number")
            for name in ("batch_size", "threads", "seed")
            for value in (1.0, 2.5, "4", True, float("nan"), np.float32(2), [1])
        ),
        ({"batch_size": None}, "batch_size=None is not a whole number"),
        ({"batch_size": -3}, "batch_size=-3"),
        ({"long": "random", "seed": 2**32}, "seed=4294967296"),
        *(({"hop_s": value}, f"hop_s={value!r} is not a number") for value in ("5", True, [5], 5j)),
    ],
)
def test_options_that_cannot_be(bundle: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=re.escape(words)):
        claprt.load(bundle, **options)


@pytest.mark.parametrize("integer", [int, np.int8, np.int64, np.uint16])
def test_integers_of_numpy_are_integers(bundle: Path, integer: Any) -> None:
    clap = claprt.load(bundle, batch_size=integer(3), threads=integer(1), long="random", seed=integer(7))
    assert (type(clap.batch_size), clap.batch_size) == (int, 3)
    assert clap.fingerprint == claprt.load(bundle, long="random", seed=7).fingerprint
    hopping = claprt.load(bundle, hop_s=np.float32(5))  # type: ignore[arg-type]
    assert hopping.fingerprint == claprt.load(bundle, hop_s=5).fingerprint


def test_fingerprints_tell_pipelines_apart(bundle: Path, fused_bundle: Path) -> None:
    made = [
        claprt.load(bundle),
        claprt.load(bundle, preprocess="transformers"),
        claprt.load(bundle, long="center"),
        claprt.load(bundle, hop_s=5),
        claprt.load(bundle, long="random", seed=1),
        claprt.load(bundle, long="random", seed=2),
        claprt.load(fused_bundle),
        claprt.load(fused_bundle, seed=1),
    ]
    assert len({clap.fingerprint for clap in made}) == len(made)
    assert claprt.load(bundle, threads=1, batch_size=3).fingerprint == made[0].fingerprint
    assert made[0].fingerprint.startswith("tiny/laion/windows-10s/fp32/")


_PROGRAM = """
import sys
from tests.model.test_clap import answer
print(answer(sys.argv[1]))
"""


def answer(bundle: str) -> str:
    """Fingerprint and vectors of a fused model, in which chance chooses parts of long sounds."""
    clap = claprt.load(bundle, seed=3)
    vectors = clap.embed_audio([SOUNDS[name](700_000, RATE) for name in ("tone", "rain", "drums")])
    return f"{clap.fingerprint} {vectors.tobytes().hex()}"


@pytest.mark.seconds
def test_every_process_gives_the_same_vectors(fused_bundle: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(fused_bundle)]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    assert there == f"{answer(str(fused_bundle))}\n"


def test_it_says_what_it_is(clap: claprt.Clap) -> None:
    assert repr(clap) == "<Clap tiny fp32 on cpu, untrained>"
    assert (clap.dim, clap.sample_rate, clap.provider) == (512, 48_000, "cpu")
    assert clap.manifest.logit_scale_a == 18.5
