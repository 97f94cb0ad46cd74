"""Runs on bound buffers against plain runs, on the CPU, which has the same interface as a GPU."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines import io_binding as bound
from claprt.engines.graph_cache import GraphCache
from claprt.engines.io_binding import BoundRuns, cuda_graphs_wanted, recorded, tensorrt_cache


@pytest.mark.parametrize("fused", [False, True])
def test_same_vectors_for_changing_shapes(
    bundle: Path, fused_bundle: Path, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More shapes than are kept, some of them again, and results that later runs leave alone."""
    monkeypatch.setattr(bound, "_KEPT", 2)
    found = read_bundle(fused_bundle if fused else bundle)
    facts = found.manifest.graph(Stage.AUDIO, Precision.FP32)
    session = onnxruntime.InferenceSession(found.path / facts.file)
    runs = BoundRuns(onnxruntime, session, facts, "cpu")
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
    runs = BoundRuns(onnxruntime, session, facts, "cpu")
    for rows, tokens in ((1, 3), (4, 9), (1, 3), (2, 77)):
        feeds = {"token_ids": np.full((rows, tokens), 5, np.int64), "attention_mask": np.ones((rows, tokens), np.int64)}
        plain: Any = session.run(None, feeds)[0]
        assert np.array_equal(runs(feeds), plain)


@pytest.mark.parametrize(("value", "wanted"), [(None, False), ("0", False), ("", False), ("1", True)])
def test_cuda_graphs_are_asked_for(monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: bool) -> None:
    monkeypatch.delenv("CLAPRT_CUDA_GRAPHS", raising=False)
    if value is not None:
        monkeypatch.setenv("CLAPRT_CUDA_GRAPHS", value)
    assert cuda_graphs_wanted() is wanted


class _Watched:
    """A session that notes which recording each run is, and in which thread it is computed."""

    def __init__(self, path: Path) -> None:
        self._session = onnxruntime.InferenceSession(path)
        self.numbers: list[str] = []
        self.threads: set[int] = set()

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.numbers.append(options.get_run_config_entry("gpu_graph_id"))
        self.threads.add(threading.get_ident())
        self._session.run_with_iobinding(binding, options)


def test_recordings(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a number, no more are made than are kept, and one thread runs them, whoever asks."""
    monkeypatch.setattr(bound, "_RECORDED", 2)
    monkeypatch.setattr(bound, "_KEPT", 1)
    found = read_bundle(bundle)
    facts = found.manifest.graph(Stage.AUDIO, Precision.FP32)
    plain = onnxruntime.InferenceSession(found.path / facts.file)
    watched = _Watched(found.path / facts.file)
    runs = BoundRuns(onnxruntime, watched, facts, "cpu", graphs=True)
    feeds = [
        {"log_mels": np.random.default_rng(rows).normal(-30, 10, (rows, 1, 1001, 64)).astype(np.float32)}
        for rows in (1, 2, 3, 4, 3, 1, 2)
    ]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(runs, feeds[:1])) + [runs(fed) for fed in feeds[1:4]] + list(pool.map(runs, feeds[4:]))
    for fed, answer in zip(feeds, answers, strict=True):
        assert np.array_equal(answer, np.asarray(plain.run(None, fed)[0]))
    assert watched.numbers[:4] == ["1", "2", "-1", "-1"]
    assert sorted(watched.numbers[4:]) == ["-1", "1", "2"]  # which came in any order
    assert len(watched.threads) == 1
    assert threading.get_ident() not in watched.threads


def test_only_the_batch_may_change(bundle: Path, fused_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text tower would be recorded anew for every length of a text."""
    graphs = [
        read_bundle(folder).manifest.graph(stage, Precision.FP32)
        for folder, stage in ((bundle, Stage.AUDIO), (fused_bundle, Stage.AUDIO), (bundle, Stage.TEXT))
    ]
    monkeypatch.delenv("CLAPRT_CUDA_GRAPHS", raising=False)
    assert [recorded(facts) for facts in graphs] == [False, False, False]
    monkeypatch.setenv("CLAPRT_CUDA_GRAPHS", "1")
    assert [recorded(facts) for facts in graphs] == [True, True, False]


def test_engines_of_tensorrt_are_kept(bundle: Path, tmp_path: Path) -> None:
    """In a folder for each graph's weights, of which onnxruntime's own names of engines know nothing."""
    facts = read_bundle(bundle).manifest.graph(Stage.AUDIO, Precision.FP32)
    profiles = {"trt_profile_max_shapes": "log_mels:64x1x1001x64"}
    options = tensorrt_cache(GraphCache(tmp_path), facts, profiles)
    place = Path(options["trt_engine_cache_path"])
    assert place.parent == tmp_path / "tensorrt"
    assert place.is_dir()
    assert options == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(place),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(place),
    }
    assert tensorrt_cache(GraphCache(tmp_path), facts, profiles) == options
    other = dataclasses.replace(facts, sha256="0" * 64)
    assert tensorrt_cache(GraphCache(tmp_path), other, profiles)["trt_engine_cache_path"] != str(place)
    assert tensorrt_cache(None, facts, profiles) == {}
    (tmp_path / "file").touch()
    assert tensorrt_cache(GraphCache(tmp_path / "file"), facts, profiles) == {}
