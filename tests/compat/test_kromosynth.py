"""kromosynth's extractor: every method and attribute of the original, and what it says where the original is silent."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.compat.kromosynth import CLAPExtractor, provider_of
from claprt.errors import AudioError, BundleCorruptError, OptionError

RATE = 16_000


class _Device:
    """Prints as `torch.device` does."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


@pytest.fixture(scope="module")
def extractor(bundle: Path) -> CLAPExtractor:
    return CLAPExtractor(str(bundle), device="cpu")


@pytest.fixture(scope="module")
def sound() -> Any:
    return SOUNDS["rain"](RATE, RATE)


def test_attributes(extractor: CLAPExtractor) -> None:
    assert (extractor.device, extractor.target_sample_rate) == ("cpu", 48_000)
    assert extractor.model.recipe.name == "kromosynth"


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("__init__", ["checkpoint_path", "device", "enable_fusion", "amodel"]),
        ("extract_embedding", ["audio_buffer", "sample_rate"]),
        ("extract_batch", ["audio_buffers", "sample_rate"]),
        ("compute_similarity", ["embedding1", "embedding2"]),
        ("compute_distance", ["embedding1", "embedding2"]),
    ],
)
def test_methods_take_what_the_original_takes(method: str, parameters: list[str]) -> None:
    """By position and by name."""
    found = list(inspect.signature(getattr(CLAPExtractor, method)).parameters.values())[1:]
    assert [one.name for one in found if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD] == parameters


def test_the_vector_is_that_of_the_recipe(extractor: CLAPExtractor, bundle: Path, sound: Any) -> None:
    """Which `make parity` holds against the original's own steps on laion-clap."""
    clap = claprt.load(bundle, preprocess="kromosynth")
    vector = extractor.extract_embedding(sound, RATE)
    assert vector.shape == (512,)
    assert vector.dtype == np.float32
    assert np.array_equal(vector, clap.embed_audio(sound, RATE))


def test_levels_do_not_count_and_silence_is_left_alone(extractor: CLAPExtractor, sound: Any) -> None:
    vector = extractor.extract_embedding(sound, RATE)
    assert extractor.compute_similarity(vector, extractor.extract_embedding(sound * 0.01, RATE)) > 0.9999
    assert np.isfinite(extractor.extract_embedding(np.zeros(RATE, np.float32), RATE)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.int16, np.int32])
def test_numbers_of_any_kind(extractor: CLAPExtractor, sound: Any, dtype: Any) -> None:
    scaled = sound if dtype is np.float64 else sound / np.abs(sound).max() * np.iinfo(dtype).max * 0.9
    found = extractor.extract_embedding(scaled.astype(dtype), RATE)
    assert extractor.compute_similarity(found, extractor.extract_embedding(sound, RATE)) > 0.999


def test_channels_and_lists(extractor: CLAPExtractor, sound: Any) -> None:
    both = np.stack([sound, sound * 0.5])
    mono = extractor.extract_embedding(sound, RATE)
    for stereo in (both, both.T):
        assert extractor.compute_similarity(mono, extractor.extract_embedding(stereo, RATE)) > 0.9999
    assert np.allclose(mono, extractor.extract_embedding(sound.tolist(), RATE), atol=1e-5)


