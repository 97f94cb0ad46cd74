"""The mini model on an NVIDIA GPU: vectors, shapes that change, memory, and a close. Skipped where there is no card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import claprt
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.hardware import nvidia_gpus
from claprt.engines.io_binding import IoBindingRunner
from claprt.engines.onnxruntime_session import preload_gpu_libraries

CUDA = "CUDAExecutionProvider"
pytestmark = pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers() or not nvidia_gpus(), reason="needs an NVIDIA GPU: the gpu extra"
)
RATE = 48_000


def sounds(count: int) -> list[Any]:
    seed = np.random.default_rng(count)
    return [seed.normal(0, 0.1, RATE * (1 + index % 3)).astype(np.float32) for index in range(count)]


def test_vectors_are_those_of_the_cpu() -> None:
    """Of sounds and texts, one and many, in one process with the CPU's."""
    cpu, cuda = claprt.load("mini", provider="cpu"), claprt.load("mini", provider="cuda")
    assert cuda.provider == "cuda"
    for count in (1, 3, 9, 3):
        assert np.abs(cuda.embed_audio(sounds(count), RATE) - cpu.embed_audio(sounds(count), RATE)).max() < 1e-5
    texts = ["rain", "a dog barks in a street behind the church", "a bell"]
    assert np.abs(cuda.embed_text(texts) - cpu.embed_text(texts)).max() < 1e-5
    assert np.abs(cuda.embed_text("rain") - cpu.embed_text("rain")).max() < 1e-5


def test_auto_takes_the_card() -> None:
    """Before the CPU, in the precision that is asked for."""
    assert claprt.load("mini", provider="auto", precision="fp32").provider == "cuda"


def test_bound_runs_are_plain_runs(bundle: Path) -> None:
    """Buffers on the card for shapes that change and come again give what the same session gives without them."""
    found = read_bundle(bundle)
    facts = found.manifest.graph(Stage.AUDIO, Precision.FP32)
    preload_gpu_libraries()
    session = onnxruntime.InferenceSession(found.path / facts.file, providers=[(CUDA, {"use_tf32": "0"})])
    runs = IoBindingRunner(onnxruntime, session, facts, "cuda", max_shapes=2)
    seed = np.random.default_rng(0)
    kept: list[tuple[Any, Any]] = []
    for rows in (1, 2, 1, 3, 2, 1):
        feeds: dict[str, Any] = {
            "log_mels": seed.normal(-30, 10, (rows, found.manifest.audio.views, 1001, 64)).astype(np.float32)
        }
        kept.append((runs(feeds), session.run(None, feeds)[0]))
    for ours, plain in kept:
        assert np.abs(ours - plain).max() < 1e-5


def test_a_closed_model_leaves_others_alone() -> None:
    """Two models on one card, one of them closed."""
    first, second = claprt.load("mini", provider="cuda"), claprt.load("mini", provider="cuda")
    (expected,) = first.embed_audio(sounds(1), RATE)
    first.close()
    assert np.abs(second.embed_audio(sounds(1), RATE)[0] - expected).max() < 1e-5
