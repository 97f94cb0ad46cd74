"""Files of every kind with bytes changed, cut out, put in and swapped: decoded, or refused in a sentence of ours."""

from __future__ import annotations

import gc
import io
import sys
import warnings

import numpy as np
import pytest
import soundfile

from claprt.audio.sound import open_sound
from claprt.errors import AudioError, UnfinishedHeaderWarning

NOISE = np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32)
KINDS = [
    ("WAV", "PCM_16"), ("WAV", "MS_ADPCM"), ("WAVEX", "FLOAT"), ("RF64", "PCM_24"), ("W64", "PCM_16"), ("AIFF", "PCM_16"),
    ("AIFF", "IMA_ADPCM"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("SVX", "PCM_16"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("NIST", "PCM_16"), ("VOC", "PCM_16"), ("AVR", "PCM_16"),
    ("MAT4", "FLOAT"), ("MAT5", "FLOAT"), ("MPC2K", "PCM_16"), ("SDS", "PCM_16"), ("IRCAM", "PCM_16"), ("PVF", "PCM_16"),
    ("PAF", "PCM_16"), ("XI", "DPCM_16"), ("HTK", "PCM_16"), ("WVE", "ALAW"),
]  # fmt: skip


def encoded(form: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, NOISE, 48_000 if subtype == "OPUS" else 44_100, format=form, subtype=subtype)
    return file.getvalue()


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    new = bytearray(content)
    where = int(random.integers(120 if random.random() < 0.6 else len(new)))
    match int(random.integers(6)):
        case 0:
            new[where] = int(random.integers(256))
        case 1:
            new[where : where + 4] = random.bytes(4)
        case 2:
            new[where : where + 4] = bytes([int(random.choice([0, 0x7F, 0x80, 0xFF]))] * 4)
        case 3:
            del new[where : where + int(random.integers(1, 400))]
        case 4:
            new[where:where] = random.bytes(int(random.integers(1, 400)))
        case _:
            for at in random.integers(len(new), size=len(new) // 200 + 1):
                new[at] = int(random.integers(256))
    return bytes(new)


def outcome(source: bytes | io.BytesIO) -> tuple[int, str]:
    """Samples, or the kind of refusal. Anything else is raised."""
    total = 0
    try:
        for block in open_sound(source, None, 48_000).blocks:
            assert np.isfinite(block).all()
            total += len(block)
    except AudioError as error:
        return 0, type(error).__name__
    return total, ""


@pytest.mark.parametrize(("form", "subtype"), KINDS)
def test_whatever_is_changed(form: str, subtype: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = encoded(form, subtype)
    random = np.random.default_rng(sum(map(ord, form + subtype)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UnfinishedHeaderWarning)
        for _ in range(60):
            changed = mutated(content, random)
            assert outcome(changed) == outcome(io.BytesIO(changed))
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err) < 2_000  # libmpg123 may have a word for a damaged frame, and no more


@pytest.mark.parametrize(("form", "subtype"), KINDS)
def test_what_was_read_is_let_go_of(form: str, subtype: str) -> None:
    """At once, without a collection of garbage: files may have 64 MB, and that counts objects."""
    whole = encoded(form, subtype)
    random = np.random.default_rng(2)
    sources = [whole, whole[: len(whole) // 2], whole[:50] + bytes(3000), *(mutated(whole, random) for _ in range(10))]
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnfinishedHeaderWarning)
            for source in sources:
                before = sys.getrefcount(source)
                outcome(source)
                assert sys.getrefcount(source) == before
    finally:
        gc.enable()
