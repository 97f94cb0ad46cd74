"""Lowered graphs of a tower in fp32: made, run on the engines of this machine, and measured by the quality gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tokenizers
import torch
from numpy.typing import NDArray

from claprt.bundle.digests import sha256_of
from claprt.bundle.engine_forms import SingleForm
from claprt.bundle.graphs import NATIVE_FILE, FileInfo, Precision, QualityReport, Stage
from claprt.bundle.manifest import Manifest
from claprt.engines.hardware import default_threads
from claprt.engines.in_process import detect_hardware
from claprt.engines.native.constants import PackingError
from claprt.engines.native.library import native_unavailable, native_version
from claprt.engines.native.packing import pack_tower
from claprt.engines.native.session import NativeSession
from claprt.engines.onnxruntime_session import Load, OrtSession
from claprt.engines.openvino_session import OpenVinoSession, openvino_name
from claprt.engines.providers import ORT_NAMES, Provider, unavailable_reason
from claprt.evaluation.dataset import Dataset
from claprt_export.errors import PrecisionError
from claprt_export.graphs.onnx_metadata import graph_facts
from claprt_export.precision.fp16 import half_graph
from claprt_export.precision.int8 import Quantiser
from claprt_export.precision.labelled_sets import (
    Feeds,
    calibration_sounds,
    calibration_texts,
    labelled_set,
    synthesised_set,
)
from claprt_export.precision.quality_gate import Reference, Run, measured, objection
from claprt_export.precision.single_form import COMPARED, checked_form

Finish = Callable[[onnx.ModelProto, Stage, Precision], Path]
"""Writes a graph of the bundle and gives its path."""
_SYMMETRIC = {Precision.INT8: False, Precision.INT8_SYMMETRIC: True}
"""Precisions that a `Quantiser` makes, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A tower as it was exported in fp32: the module, its graph as it was traced, and where it was written."""

    module: torch.nn.Module
    graph: onnx.ModelProto
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What lowered precisions are made and measured with, and whether they are kept in any case."""

    calibration: Dataset | None
    judged_on: Dataset | None
    forced: bool


def with_lowered(
    manifest: Manifest,
    towers: Mapping[Stage, Exported],
    precisions: Sequence[Precision],
    tokenizer: tokenizers.Tokenizer,
    material: Material,
    finish: Finish,
    report: Callable[[str], None],
) -> Manifest:
    """Write and measure every lowered graph of every tower, and return the manifest that has them.

    Args:
        manifest: of the bundle in fp32.
        towers: what was exported, by stage.
        precisions: to lower to.
        tokenizer: of the checkpoint.
        material: what ranges are drawn from, and what graphs are judged on.
        finish: writes a graph into the bundle.
        report: is told why a graph is not run in its form for one row.

    Raises:
        PrecisionError: If one does not pass the quality gate, and that was not forced.
    """
    trained, audio, text = manifest.source.trained, manifest.audio, manifest.text
    if material.judged_on is not None:
        labelled = labelled_set(material.judged_on, audio)
    else:
        labelled = synthesised_set(audio) if trained else synthesised_set(audio, each=1, at_most=1)
    runs = {stage: on_cpu(tower.path) for stage, tower in towers.items()}
    reference = Reference(
        labelled, runs[Stage.AUDIO], runs[Stage.TEXT], tokenizer,
        pad_token_id=text.pad_token_id, max_tokens=text.max_tokens, tasks=trained or material.judged_on is not None,
    )  # fmt: skip
    calibration = {
        Stage.AUDIO: calibration_sounds(audio, material.calibration),
        Stage.TEXT: calibration_texts(tokenizer, text.pad_token_id, text.max_tokens),
    }
    graphs = {stage: dict(of) for stage, of in manifest.graphs.items()}
    files = dict(manifest.files)
    quality: list[QualityReport] = []
    forms: list[SingleForm] = []
    for stage, tower in towers.items():
        quantiser: Quantiser | None = None  # one for both kinds of int8: ranges take a run of the calibration set
        for precision in precisions:
            path = tower.path  # of bf16, which is the fp32 graph run otherwise
            if precision in _SYMMETRIC:
                quantiser = quantiser or observed(tower.graph, calibration[stage])
                path = finish(quantiser.lowered(symmetric=_SYMMETRIC[precision]), stage, precision)
                if precision is Precision.INT8 and stage is Stage.AUDIO:
                    files |= _packed(path)
            elif precision is Precision.FP16:
                path = finish(half_graph(tower.graph), stage, precision)
            graphs[stage][precision] = graph_facts(path)
            load = _load(path)
            if stage is Stage.AUDIO and _on_openvino(precision):
                few = min(COMPARED, labelled.sizes[0])
                reference.audio(few)
                form = checked_form(load, precision, reference.sounds[:few])
                if isinstance(form, SingleForm):
                    forms.append(form)
                    load = dataclasses.replace(load, single=True)
                else:
                    report(f"{precision} of the audio tower runs unchanged on OpenVINO: {form}")
            for engine, run in _engines(tower, load, stage, precision):
                quality.append(measured(reference, stage, precision, run, engine))
                _refuse(quality[-1], forced=material.forced)
    return dataclasses.replace(manifest, graphs=graphs, files=files, quality=tuple(quality), single=tuple(forms))


