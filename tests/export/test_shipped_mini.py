"""The model that ships means something, and is at hand at once: on sounds that are synthesised here."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

import claprt
from claprt.arrays import Array, Waveform
from claprt_export.synthesis.classes import KINDS, synthesise

RATE = 48_000
SHIPPED = Path(claprt.__file__).parent / "mini"
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def mini() -> claprt.Clap:
    return claprt.load(SHIPPED)


def sounds_of(kinds: Sequence[str], take: str, seconds: float = 4.0) -> list[Waveform]:
    """Sounds whose parameters neither training nor its evaluation draws."""
    return [
        synthesise(kind, np.random.default_rng(zlib.crc32(f"{kind} in the tests, {take}".encode())), seconds)
        for kind in kinds
    ]


def test_it_is_small() -> None:
    checkpoint = Path(claprt.__file__).parents[2] / "export" / "claprt_export" / "mini" / "weights"
    if not checkpoint.is_dir():
        import claprt_export

        checkpoint = Path(claprt_export.__file__).parent / "mini" / "weights"
    files = [*SHIPPED.iterdir(), *checkpoint.iterdir()]
    assert {"mini.pt", "audio.fp32.onnx"} <= {file.name for file in files}
    assert sum(file.stat().st_size for file in files) <= 18 * MEGABYTE


@pytest.mark.slow
def test_every_kind_among_all(mini: claprt.Clap) -> None:
    """67 kinds, chance 0.015; wordings that training used, then wordings that it never saw.

    `test_text_finds_its_sound` has eight of them, in wordings of its own.
    """
    vectors = mini.embed_audio(sounds_of(list(KINDS), "one"), RATE)
    truth = np.arange(len(KINDS))
    for bar, wordings in (
        (0.8, [kind.wordings[0] for kind in KINDS.values()]),
        (0.5, [kind.held_out[0] for kind in KINDS.values()]),
    ):
        texts = mini.embed_text([f"This is a sound of {wording}." for wording in wordings])
        assert ((vectors @ texts.T).argmax(1) == truth).mean() >= bar


FEW = ("wailing siren", "bird chirps", "footsteps", "sine tone", "white noise", "kick drum", "silence", "organ")


@pytest.fixture(scope="module")
def few(mini: claprt.Clap) -> Array:
    """Vectors of a sound of each of these kinds."""
    return mini.embed_audio(sounds_of(FEW, "two"), RATE)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a police siren", "wailing siren"),
        ("birds singing in a tree", "bird chirps"),
        ("someone walking on a hard floor", "footsteps"),
        ("a steady sine tone", "sine tone"),
        ("the hiss of white noise", "white noise"),
        ("a kick drum", "kick drum"),
        ("nothing but silence", "silence"),
    ],
)
def test_text_finds_its_sound(mini: claprt.Clap, few: Array, text: str, kind: str) -> None:
    assert FEW[int((few @ mini.embed_text(text)).argmax())] == kind


def test_like_sounds_are_near(mini: claprt.Clap) -> None:
    kinds = ["wailing siren", "bird chirps", "plucked string", "white noise", "cowbell", "heartbeat"]
    one, other = (mini.embed_audio(sounds_of(kinds, take), RATE) for take in ("three", "four"))
    cosines = one @ other.T
    assert (cosines.argmax(1) == np.arange(len(kinds))).all()


@pytest.mark.parametrize("gain", [0.1, 0.5])
def test_quieter_is_still_the_same(mini: claprt.Clap, gain: float) -> None:
    (sound,) = sounds_of(["wailing siren"], "five")
    assert mini.embed_audio(sound, RATE) @ mini.embed_audio((sound * gain).astype(np.float32), RATE) > 0.8


def test_first_answer_of_a_fresh_process(tmp_path: Path) -> None:
    path = tmp_path / "siren.wav"
    soundfile.write(path, sounds_of(["wailing siren"], "six")[0], RATE)
    done = subprocess.run(
        [sys.executable, "-m", "claprt", "classify", str(path), "--labels", "a siren", "rain", "a kick drum"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.stdout.split("  ")[0] == "a siren"
    assert "using mini, the small model" in done.stderr
