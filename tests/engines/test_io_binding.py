"""Runs on bound buffers against plain runs, on the CPU, which has the same interface as a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.io_binding import IoBindingRunner


@pytest.mark.parametrize("fused", [False, True])
def test_same_vectors_for_changing_shapes(bundle: Path, fused_bundle: Path, fused: bool) -> None:
    """More shapes than are kept, some of them again, and results that later runs leave alone."""
    found = read_bundle(fused_bundle if fused else bundle)
    facts = found.manifest.graph(Stage.AUDIO, Precision.FP32)
    session = onnxruntime.InferenceSession(found.path / facts.file)
    runs = IoBindingRunner(onnxruntime, session, facts, "cpu", max_shapes=2)
    seed = np.random.default_rng(0)
    kept: list[tuple[Any, Any]] = []
    for rows in (1, 2, 1, 3, 2, 1):
        feeds: dict[str, Any] = {
            "log_mels": seed.normal(-30, 10, (rows, found.manifest.audio.views, 1001, 64)).astype(np.float32)
        }
        if fused:
            feeds["is_longer"] = seed.random((rows, 1)) < 0.5
        plain: Any = session.run(None, feeds)[0]
        kept.append((runs(feeds), plain))
    for ours, plain in kept:
        assert np.array_equal(ours, plain)


def test_text_of_changing_lengths(bundle: Path) -> None:
    found = read_bundle(bundle)
    facts = found.manifest.graph(Stage.TEXT, Precision.FP32)
    session = onnxruntime.InferenceSession(found.path / facts.file)
    runs = IoBindingRunner(onnxruntime, session, facts, "cpu")
    for rows, tokens in ((1, 3), (4, 9), (1, 3), (2, 77)):
        feeds = {"token_ids": np.full((rows, tokens), 5, np.int64), "attention_mask": np.ones((rows, tokens), np.int64)}
        plain: Any = session.run(None, feeds)[0]
        assert np.array_equal(runs(feeds), plain)
