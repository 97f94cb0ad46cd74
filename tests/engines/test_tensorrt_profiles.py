"""Shape profiles of TensorRT, and the folders of its engines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.graph_cache import GraphCache
from claprt.engines.tensorrt import engine_cache_options, parse_profile, profile_options, shape_profile


def test_profile(bundle: Path, fused_bundle: Path) -> None:
    audio = read_bundle(fused_bundle).manifest.graph(Stage.AUDIO, Precision.FP32)
    profile = shape_profile(audio, max_batch=8, max_tokens=77)
    assert profile == {
        "log_mels": ((1, 4, 1001, 64), (4, 4, 1001, 64), (8, 4, 1001, 64)),
        "is_longer": ((1, 1), (4, 1), (8, 1)),
    }
    options = profile_options(profile)
    assert options == {
        "trt_profile_min_shapes": "log_mels:1x4x1001x64,is_longer:1x1",
        "trt_profile_opt_shapes": "log_mels:4x4x1001x64,is_longer:4x1",
        "trt_profile_max_shapes": "log_mels:8x4x1001x64,is_longer:8x1",
    }
    assert parse_profile(options) == profile
    text = read_bundle(bundle).manifest.graph(Stage.TEXT, Precision.FP32)
    assert shape_profile(text, max_batch=1, max_tokens=77)["token_ids"] == ((1, 3), (1, 16), (1, 77))


def test_what_is_missing_in_options_is_empty() -> None:
    assert parse_profile({}) == {}
    assert parse_profile({"trt_profile_max_shapes": "x:8x2"}) == {"x": ((), (), (8, 2))}


def test_engines_of_tensorrt_are_kept(bundle: Path, tmp_path: Path) -> None:
    """In a folder for each graph's weights, of which onnxruntime's own names of engines know nothing."""
    facts = read_bundle(bundle).manifest.graph(Stage.AUDIO, Precision.FP32)
    profiles = {"trt_profile_max_shapes": "log_mels:64x1x1001x64"}
    options = engine_cache_options(GraphCache(tmp_path), facts, profiles)
    place = Path(options["trt_engine_cache_path"])
    assert place.parent == tmp_path / "tensorrt"
    assert place.is_dir()
    assert options == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(place),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(place),
    }
    assert engine_cache_options(GraphCache(tmp_path), facts, profiles) == options
    other = dataclasses.replace(facts, sha256="0" * 64)
    assert engine_cache_options(GraphCache(tmp_path), other, profiles)["trt_engine_cache_path"] != str(place)
    assert engine_cache_options(None, facts, profiles) == {}
    (tmp_path / "file").touch()
    assert engine_cache_options(GraphCache(tmp_path / "file"), facts, profiles) == {}
