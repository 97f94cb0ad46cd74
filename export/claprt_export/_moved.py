"""Modules of 0.1.0 at their new places (see `claprt._moved`)."""

from __future__ import annotations

from collections.abc import Mapping

MODULES: Mapping[str, str] = {
    "claprt_export.checkpoint": "claprt_export.checkpoints.checkpoint",
    "claprt_export.compact": "claprt_export.graphs.compress_constants",
    "claprt_export.download": "claprt_export.checkpoints.download",
    "claprt_export.folder": "claprt_export.atomic",
    "claprt_export.frontend": "claprt_export.graphs.log_mel_graph",
    "claprt_export.half": "claprt_export.precision.fp16",
    "claprt_export.judge": "claprt_export.precision.quality_gate claprt_export.precision.labelled_sets",
    "claprt_export.keep": "claprt_export.precision.carry_over",
    "claprt_export.mini.captions": "claprt_export.synthesis.captions",
    "claprt_export.mini.kinds": "claprt_export.synthesis.classes",
    "claprt_export.mini.kinds.effects": "claprt_export.synthesis.classes.effects",
    "claprt_export.mini.kinds.events": "claprt_export.synthesis.classes.events",
    "claprt_export.mini.kinds.instruments": "claprt_export.synthesis.classes.instruments",
    "claprt_export.mini.kinds.registry": "claprt_export.synthesis.classes.registry",
    "claprt_export.mini.kinds.signalling": "claprt_export.synthesis.classes.alarms",
    "claprt_export.mini.kinds.tones": "claprt_export.synthesis.classes.tones",
    "claprt_export.mini.signals": "claprt_export.synthesis.signals",
    "claprt_export.mini.sounds": "claprt_export.mini.dataset",
    "claprt_export.mini.supply": "claprt_export.mini.sampler",
    "claprt_export.mini.tagged": "claprt_export.mini.multilabel_set",
    "claprt_export.mini.words": "claprt_export.mini.text_finetuning",
    "claprt_export.naming": "claprt_export.checkpoints.weight_names",
    "claprt_export.projection.command": "claprt_export.projection.cli",
    "claprt_export.projection.files": "claprt_export.atomic",
    "claprt_export.projection.material": "claprt_export.projection.training_data",
    "claprt_export.projection.to_bundle": "claprt_export.projection.install",
    "claprt_export.projection.use": "claprt_export.projection.coverage",
    "claprt_export.quantise": "claprt_export.precision.int8",
    "claprt_export.recognise": "claprt_export.checkpoints.detect_architecture",
    "claprt_export.seeded": "claprt_export.checkpoints.random_weights",
    "claprt_export.state_dict": "claprt_export.checkpoints.state_dict",
    "claprt_export.tensorrt_operators": "claprt_export.graphs.tensorrt",
    "claprt_export.to_onnx": "claprt_export.graphs.to_onnx",
    "claprt_export.to_tensorrt": "claprt_export.graphs.tensorrt",
    "claprt_export.tokenizer": "claprt_export.checkpoints.tokenizer",
    "claprt_export.towers.order": "claprt_export.towers.window_order",
    "claprt_export.variants": "claprt_export.checkpoints.variants",
}
"""New module of each old one."""
