"""OpenVINO's form for one row against the graph itself, in int8; a form that is wrong is not given to a bundle."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from claprt.bundle.engine_forms import SingleForm
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import AudioConfig
from claprt.engines.hardware import cpu_features
from claprt.engines.onnxruntime_session import Load
from claprt_export.checkpoints.checkpoint import Checkpoint
from claprt_export.graphs.onnx_metadata import graph_facts
from claprt_export.graphs.to_onnx import audio_graph
from claprt_export.pipeline import export_bundle
from claprt_export.precision.labelled_sets import Feeds, calibration_sounds, synthesised_set
from claprt_export.precision.lower import quantised
from claprt_export.precision.single_form import checked_form
from tests.export.conftest import few_sounds

pytest.importorskip("openvino", reason="needs OpenVINO: the openvino extra")

import openvino

from claprt.engines import openvino_session
from claprt.engines.openvino_session import OpenVinoSession, openvino_arithmetic, openvino_name
from claprt.engines.openvino_single import to_single_form

pytestmark = pytest.mark.skipif("vnni" not in cpu_features(), reason="int8 runs on OpenVINO with VNNI alone")


def written(checkpoint: Checkpoint, folder: Path) -> tuple[Load, list[Feeds]]:
    """The int8 graph of the checkpoint's audio tower, and sounds to compare it on."""
    architecture = checkpoint.audio
    facts = AudioConfig(architecture=architecture.name, mel=checkpoint.mel, fused=architecture.fused, fill=checkpoint.fill)
    path = folder / "audio.int8.onnx"
    graph = audio_graph(checkpoint.audio_tower(), facts.frames)
    onnx.save(quantised(graph, itertools.islice(calibration_sounds(facts, None), 6)), path)
    sounds = list(itertools.islice(synthesised_set(facts).sounds, 6))
    return Load(path=path, facts=graph_facts(path), threads=2, cache=None), sounds


@pytest.fixture(scope="module")
def plain(exported: Path, small: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Load, list[Feeds]]:
    assert exported.is_dir()  # so the tower has been traced
    return written(small, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def fused(exported: Path, small_fused: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Load, list[Feeds]]:
    assert exported.is_dir()  # so the tower has been traced
    return written(small_fused, tmp_path_factory.mktemp("fused"))


@pytest.mark.parametrize("tower", ["plain", "fused"])
def test_as_near_to_the_graph_as_without_the_changes(tower: str, request: pytest.FixtureRequest) -> None:
    load, sounds = request.getfixturevalue(tower)
    if tower == "fused":
        assert {bool(feeds["is_longer"].all()) for feeds in sounds} == {True, False}
    form = checked_form(load, Precision.INT8, sounds)
    assert isinstance(form, SingleForm)
    assert (form.graph_sha256, form.arithmetic) == (load.facts.sha256, openvino_arithmetic(Precision.INT8))
    assert (form.graph, form.precision, form.engine, form.inputs) == (Stage.AUDIO, Precision.INT8, openvino_name(), 6)
    assert 0 < form.distance <= form.distance_limit < 3e-3


@pytest.mark.parametrize("tower", ["plain", "fused"])
def test_what_is_changed(tower: str, request: pytest.FixtureRequest) -> None:
    load, _ = request.getfixturevalue(tower)
    model = openvino.Core().read_model(load.path)
    before = [node.get_type_name() for node in model.get_ordered_ops()]
    to_single_form(model)
    nodes: list[Any] = list(model.get_ordered_ops())
    after = [node.get_type_name() for node in nodes]
    assert {len(node.output(0).shape) for node in nodes if node.get_type_name() == "Softmax"} == {4}
    assert after.count("MatMul") == before.count("MatMul") - 1  # the resize
    in_three_axes = [node for node in nodes if node.get_type_name() == "MVN" and len(node.output(0).shape) == 3]
    graph = onnx.load(load.path).graph
    bytes_of = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    norms = [node for node in graph.node if node.op_type == "LayerNormalization" and node.output[0] in bytes_of]
    assert len(in_three_axes) == len(norms) > 4


def with_scales_in_other_channels(model: Any) -> None:
    """The form, with each normalisation's scale moved by a channel: the fault that OpenVINO has had."""
    to_single_form(model)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MVN":
            (taker,) = node.output(0).get_target_inputs()
            scale = taker.get_node().input(1)
            values = np.roll(scale.get_source_output().get_node().get_data(), 1)
            scale.replace_source_output(openvino.opset13.constant(values).output(0))


def that_does_not_fit(model: Any) -> None:
    raise RuntimeError(f"the shapes of {model.friendly_name} do not fit")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_scales_in_other_channels, r"^in the faster form for one row its vectors are .* off the graph's, and no more"),
        (that_does_not_fit, r"^the faster form for one row cannot be loaded: .*the shapes of .* do not fit"),
    ],
)
def test_a_wrong_form_is_refused(
    plain: tuple[Load, list[Feeds]], change: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_session, "to_single_form", change)
    found = checked_form(plain[0], Precision.INT8, plain[1])
    assert isinstance(found, str)
    assert re.search(why, found)


def test_no_form_of_a_graph_that_is_wrong_without_it(
    plain: tuple[Load, list[Feeds]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit taken from wrong vectors would say nothing."""

    def noisy(session: OpenVinoSession, feeds: Feeds) -> Any:
        vectors = run(session, feeds)
        return vectors if vars(session)["_single"] else np.roll(vectors, 1, axis=1)

    run = OpenVinoSession.__call__
    monkeypatch.setattr(OpenVinoSession, "__call__", noisy)
    found = checked_form(plain[0], Precision.INT8, plain[1])
    assert isinstance(found, str)
    assert found.startswith("even so its vectors are")


def test_a_bundle_without_its_form_says_so(
    laion_file: Path, tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_session, "to_single_form", with_scales_in_other_channels)
    said: list[str] = []
    with few_sounds():
        manifest = export_bundle(
            tmp_path / "out",
            checkpoint=laion_file,
            tokenizer=tokenizer_file,
            precisions=[Precision.INT8],
            report=said.append,
        )
    assert manifest.single == ()
    assert said[-1].startswith("int8 of the audio tower runs unchanged on OpenVINO")
    assert manifest.judged_on(Stage.AUDIO, Precision.INT8, "openvino") == openvino_name()
