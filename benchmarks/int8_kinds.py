"""Both int8 graphs of a tower: how near their vectors are to fp32's, and what they cost the CPU.

python benchmarks/int8_kinds.py [--models mini tiny] [--towers text audio]

`int8` has unsigned bytes with a zero point, `int8-symmetric` signed bytes with the zero point 0, as TensorRT takes them.
Both come from one quantiser. Cosines are those of the quality gate: plain, and centred, that is with the mean fp32 vector
subtracted; of its texts of classes, or of one sound of each class. The time is the processor time of onnxruntime with one
thread, for one sound or a text of 16 tokens, the least of thirty runs in turns. `tiny` has HTSAT-tiny and RoBERTa-base with
seeded weights.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnx
import onnxruntime

from benchmarks.rtx_engines import checkpoint_of
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import AudioConfig, TextConfig
from claprt_export.checkpoints.checkpoint import Checkpoint
from claprt_export.checkpoints.tokenizer import byte_level_tokenizer, read_tokenizer
from claprt_export.checkpoints.variants import variant
from claprt_export.graphs.to_onnx import audio_graph, text_graph
from claprt_export.precision.labelled_sets import calibration_sounds, calibration_texts, synthesised_set, tokenize
from claprt_export.precision.lower import observed
from claprt_export.precision.quality_gate import centred_cosines

KINDS = {Precision.INT8: False, Precision.INT8_SYMMETRIC: True}
Run = Callable[[Mapping[str, Any]], Any]


def session(graph: onnx.ModelProto) -> Run:
    """What runs a graph on onnxruntime with one thread; it gives vectors [1, dim]."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    found = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: found.run(None, dict(feeds))[0]


def inputs(found: Checkpoint, stage: Stage, model: str) -> tuple[Any, list[Any], Any]:
    """What ranges are taken from, what is compared, and what is timed."""
    if stage is Stage.AUDIO:
        audio = AudioConfig(architecture=found.audio.name, mel=found.mel, fused=found.audio.fused, fill=found.fill)
        sounds = list(synthesised_set(audio, each=1, at_most=1).sounds)
        return calibration_sounds(audio, None), sounds, sounds[0]
    packaged = variant(model).packaged if model == "mini" else None
    tokenizer = byte_level_tokenizer() if packaged is None else read_tokenizer(packaged.parent)
    text = TextConfig(architecture=found.text.name, pad_token_id=found.text.pad_token_id, vocabulary=found.text.vocabulary)
    labels = dict.fromkeys(label for wording in synthesised_set(AudioConfig(architecture="", mel=found.mel)).labels
                           for label in wording)  # fmt: skip
    texts = [tokenize(label, tokenizer, text.pad_token_id, text.max_tokens) for label in labels]
    timed = {"token_ids": np.full((1, 16), 9), "attention_mask": np.ones((1, 16), np.int64)}
    return calibration_texts(tokenizer, text.pad_token_id, text.max_tokens), texts, timed


def rows(model: str, stage: Stage) -> list[str]:
    """Lines of the table for one tower."""
    found = checkpoint_of(model)
    traced = audio_graph(found.audio_tower(), found.mel.frames(480_000)) if stage is Stage.AUDIO else text_graph(
        found.text_tower()
    )  # fmt: skip
    calibration, compared, timed = inputs(found, stage, model)
    quantiser, full = observed(traced, calibration), session(traced)
    runs = {kind: session(quantiser.lowered(symmetric=symmetric)) for kind, symmetric in KINDS.items()}
    reference = np.concatenate([full(feeds) for feeds in compared])
    times: dict[Precision, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(30):
        for kind, run in runs.items():
            started = time.process_time()
            run(timed)
            times[kind].append(1000 * (time.process_time() - started))
    lines: list[str] = []
    for kind, run in runs.items():
        low = np.concatenate([run(feeds) for feeds in compared])
        plain, centred = (low * reference).sum(1), centred_cosines(low, reference)
        cosines = f"{plain.mean():.6f} | {plain.min():.6f} | {centred.mean():.4f} | {centred.min():.4f}"
        lines.append(f"| {model} | {stage} | `{kind}` | {cosines} | {min(times[kind]):.2f} |")
    return lines


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=("mini", "tiny"), default=["mini", "tiny"])
    parser.add_argument("--towers", nargs="+", type=Stage, default=[Stage.TEXT, Stage.AUDIO])
    options = parser.parse_args()
    print("| model | tower | precision | cosine, mean | worst | centred, mean | worst | CPU ms |")
    print("|---" * 8 + "|")
    for model in options.models:
        for stage in options.towers:
            print("\n".join(rows(model, stage)), flush=True)


if __name__ == "__main__":
    main()