def test_batch(extractor: CLAPExtractor, sound: Any) -> None:
    rows = extractor.extract_batch([sound, sound[: RATE // 2]], RATE)
    assert rows.shape == (2, 512)
    assert np.abs(rows[0] - extractor.extract_embedding(sound, RATE)).max() < 1e-6
    assert extractor.extract_batch([], RATE).shape == (0, 512)


def test_similarity_and_distance(extractor: CLAPExtractor) -> None:
    one, other = np.eye(512, dtype=np.float32)[:2]
    assert extractor.compute_similarity(one * 3, one) == 1.0
    assert extractor.compute_similarity(one, -one) == 0.0
    assert extractor.compute_similarity(one, np.zeros(512)) == 0.0
    assert extractor.compute_distance(one, other) == 1.0
    assert isinstance(extractor.compute_distance(one, one), float)
    for wrong in (one[:3], one[None], np.array(["a"])):
        with pytest.raises(OptionError):
            extractor.compute_similarity(one, wrong)


def test_environment(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAP_CHECKPOINT_PATH", str(bundle))
    monkeypatch.setenv("CLAP_DEVICE", "cpu")
    assert CLAPExtractor().model.bundle.path == bundle


def test_a_loaded_model(bundle: Path) -> None:
    clap = claprt.load(bundle, preprocess="kromosynth")
    assert CLAPExtractor(model=clap).model is clap
    with pytest.raises(OptionError, match="another preprocess"):
        CLAPExtractor(model=claprt.load(bundle))


@pytest.mark.parametrize(
    ("provider", "device"),
    [
        ("cpu", "cpu"),
        ("native", "cpu"),
        ("cuda", "cuda"),
        ("tensorrt", "cuda"),
        ("tensorrt-rtx", "cuda"),
        ("triton", "cpu"),
    ],
)
def test_the_device_is_that_of_the_provider(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, provider: str, device: str
) -> None:
    monkeypatch.setattr(claprt.Clap, "provider", provider)
    assert CLAPExtractor(model=claprt.load(bundle, preprocess="kromosynth", lazy=True)).device == device


def test_what_does_not_fit(bundle: Path, fused_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no fused checkpoint"):
        CLAPExtractor(bundle, enable_fusion=True)
    assert CLAPExtractor(fused_bundle, enable_fusion=True, amodel="toy").device == "cpu"
    with pytest.raises(OptionError, match="is of toy"):
        CLAPExtractor(bundle, amodel="HTSAT-tiny")
    (tmp_path / "music.pt").write_bytes(b"weights")
    with pytest.raises(
        BundleCorruptError, match=r"music\.pt, and a file was found there that is neither: it is a text file"
    ):
        CLAPExtractor(tmp_path / "music.pt")
    with pytest.raises(FileNotFoundError):
        CLAPExtractor(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("device", "provider"),
    [
        (None, "auto"),
        ("", "auto"),
        ("cpu", "cpu"),
        ("cpu:0", "cpu"),
        ("cuda", "cuda"),
        ("cuda:0", "cuda"),
        (0, "cuda"),
        (_Device("cuda:0"), "cuda"),
        (_Device("cpu"), "cpu"),
    ],
)
def test_devices_as_torch_names_them(device: object, provider: str) -> None:
    assert provider_of(device) == provider


@pytest.mark.parametrize("device", ["mps", -1, "cuda:x", True, "gpu", 1.5, "cuda:-1"])
def test_devices_that_are_not_known(bundle: Path, device: object) -> None:
    with pytest.raises(OptionError, match="give cpu, cuda"):
        CLAPExtractor(bundle, device=device)


@pytest.mark.parametrize("device", [1, "cuda:1", "cuda:12"])
def test_a_gpu_that_is_not_the_first(bundle: Path, device: object) -> None:
    with pytest.raises(OptionError, match=r"CUDA_VISIBLE_DEVICES=1"):
        CLAPExtractor(bundle, device=device)


def test_what_is_no_array(extractor: CLAPExtractor) -> None:
    for given in ("dog.wav", Path("dog.wav"), b"RIFF"):
        with pytest.raises(AudioError, match=r"takes samples, .*model\.embed_audio\(path\)"):
            extractor.extract_embedding(given, RATE)  # pyright: ignore[reportArgumentType]
    with pytest.raises(AudioError, match="Channels of one length"):
        extractor.extract_embedding([[0.1, 0.2], [0.1]], RATE)


def test_a_broken_sound(extractor: CLAPExtractor) -> None:
    with pytest.raises(AudioError):
        extractor.extract_embedding(np.full(100, np.nan), RATE)
