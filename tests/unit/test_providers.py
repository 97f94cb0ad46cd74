"""The choice of a provider, from facts about machines that need not be this one."""

from __future__ import annotations

from pathlib import Path

import pytest

import claprt
from claprt import providers
from claprt.bundle import read_bundle
from claprt.errors import OptionError, ProviderUnavailableError
from claprt.manifest import Precision, Stage
from claprt.providers import Machine, Provider, choose, default_threads, tensorrt_profiles

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
PLAIN = Machine(providers=frozenset({CPU}), nvidia_gpus=0)
GPU = Machine(providers=frozenset({CPU, CUDA, TENSORRT}), nvidia_gpus=1)
OPENVINO = Machine(providers=frozenset({CPU, "OpenVINOExecutionProvider"}), nvidia_gpus=0)
NO_DRIVER = Machine(providers=frozenset({CPU, CUDA, TENSORRT}), nvidia_gpus=0)


@pytest.mark.parametrize(("machine", "expected"), [(PLAIN, "cpu"), (GPU, "cuda"), (NO_DRIVER, "cpu")])
def test_auto(machine: Machine, expected: str) -> None:
    assert choose("auto", machine, fallback=False).provider == expected


@pytest.mark.parametrize("asked", ["cpu", "cuda", "tensorrt"])
def test_what_was_asked_for(asked: str) -> None:
    choice = choose(asked, GPU, fallback=False)
    assert choice.provider == asked
    assert choice.reason == "asked for"


@pytest.mark.parametrize(
    ("asked", "machine", "words"),
    [
        ("cuda", PLAIN, r"no CUDAExecutionProvider .*pip install 'claprt\[gpu\]'"),
        ("tensorrt", PLAIN, "no TensorrtExecutionProvider"),
        ("cuda", NO_DRIVER, "no NVIDIA GPU with a driver"),
        ("tensorrt", NO_DRIVER, "no NVIDIA GPU with a driver"),
        ("openvino", GPU, "openvino.* does not run on it yet"),
        ("openvino", OPENVINO, "openvino.* does not run on it yet"),
    ],
)
def test_what_cannot_be_had(asked: str, machine: Machine, words: str) -> None:
    with pytest.raises(ProviderUnavailableError, match=words):
        choose(asked, machine, fallback=False)
    fallen = choose(asked, machine, fallback=True)
    assert fallen.provider is Provider.CPU
    assert "fallback" in fallen.reason


def test_nothing_can_be_had() -> None:
    nothing = Machine(providers=frozenset(), nvidia_gpus=0)
    for asked in ("auto", "cpu"):
        with pytest.raises(ProviderUnavailableError, match="it has none"):
            choose(asked, nothing, fallback=True)


def test_unknown_provider() -> None:
    with pytest.raises(OptionError, match="auto or one of cpu, cuda, tensorrt, openvino"):
        choose("gpu", GPU, fallback=True)


def test_no_cuda_on_this_machine(bundle: Path) -> None:
    if providers.nvidia_gpus():
        pytest.skip("has a GPU")
    with pytest.raises(ProviderUnavailableError, match="cuda"):
        claprt.load(bundle, provider="cuda")
    clap = claprt.load(bundle, provider="cuda", fallback=True)
    assert clap.provider == "cpu"


def test_tensorrt_profiles(bundle: Path, fused_bundle: Path) -> None:
    tokens = (3, 16, 77)
    audio = read_bundle(fused_bundle).manifest.graph(Stage.AUDIO, Precision.FP32)
    assert tensorrt_profiles(audio, max_batch=8, tokens=tokens) == {
        "trt_profile_min_shapes": "log_mels:1x4x1001x64,is_longer:1x1",
        "trt_profile_opt_shapes": "log_mels:4x4x1001x64,is_longer:4x1",
        "trt_profile_max_shapes": "log_mels:8x4x1001x64,is_longer:8x1",
    }
    text = read_bundle(bundle).manifest.graph(Stage.TEXT, Precision.FP32)
    found = tensorrt_profiles(text, max_batch=1, tokens=tokens)
    assert found["trt_profile_max_shapes"] == "token_ids:1x77,attention_mask:1x77"


def test_threads_respect_a_containers_quota(tmp_path: Path) -> None:
    assert default_threads() >= 1
    for content, expected in (("150000 100000", 2), ("50000 100000", 1), ("max 100000", 1 << 20), ("nonsense", 1 << 20)):
        (tmp_path / "cpu.max").write_text(content)
        assert providers._quota(tmp_path) == expected  # pyright: ignore[reportPrivateUsage]
    assert providers._quota(tmp_path / "none") == 1 << 20  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("threads", [0, -1, 5_000])
def test_impossible_threads(bundle: Path, threads: int) -> None:
    with pytest.raises(OptionError, match="give 1 to"):
        claprt.load(bundle, threads=threads)
