"""Torch towers to ONNX graphs, traced once and named by the contract.

The exporter of torch (`dynamo=True`) is given towers that were written for it, so its output needs no repair, only the
finishing in `graphs.py`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Generator, Mapping

import onnx
import torch

from claprt_export.errors import ExportError
from claprt_export.graphs.onnx_metadata import OPSET
from claprt_export.towers import AudioTower, TextTower

_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "torch.onnx._internal.exporter._registration")


def audio_graph(tower: AudioTower, frames: int) -> onnx.ModelProto:
    """The audio tower: `log_mels` (and `is_longer` where fused) to `audio_embeddings`, the batch dynamic."""
    views = 4 if tower.architecture.fused else 1
    inputs: dict[str, torch.Tensor] = {"log_mels": torch.zeros(2, views, frames, tower.architecture.mels) - 50.0}
    if tower.architecture.fused:
        inputs["is_longer"] = torch.tensor([[True], [False]])
    batch = torch.export.Dim("batch")
    return _traced(tower, inputs, {name: {0: batch} for name in inputs}, "audio_embeddings")


def text_graph(tower: TextTower) -> onnx.ModelProto:
    """The text tower: `token_ids` and `attention_mask` to `text_embeddings`, batch and tokens dynamic."""
    token_ids = torch.full((2, 9), 5, dtype=torch.int64)
    positions = tower.architecture.positions - tower.architecture.pad_token_id - 1
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=positions)}
    inputs = {"token_ids": token_ids, "attention_mask": torch.ones_like(token_ids)}
    return _traced(tower, inputs, dict.fromkeys(inputs, axes), "text_embeddings")


def _traced(
    tower: torch.nn.Module, inputs: Mapping[str, torch.Tensor], axes: Mapping[str, Mapping[int, object]], output: str
) -> onnx.ModelProto:
    with _quiet():
        program = torch.onnx.export(
            tower,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=tuple(axes.values()),
            input_names=list(inputs),
            output_names=[output],
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch gave no ONNX program for the tower.")
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep the exporter's progress reports and its notes about packages that are not installed off the terminal."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
