"""Protocols of scores against the programs that they follow: the same checkpoint, the same files, the same seed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.evaluation.published import find_published
from claprt.evaluation.retrieval import retrieval
from claprt.evaluation.scores.distances.kernel import kernel_distance
from claprt.evaluation.scores.distances.vector_sets import vector_set
from claprt.evaluation.zero_shot import DEFAULT_TEMPLATE

RATES = (48_000, 44_100, 22_050, 32_000)
SEED = 7


def needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: `make parity` installs it into .venv-reference")


def write_sounds(folder: Path, count: int, first: int, *, most_s: float = 14.0) -> list[tuple[Path, str]]:
    """Files of 1.2 to 14 s, mono and stereo, at four rates, with a text each."""
    folder.mkdir()
    made: list[tuple[Path, str]] = []
    names = [name for name in SOUNDS if name != "silence"]  # whose peak stable-audio-metrics divides by
    for number in range(first, first + count):
        name, rate = names[number % len(names)], RATES[number % 4]
        length = int((1.2 + (number * 3.7) % (most_s - 1.2)) * rate)
        samples = SOUNDS[name](length, rate) * (0.3 + 0.07 * (number % 9))
        if number % 3 == 0:
            samples = np.stack([samples, np.roll(samples, 1 + number)], axis=1)
        path = folder / f"{number:03}.wav"
        soundfile.write(path, samples, rate, subtype="FLOAT" if number % 5 == 0 else "PCM_16")
        made.append((path, f"the sound of {name}, number {number}"))
    return made


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    return write_sounds(tmp_path_factory.mktemp("scores") / "pairs", 10, 0)


PROGRAMS = {
    "laion": (),
    "audiocraft": ("julius",),
    "stable-audio-metrics": ("pyloudnorm",),
    "sam-audio": (),
    "frechet-audio-distance": ("frechet_audio_distance",),
}
"""Protocols that score pairs, with the packages that their originals need."""


@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_scores_of_pairs(exports: Any, record: Any, pairs: list[tuple[Path, str]], name: str, *, fused: bool) -> None:
    needs(*PROGRAMS[name])
    from tests.parity import originals

    made = exports.of_laion("HTSAT-tiny", fused=fused)
    module = originals.with_tokenizer(made.reference, made.bundle)
    files, texts = [path for path, _ in pairs], [text for _, text in pairs]
    np.random.seed(SEED)
    if name == "frechet-audio-distance":
        score, _, load = originals.frechet_audio_distance(module)
        audio = score.get_audio_embeddings([load(str(file), 48_000, 1) for file in files], 48_000)
        mean, std = score.calculate_clap_score(score.get_text_embeddings(texts), audio, 10)
    else:
        program: Callable[..., list[float]] = getattr(originals, name.replace("-", "_"))
        scores = program(module, files, texts)
        mean, std = np.mean(scores), np.std(scores)
    with claprt.load(made.bundle) as clap:
        found = claprt.score(pairs, model=clap, protocol=name, seed=SEED)
        other = claprt.score(pairs, model=clap, protocol=name, seed=SEED + 1)
    apart = abs(found.mean - float(mean))
    record(f"CLAP score, protocol {name}, {'fused' if fused else 'unfused'}", "≤ 1e-5", f"{apart:.1e} ({found.mean:.4f})")
    assert apart <= 1e-5
    assert found.std == pytest.approx(float(std), abs=1e-5)
    assert other.mean != found.mean, "nothing was drawn"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sets")
    write_sounds(root / "reference", 14, 0, most_s=6.0)
    write_sounds(root / "candidate", 12, 30, most_s=6.0)
    return root / "reference", root / "candidate"


def test_fadtk(exports: Any, record: Any, folders: tuple[Path, Path]) -> None:
    needs("fadtk")
    from tests.parity import originals

    made = exports.of_laion("HTSAT-tiny")
    toolkit = originals.Toolkit("fadtk", made.reference)
    for folder in folders:
        toolkit.embed(folder)
    expected = originals.fadtk_distance(toolkit, *folders)
    infinite = originals.fadtk_infinite(toolkit, *folders, seed=SEED)
    with claprt.load(made.bundle) as clap:
        found = scored(clap, folders, "fad,fad-inf", "fadtk")
    for what, ours, theirs in (("FAD", found["fad"], expected), ("FAD∞", found["fad_inf"], infinite)):
        apart = abs(ours - theirs) / theirs
        record(f"{what}, protocol fadtk", "≤ 1e-4 relative", f"{apart:.1e} ({ours:.6f})")
        assert apart <= 1e-4


def test_kadtk(exports: Any, record: Any, folders: tuple[Path, Path]) -> None:
    needs("kadtk")
    from tests.parity import originals

    made = exports.of_laion("HTSAT-tiny")
    toolkit = originals.Toolkit("kadtk", made.reference)
    for folder in folders:
        toolkit.embed(folder)
    sets = [originals.kadtk_vectors(folder) for folder in folders]
    same = kernel_distance(
        *(vector_set(rows, [str(number) for number in range(len(rows))]) for rows in sets), bandwidth_of_candidate=True
    ).distance
    # kadtk's default is float32, whose squared distances lose half of their digits to cancellation
    for precision, most in (("float64", 1e-6), ("float32", 1e-4)):
        expected = originals.kadtk_distance(*sets, precision=precision)
        apart = abs(same - expected) / abs(expected)
        record(f"KAD of kadtk's own vectors, which runs in {precision}", f"≤ {most:g} relative", f"{apart:.1e}")
        assert apart <= most
    with claprt.load(made.bundle) as clap:
        found = scored(clap, folders, "kad", "kadtk")
    # vectors are stored as float16: where one is rounded to its other neighbour, vectors of untrained weights, which are
    # all alike, have other distances in the fourth digit
    apart = abs(found["kad"] - expected) / abs(expected)
    record("KAD, protocol kadtk", "≤ 5e-4 relative", f"{apart:.1e} ({found['kad']:.6f})")
    assert apart <= 5e-4


def test_frechet_audio_distance(exports: Any, record: Any, folders: tuple[Path, Path]) -> None:
    needs("frechet_audio_distance")
    from tests.parity import originals

    made = exports.of_laion("HTSAT-tiny")
    _, distance, load = originals.frechet_audio_distance(made.reference)
    np.random.seed(SEED)
    sets = [
        distance.get_embeddings([load(str(file), 48_000, 1) for file in files_of(folder)], 48_000) for folder in folders
    ]
    expected = distance.calculate_frechet_distance(
        *distance.calculate_embd_statistics(sets[0]), *distance.calculate_embd_statistics(sets[1])
    )
    with claprt.load(made.bundle) as clap:
        found = scored(clap, folders, "fad", "frechet-audio-distance")
    apart = abs(found["fad"] - expected) / expected
    record("FAD, protocol frechet-audio-distance", "≤ 1e-4 relative", f"{apart:.1e} ({found['fad']:.6f})")
    assert apart <= 1e-4


def test_retrieval_by_laions_own_code(laion: Any, record: Any) -> None:
    """`evaluate_clotho_audiocaps` of laion-clap, given vectors of sounds with five captions each."""
    from types import SimpleNamespace
    from unittest import mock

    import torch

    laion.import_laion()
    train = importlib.import_module("laion_clap.training.train")
    draw, sounds = np.random.default_rng(3), 40
    audio = draw.normal(size=(sounds, 16)).astype(np.float32)
    text = (np.repeat(audio, 5, axis=0) + 1.5 * draw.normal(size=(5 * sounds, 16))).astype(np.float32)
    audio, text = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (audio, text))

    def model(sound: Any, words: Any, _: Any) -> Any:
        if sound is None and words is None:
            return torch.tensor(10.0), torch.tensor(10.0)
        return torch.from_numpy(audio if words is None else text)

    batch = {"full_text": ["a"] * sounds, "__url__": ["data/set/test/0.tar"] * sounds}
    tokens = {"ids": torch.zeros(5, 1)}
    with mock.patch("laion_clap.training.data.tokenizer", return_value=tokens):
        data, arguments = {"val": SimpleNamespace(dataloader=[batch])}, SimpleNamespace(tmodel="roberta")
        (found,) = train.evaluate_clotho_audiocaps(model, data, 0, arguments, contextlib.nullcontext, "cpu").values()
    cosines, right = text @ audio.T, np.repeat(np.eye(sounds, dtype=bool), 5, axis=0)
    ours = {"text_to_audio": retrieval(cosines, right, "laion"), "audio_to_text": retrieval(cosines.T, right.T, "laion")}
    apart = max(
        abs(found[f"set-test/{way}_{name}"] - value)
        for way, result in ours.items()
        for name, value in [("mAP@10", result.map10), *((f"R@{k}", share) for k, share in result.recall.items())]
    )
    record("retrieval figures, convention laion", "identical", f"{apart:.1e}")
    assert apart < 1e-12
    assert ours["audio_to_text"].map10 != pytest.approx(retrieval(cosines.T, right.T).map10, abs=1e-3)


def test_sentence_of_laions_own_code(laion: Any) -> None:
    """Of its evaluation of any data set, and the default of `claprt evaluate`."""
    package = Path(laion.import_laion().__file__).parent
    program = (package / "evaluate" / "eval_zeroshot_classification.py").read_text(encoding="utf-8")
    for template in (find_published("laion-urbansound8k").template, DEFAULT_TEMPLATE):
        assert f'f"{template.replace("{}", "{t}")}"' in program


def scored(clap: claprt.Clap, folders: tuple[Path, Path], metric: str, protocol: str) -> Any:
    reference, candidate = (files_of(folder) for folder in folders)
    return claprt.score(reference=reference, candidate=candidate, metric=metric, model=clap, protocol=protocol, seed=SEED)


def files_of(folder: Path) -> list[Path]:
    """The sounds of a folder, without what the programs wrote beside them."""
    return sorted(folder.glob("*.wav"))