def _packed(graph: Path) -> dict[str, FileInfo]:
    """Write the packed weights of the native engine beside an audio tower in int8, where it runs that tower."""
    try:
        content = pack_tower(graph.read_bytes(), sha256_of(graph))
    except PackingError:
        return {}
    path = graph.with_name(NATIVE_FILE)
    path.write_bytes(content)
    return {NATIVE_FILE: FileInfo(sha256=sha256_of(path), bytes=len(content))}


def _refuse(facts: QualityReport, *, forced: bool) -> None:
    refused = objection(facts)
    if refused and not forced:
        raise PrecisionError(
            f"The quality gate refuses {refused}. No bundle was written. Leave {facts.precision} out of --precision, or "
            "keep it with --force-precision; it is marked then, and only runs where it is asked for by name."
        )


def quantised(graph: onnx.ModelProto, calibration: Iterable[Feeds], *, symmetric: bool = False) -> onnx.ModelProto:
    """A graph in int8, with ranges taken from the calibration set; `symmetric` as `Quantiser.lowered` takes it."""
    return observed(graph, calibration).lowered(symmetric=symmetric)


def observed(graph: onnx.ModelProto, calibration: Iterable[Feeds]) -> Quantiser:
    """The quantiser of a graph, which has seen the ranges of the calibration set."""
    quantiser = Quantiser(graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        quantiser.watched().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: np.asarray(array) for name, array in zip(names, session.run(None, dict(feeds)), strict=True)}

    quantiser.observe(run, calibration)
    return quantiser


def on_cpu(path: Path) -> Run:
    """A written graph on onnxruntime's CPU provider."""
    return OrtSession(_load(path), Provider.CPU, [ORT_NAMES[Provider.CPU]])


def _on_openvino(precision: Precision) -> bool:
    return unavailable_reason((Provider.OPENVINO, precision), detect_hardware()) is None


def _engines(tower: Exported, load: Load, stage: Stage, precision: Precision) -> Iterator[tuple[str, Run]]:
    """Whatever of this machine would run the graph, in the form that it would run, and stands for the others that would."""
    packed = load.path.with_name(NATIVE_FILE)
    if precision is Precision.INT8 and stage is Stage.AUDIO and packed.exists() and native_unavailable() is None:
        facts = FileInfo(sha256=sha256_of(packed), bytes=packed.stat().st_size)
        yield f"native {native_version()}", NativeSession(load, (packed, facts))
    if precision is not Precision.BF16:
        yield f"onnxruntime {onnxruntime.__version__}", on_cpu(load.path)
    if _on_openvino(precision):
        yield openvino_name(), OpenVinoSession(load, precision)
    elif precision is Precision.BF16:
        yield f"torch {version('torch')} autocast", _autocast(tower.module)


def _load(path: Path) -> Load:
    return Load(path=path, facts=graph_facts(path), threads=default_threads(), cache=None)


def _autocast(module: torch.nn.Module) -> Run:
    """The tower itself with its products in bfloat16, where no engine that does so is at hand."""

    def run(feeds: Feeds) -> NDArray[Any]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return module(*(torch.from_numpy(array) for array in feeds.values())).float().numpy()

    return run
