"""TensorRT-RTX engines of graphs of the true sizes: whether they are built, how large they are, how long it takes.

python benchmarks/rtx_engines.py [--models mini tiny base fused] [--cards sm86,sm89,sm120] [--out FILE]

No GPU is needed, and none is used: what engines give on a card is not measured here. Of `mini` its own weights, of the
others seeded ones, which cost what trained ones do. The ranges of int8 are taken from two inputs: they change no size.
tiny, base and fused have the same text tower, so it is built once, with tiny. Every engine is for all cards at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnx

from benchmarks.tables.speed import tensorrt_rtx_table
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import AudioConfig
from claprt.engines.tensorrt import shape_profile
from claprt.errors import ClaprtError
from claprt_export.architecture import AudioArchitecture, TextArchitecture
from claprt_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from claprt_export.checkpoints.random_weights import ARCHITECTURES, seeded_checkpoint
from claprt_export.checkpoints.variants import variant
from claprt_export.graphs.compress_constants import compact
from claprt_export.graphs.log_mel_graph import log_mel_graph
from claprt_export.graphs.onnx_metadata import OPSET, finished, graph_facts
from claprt_export.graphs.tensorrt import largest_batch, read_graph, serialized, tensorrt_rtx
from claprt_export.graphs.tensorrt_rtx import check_cards
from claprt_export.graphs.to_onnx import audio_graph, text_graph
from claprt_export.precision.fp16 import half_graph
from claprt_export.precision.lower import quantised

MODELS = ("mini", "tiny", "base", "fused")
MAX_TOKENS = 77
Graphs = Iterator[tuple[Stage, Precision, onnx.ModelProto]]


def checkpoint_of(model: str) -> Checkpoint:
    """The checkpoint of a model: mini's own weights, or seeded ones."""
    if model == "mini":
        packaged = variant("mini").packaged
        assert packaged is not None
        return read_checkpoint(packaged, "mini")
    if model == "fused":
        tiny = ARCHITECTURES["untrained-tiny"]
        audio = AudioArchitecture(embed_dim=tiny.embed_dim, depths=tiny.depths, heads=tiny.heads, fused=True)
    else:
        audio = ARCHITECTURES[f"untrained-{model}"]
    return seeded_checkpoint(model, audio, TextArchitecture())


def graphs_of(model: str) -> Graphs:
    """Every graph of a model that TensorRT takes, in turn, as a bundle holds it."""
    found = checkpoint_of(model)
    for stage, precision, graph in _graphs(model, found):
        yield stage, precision, compact(graph) if found.half else graph


def _graphs(model: str, found: Checkpoint) -> Graphs:
    audio = AudioConfig(architecture=found.audio.name, mel=found.mel, fused=found.audio.fused, fill=found.fill)
    yield Stage.LOG_MEL, Precision.FP32, log_mel_graph(audio, OPSET)
    random = np.random.default_rng(0)
    mels = [random.normal(-40, 15, (1, audio.views, audio.frames, audio.mel.mels)).astype(np.float32) for _ in range(2)]
    feeds: list[dict[str, Any]] = [{"log_mels": mel} for mel in mels]
    if audio.fused:
        feeds = [{**feed, "is_longer": np.array([[index == 0]])} for index, feed in enumerate(feeds)]
    yield from _towers(Stage.AUDIO, audio_graph(found.audio_tower(), audio.frames), feeds)
    if model in ("mini", "tiny"):
        ids = random.integers(4, found.text.vocabulary, (2, 1, 16))
        texts = [{"token_ids": row, "attention_mask": np.ones_like(row)} for row in ids]
        yield from _towers(Stage.TEXT, text_graph(found.text_tower()), texts)


def _towers(stage: Stage, graph: onnx.ModelProto, feeds: list[dict[str, Any]]) -> Graphs:
    yield stage, Precision.FP32, graph
    yield stage, Precision.FP16, half_graph(graph)
    yield stage, Precision.INT8_SYMMETRIC, quantised(graph, feeds, symmetric=True)


def measured(
    model: str, stage: Stage, precision: Precision, graph: onnx.ModelProto, cards: tuple[str, ...]
) -> dict[str, Any]:
    """Build one engine; a row of the results, with the error where there is one."""
    row: dict[str, Any] = {"model": model, "graph": str(stage), "precision": str(precision)}
    capabilities = [getattr(tensorrt_rtx().ComputeCapability, card.upper()) for card in cards]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{stage}.{precision}.onnx"
        onnx.save(finished(graph, {"stage": str(stage)}), path)
        facts = graph_facts(path)
        shapes = shape_profile(facts, max_batch=largest_batch(stage), max_tokens=MAX_TOKENS)
        started = time.perf_counter()
        try:
            found = read_graph(tensorrt_rtx(), str(path), path.name)
            engine = serialized(found, path.name, shapes, capabilities)
        except ClaprtError as error:
            return {**row, "error": str(error)}
        seconds = time.perf_counter() - started
    layers = int(found.network.num_layers)
    return {**row, "graph_mb": facts.bytes / 1e6, "layers": layers, "mb": engine.nbytes / 1e6, "seconds": seconds}


def main() -> int:
    """Measure; the exit status is 1 if an engine could not be built."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--cards", default="sm86,sm89,sm120")
    parser.add_argument("--out", type=Path, default=Path("build/tensorrt-rtx.json"))
    options = parser.parse_args()
    cards = check_cards(options.cards.split(","))
    rows: list[dict[str, Any]] = []
    results = {"tensorrt_rtx": str(tensorrt_rtx().__version__), "cards": cards, "rows": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for model in options.models:
        for stage, precision, graph in graphs_of(model):
            rows.append(measured(model, stage, precision, graph, cards))
            print(rows[-1], file=sys.stderr, flush=True)
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(tensorrt_rtx_table(results))
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
