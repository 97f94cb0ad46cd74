"""Make the toy bundles of this folder, with the exporter's own parts: `python -m tests.toy.make`.

Their audio tower sees the mean, the spread and the slope of a log-mel over time, their text tower the mean of token
vectors, so unlike inputs have unlike vectors and padding would show. Weights are 1 and -1 by a rule in integers, the same
everywhere, and compress well. `tests/export/test_toy.py` compares what is here with what this makes.
"""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from claprt.bundle.digests import sha256_of
from claprt.bundle.graphs import PROJECTION_FILE, FileInfo, Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE, SCHEMA, TOKENIZER_FILE, AudioConfig, Manifest, MelSpec, Source, TextConfig
from claprt_export.checkpoints.tokenizer import byte_level_tokenizer
from claprt_export.graphs.log_mel_graph import log_mel_graph
from claprt_export.graphs.onnx_metadata import OPSET, finished, graph_facts
from tests.golden.inputs import signs
from tests.projected import weight

DIM = 512
FOLDER = Path(__file__).parent


def write_bundle(folder: Path, *, fused: bool) -> None:
    """Write a bundle named `tiny` to a new folder."""
    folder.mkdir(parents=True)
    mel = MelSpec(scale="htk", norm="none") if fused else MelSpec()
    audio = AudioConfig(architecture="toy", mel=mel, fused=fused)
    tokenizer = byte_level_tokenizer()
    tokenizer.save(str(folder / TOKENIZER_FILE))
    text = TextConfig(architecture="toy", vocabulary=tokenizer.get_vocab_size())
    models = {
        Stage.LOG_MEL: ("log_mel.onnx", log_mel_graph(audio, OPSET)),
        Stage.AUDIO: ("audio.fp32.onnx", _audio_graph(audio)),
        Stage.TEXT: ("text.fp32.onnx", _text_graph(text)),
    }
    for file, model in models.values():
        onnx.save(finished(model, {"stage": file}), folder / file)
    manifest = Manifest(
        schema=SCHEMA,
        name="tiny",
        source=Source(name="tiny", sha256="0" * 64, layout="seeded", trained=False),
        embedding_dim=DIM,
        logit_scale_a=18.5,
        logit_scale_t=14.28,
        audio=audio,
        text=text,
        opset=OPSET,
        graphs={stage: {Precision.FP32: graph_facts(folder / file)} for stage, (file, _) in models.items()},
        files={
            TOKENIZER_FILE: FileInfo(
                sha256=sha256_of(folder / TOKENIZER_FILE), bytes=(folder / TOKENIZER_FILE).stat().st_size
            )
        },
        parity=(),
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _audio_graph(facts: AudioConfig) -> onnx.ModelProto:
    """Projects mean, spread and slope over time of the first view; of all views where `is_longer`."""
    frames, mels = facts.frames, facts.mel.mels
    slope = np.linspace(-1, 1, frames, dtype=np.float32)[None]
    constants = {
        "time": np.array([2]),
        "to_unit": np.float32(1 / 40),
        "slope": slope,
        "weight": signs("audio", 3 * mels * facts.views, DIM),
        "first_view": np.eye(facts.views, dtype=np.float32)[:1].reshape(1, facts.views, 1, 1),
        "every_view": np.ones((1, facts.views, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["log_mels", "to_unit"], ["scaled"]),
        helper.make_node(
            "Where" if facts.fused else "Identity",
            ["longer", "every_view", "first_view"] if facts.fused else ["every_view"],
            ["seen"],
        ),
        helper.make_node("Mul", ["scaled", "seen"], ["views"]),
        helper.make_node("ReduceMean", ["views", "time"], ["mean"]),
        helper.make_node("Sub", ["views", "mean"], ["centred"]),
        helper.make_node("ReduceL2", ["centred", "time"], ["spread"]),
        helper.make_node("MatMul", ["slope", "views"], ["sloped"]),
        helper.make_node("Concat", ["mean", "spread", "sloped"], ["features"], axis=2),
        helper.make_node("Flatten", ["features"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["projected"]),
        *_unit("projected", "audio_embeddings"),
    ]
    inputs = [
        helper.make_tensor_value_info("log_mels", TensorProto.FLOAT, ["batch", facts.views, frames, mels]),
    ]
    if facts.fused:
        inputs.append(helper.make_tensor_value_info("is_longer", TensorProto.BOOL, ["batch", 1]))
        constants["two_axes"] = np.array([2, 3])
        nodes.insert(0, helper.make_node("Unsqueeze", ["is_longer", "two_axes"], ["longer"]))
    return _model("audio", nodes, inputs, "audio_embeddings", constants)


def _text_graph(facts: TextConfig) -> onnx.ModelProto:
    """Mean of the token vectors that the mask leaves, each turned by its position."""
    constants = {
        "table": signs("text", facts.vocabulary, DIM),
        "turn": signs("turn", 1, facts.max_tokens, DIM),
        "tokens_axis": np.array([1]),
        "zero": np.array([0]),
        "last_axis": np.array([2]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "token_ids"], ["vectors"]),
        helper.make_node("Shape", ["token_ids"], ["tokens"], start=1, end=2),
        helper.make_node("Slice", ["turn", "zero", "tokens", "tokens_axis"], ["turns"]),
        helper.make_node("Mul", ["vectors", "turns"], ["placed"]),
        helper.make_node("Cast", ["attention_mask"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "last_axis"], ["column"]),
        helper.make_node("Mul", ["placed", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens_axis"], ["summed"], keepdims=0),
        *_unit("summed", "text_embeddings"),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("token_ids", "attention_mask")
    ]
    return _model("text", nodes, inputs, "text_embeddings", constants)


def _unit(source: str, output: str) -> list[onnx.NodeProto]:
    return [helper.make_node("LpNormalization", [source], [output], axis=1, p=2)]


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    output: str,
    constants: Mapping[str, Any],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        name,
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", DIM])],
        initializer=[numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def projection() -> onnx.ModelProto:
    """A matrix of `tests/projected.py` and a sigmoid."""
    matrix = weight()
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["embeddings", "weight"], ["sums"]),
            helper.make_node("Sigmoid", ["sums"], ["behavior_descriptors"]),
        ],
        "projection",
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", DIM])],
        [helper.make_tensor_value_info("behavior_descriptors", TensorProto.FLOAT, ["batch", matrix.shape[1]])],
        [numpy_helper.from_array(matrix, "weight")],
    )
    return finished(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]), {"stage": "projection"})


def main() -> None:
    """Write the bundles `plain` and `fused` and the projection, graphs compressed."""
    for fused in (False, True):
        folder = FOLDER / ("fused" if fused else "plain")
        shutil.rmtree(folder, ignore_errors=True)
        write_bundle(folder, fused=fused)
    onnx.save(projection(), FOLDER / PROJECTION_FILE)
    for path in FOLDER.rglob("*.onnx"):
        path.with_name(f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
        path.unlink()


if __name__ == "__main__":
    main()
