"""OpenVINO beside onnxruntime: the same vectors, what was asked for, and graphs that are checked."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.hardware import cpu_features
from claprt.engines.onnxruntime_session import Load
from claprt.errors import BundleCorruptError, OptionError, ProviderUnavailableError

pytest.importorskip("openvino", reason="needs OpenVINO: the openvino extra")

from claprt.engines.openvino_session import OpenVinoSession

SOME = [make(60_000, 48_000) for make in SOUNDS.values()]
TOY_LIMIT = 2e-5
"""Sums over 1001 frames of either sign cancel in the toy tower: float32 is up to 1.2e-5 off float64 there."""


def loading(bundle: Path, **changes: object) -> Load:
    found = read_bundle(bundle)
    facts = dataclasses.replace(found.manifest.graph(Stage.AUDIO, Precision.FP32), **changes)
    return Load(path=found.graph_path(Stage.AUDIO, Precision.FP32), facts=facts, threads=2, cache=None)


def test_the_vectors_of_onnxruntime(bundle: Path) -> None:
    plain, other = claprt.load(bundle, provider="cpu"), claprt.load(bundle, provider="openvino")
    assert other.provider == "openvino"
    assert other.fingerprint == plain.fingerprint
    assert np.abs(other.embed_audio(SOME) - plain.embed_audio(SOME)).max() < TOY_LIMIT
    texts = ["a dog", "rain on a roof", "x" * 200]
    assert np.abs(other.embed_text(texts) - plain.embed_text(texts)).max() < 1e-5


def test_the_vectors_of_a_real_model() -> None:
    plain, other = claprt.load("mini", provider="cpu"), claprt.load("mini", provider="openvino")
    assert np.abs(other.embed_audio(SOME) - plain.embed_audio(SOME)).max() < 1e-6
    texts = ["a dog", "rain on a roof"]
    assert np.abs(other.embed_text(texts) - plain.embed_text(texts)).max() < 1e-6


def test_a_fused_bundle(fused_bundle: Path) -> None:
    long = np.concatenate(SOME * 2)
    plain, other = claprt.load(fused_bundle), claprt.load(fused_bundle, provider="openvino")
    assert np.abs(other.embed_audio([long, SOME[3]]) - plain.embed_audio([long, SOME[3]])).max() < TOY_LIMIT


def test_alone_and_in_a_batch(bundle: Path) -> None:
    clap = claprt.load(bundle, provider="openvino")
    together = clap.embed_audio(SOME)
    assert np.abs(together - np.stack([clap.embed_audio(sound) for sound in SOME])).max() < 1e-6


def test_many_sounds(bundle: Path) -> None:
    clap = claprt.load(bundle, provider="openvino", threads=2)
    rows = clap.embed_audio(SOME * 6)
    assert np.abs(rows - np.tile(clap.embed_audio(SOME), (6, 1))).max() < 1e-5
    assert clap.engine.batch_engine().max_concurrency == 2


def test_a_second_load_takes_what_was_compiled(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path))
    expected = claprt.load(bundle, provider="openvino").embed_audio(SOME[4])
    (place,) = (tmp_path / "graphs").iterdir()
    (blob,) = place.glob("*.blob")
    assert np.array_equal(claprt.load(bundle, provider="openvino").embed_audio(SOME[4]), expected)
    blob.chmod(0o600)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 0xFF
    blob.write_bytes(content)
    assert np.array_equal(claprt.load(bundle, provider="openvino").embed_audio(SOME[4]), expected)
    (again,) = place.glob("*.blob")
    assert again.read_bytes() != bytes(content)


def test_a_graph_that_is_not_what_the_manifest_says(bundle: Path, tmp_path: Path) -> None:
    facts = loading(bundle).facts
    renamed = tuple(dataclasses.replace(tensor, name="sound") for tensor in facts.inputs)
    with pytest.raises(BundleCorruptError, match="the manifest states inputs"):
        OpenVinoSession(loading(bundle, inputs=renamed), Precision.FP32)
    wider = tuple(dataclasses.replace(tensor, shape=("batch", 1, 1001, 128)) for tensor in facts.inputs)
    with pytest.raises(BundleCorruptError, match="the manifest states inputs"):
        OpenVinoSession(loading(bundle, inputs=wider), Precision.FP32)
    nonsense = tmp_path / "audio.onnx"
    nonsense.write_bytes(b"no graph")
    with pytest.raises(BundleCorruptError, match="cannot be loaded"):
        OpenVinoSession(dataclasses.replace(loading(bundle), path=nonsense), Precision.FP32)


@pytest.mark.skipif("bf16" not in cpu_features(), reason="needs a processor with AVX512-BF16 or AMX")
def test_bf16_is_bf16(bundle: Path) -> None:
    lowered, full = (OpenVinoSession(loading(bundle), precision) for precision in (Precision.BF16, Precision.FP32))
    feeds = {"log_mels": np.random.default_rng(0).normal(-30, 15, (2, 1, 1001, 64)).astype(np.float32)}
    difference = float(np.abs(lowered(feeds) - full(feeds)).max())
    assert 1e-6 < difference < 0.05


def test_a_bundle_without_the_precision(bundle: Path) -> None:
    with pytest.raises(OptionError, match=r"holds fp32 for its audio graph.*--precision bf16,fp32"):
        claprt.load(bundle, provider="openvino", precision="bf16")


FORK = """
import os, sys, warnings
import numpy as np
import claprt
from claprt.errors import ProviderError
warnings.simplefilter("ignore")
clap = claprt.load(sys.argv[1], provider="openvino", threads=2)
waveform = np.ones(48_000, np.float32)
expected = clap.embed_audio(waveform)
child = os.fork()
if child == 0:
    for attempt in (lambda: clap.embed_audio(waveform), lambda: claprt.load(sys.argv[1], provider="openvino")):
        try:
            attempt()
            sys.exit(3)
        except ProviderError as error:
            assert "spawn" in str(error)
    same = np.abs(claprt.load(sys.argv[1], provider="cpu").embed_audio(waveform) - expected).max() < 1e-5
    sys.exit(7 if same else 5)
idle = os.fork()
if idle == 0:
    sys.exit(8)
codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in (child, idle)]
sys.exit(0 if codes == [7, 8] and np.array_equal(clap.embed_audio(waveform), expected) else 4)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_process_is_told(bundle: Path) -> None:
    """OpenVINO would wait for ever; a time-out is the failure."""
    assert subprocess.run([sys.executable, "-c", FORK, str(bundle)], timeout=60, check=False).returncode == 0


def test_openvino_alone(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = claprt.load(bundle, provider="cpu").embed_audio(SOME[2])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    clap = claprt.load(bundle)
    assert clap.provider == "openvino"
    assert np.abs(clap.embed_audio(SOME[2]) - expected).max() < 1e-5
    with pytest.raises(ProviderUnavailableError, match=r"pip install .*\[cpu\]'"):
        claprt.load(bundle, provider="cpu")


def test_after_an_interrupt(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was interrupted may be at work still: it must not be the next call's."""
    session = OpenVinoSession(loading(bundle), Precision.FP32)
    feeds = {"log_mels": np.random.default_rng(0).normal(-30, 15, (2, 1, 1001, 64)).astype(np.float32)}
    expected = session(feeds)
    with monkeypatch.context() as patched:
        patched.setattr("openvino.InferRequest.wait", lambda self: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            session(feeds)
    assert np.array_equal(session(feeds), expected)
