"""The log-mel graph against the runtime's front end and a float64 reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from claprt.arrays import Waveform
from claprt.audio.log_mel import log_mel
from claprt.audio.preprocess import int16_round_trip
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.manifest import AudioConfig, MelSpec
from claprt_export.graphs.log_mel_graph import log_mel_graph
from claprt_export.graphs.onnx_metadata import OPSET, finished, graph_facts

RATE = 48_000
onnxruntime = pytest.importorskip("onnxruntime")

FACTS = {
    "slaney": AudioConfig(architecture="x", mel=MelSpec()),
    "htk": AudioConfig(architecture="x", mel=MelSpec(scale="htk", norm="none"), fused=True),
    "from 0 Hz": AudioConfig(architecture="x", mel=MelSpec(f_min=0)),
}


@pytest.fixture(scope="module", params=list(FACTS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[AudioConfig, Path]:
    path = tmp_path_factory.mktemp("mel") / "log_mel.onnx"
    onnx.save(finished(log_mel_graph(FACTS[request.param], OPSET), {}), path)
    return FACTS[request.param], path


@pytest.fixture(scope="module")
def kinds() -> list[Waveform]:
    return [make(480_000, RATE) for make in SOUNDS.values()]


def test_graph_against_front_end_and_reference(case: tuple[AudioConfig, Path], kinds: list[Waveform]) -> None:
    """Every kind of sound at full scale and at 1e-3, and one that sweeps all bins; above -80 dB and everywhere.

    Of the filters that not every checkpoint has, each kind at one of the two.
    """
    facts, path = case
    session = onnxruntime.InferenceSession(path)
    time = np.arange(480_000) / RATE
    sweep = np.sin(2 * np.pi * (50 * time + 690 * time**2)).astype(np.float32)
    quiet = [kind * np.float32(1e-3) for kind in kinds]
    chosen = [*kinds, *quiet] if facts is FACTS["slaney"] else [*kinds[::2], *quiet[1::2]]
    waveforms = np.stack([*chosen, sweep])
    for start in range(0, len(waveforms), 4):
        batch = waveforms[start : start + 4]
        found = session.run(None, {"waveforms": batch})[0]
        assert found.shape == (len(batch), facts.views, 1001, 64)
        assert np.array_equal(found, found[:, :1].repeat(facts.views, axis=1))
        for row, waveform in zip(found[:, 0], batch, strict=True):
            quantised = int16_round_trip(waveform)
            assert np.abs(row - log_mel(quantised, facts.mel, "float64")).max() < 1e-4
            assert np.abs(row - log_mel(quantised, facts.mel)).max() < 1e-4


def test_levels(case: tuple[AudioConfig, Path]) -> None:
    """Beyond full scale is clipped, what has been through 16 bits stays as it is, and NaN and infinity show."""
    facts, path = case
    session = onnxruntime.InferenceSession(path)
    loud = np.random.default_rng(0).normal(0, 1, 480_000).astype(np.float32)
    broken = np.zeros((2, 480_000), np.float32)
    broken[0, 7], broken[1, 7] = np.nan, np.inf
    found = session.run(None, {"waveforms": np.stack([loud, int16_round_trip(loud), *broken])})[0]
    assert np.abs(found[0, 0] - log_mel(int16_round_trip(loud), facts.mel)).max() < 1e-4
    assert np.array_equal(found[0], found[1])
    if facts.fused:
        longer = session.run(["is_longer"], {"waveforms": np.stack([loud, *broken])})[0]
        assert not longer.any()
    assert np.isnan(found[2:]).any(axis=(1, 2, 3)).all()


def test_interface(case: tuple[AudioConfig, Path]) -> None:
    facts, path = case
    stated = graph_facts(path)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in (*stated.inputs, *stated.outputs)] == [
        ("waveforms", "float32", ("batch", 480_000)),
        ("log_mels", "float32", ("batch", facts.views, 1001, 64)),
        *([("is_longer", "bool", ("batch", 1))] if facts.fused else []),
    ]


@pytest.mark.parametrize("spec", [MelSpec(n_fft=2048), MelSpec(hop=441)])
def test_other_transforms_are_refused(spec: MelSpec) -> None:
    with pytest.raises(ValueError, match="1024-point transforms on a grid of 32"):
        log_mel_graph(AudioConfig(architecture="x", mel=spec), OPSET)
