"""The engine: threads, forks, and arrays that do not fit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.engines import in_process, onnxruntime_session, openvino_session, tensorrt_rtx_session
from claprt.engines.hardware import Hardware
from claprt.errors import ArrayError, MissingDependencyError, ProviderError, ProviderUnavailableError

WAVEFORMS = [make(50_000, 48_000) for make in SOUNDS.values()]


def test_many_threads_get_what_one_gets(bundle: Path) -> None:
    clap = claprt.load(bundle)
    expected = np.stack([clap.embed_audio(waveform) for waveform in WAVEFORMS])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(clap.embed_audio, WAVEFORMS * 4))
        texts = list(pool.map(clap.embed_text, ["a dog"] * 16))
    assert np.array_equal(np.stack(found), np.tile(expected, (4, 1)))
    assert np.array_equal(np.stack(texts), np.tile(clap.embed_text("a dog"), (16, 1)))


def test_loading_leaves_this_threads_floating_point_alone(bundle: Path) -> None:
    """onnxruntime's flush-to-zero stays on in the thread that creates a session; that must not be the caller's."""
    claprt.load(bundle).embed_text("a dog")
    assert np.float32(1e-40) * np.float32(0.5) > 0


_FORK = """
import os, sys, warnings
import numpy as np
import claprt
warnings.simplefilter("ignore")
clap = claprt.load(sys.argv[1], threads=2)
waveform = np.ones(48_000, np.float32)
expected = clap.embed_audio(waveform)
child = os.fork()
if child == 0:
    same = np.array_equal(clap.embed_audio(waveform), expected) and clap.embed_text("a dog").shape == (512,)
    sys.exit(7 if same else 3)  # an ordinary exit, which ends the sessions that this process has
idle = os.fork()
if idle == 0:
    sys.exit(8)  # without ever touching the model
codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in (child, idle)]
same = np.array_equal(clap.embed_audio(waveform), expected)
sys.exit(0 if same and codes == [7, 8] else 4)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_gets_sessions_of_its_own(bundle: Path) -> None:
    """With two threads, a call into the parent's session would wait for ever: a time-out is the failure."""
    done = subprocess.run([sys.executable, "-c", _FORK, str(bundle)], timeout=60, check=False)
    assert done.returncode == 0


def _embed_in_child(clap: claprt.Clap, queue: Any) -> None:
    queue.put(clap.embed_audio(WAVEFORMS[1]))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_multiprocessing_by_fork(bundle: Path) -> None:
    clap = claprt.load(bundle)
    expected = clap.embed_audio(WAVEFORMS[1])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_embed_in_child, args=(clap, queue))
    child.start()
    try:
        assert np.array_equal(queue.get(timeout=30), expected)
    finally:
        child.join(30)
        if child.is_alive() and child.pid:
            os.kill(child.pid, signal.SIGKILL)


def test_arrays_that_do_not_fit(clap: claprt.Clap, fused_clap: claprt.Clap) -> None:
    good: Any = np.zeros((2, 1, 1001, 64), np.float32)
    for wrong in (good.astype(np.float64), good[:, :, :1000], good[0], np.zeros((2, 4, 1001, 64), np.float32)):
        with pytest.raises(ArrayError, match=r"log_mels must be float32 \[batch, 1, 1001, 64\]; got"):
            clap.engine.audio(wrong, None)
    ids: Any = np.zeros((1, 5), np.int64)
    with pytest.raises(ArrayError, match="token_ids must be int64"):
        clap.engine.text(ids.astype(np.int32), ids)
    with pytest.raises(ArrayError, match="attention_mask"):
        clap.engine.text(ids, ids.astype(np.float32))
    four = np.zeros((1, 4, 1001, 64), np.float32)
    with pytest.raises(ArrayError, match=r"is_longer must be bool \[batch, 1\]; got int64"):
        fused_clap.engine.audio(four, ids[:, :1])


def test_inputs_that_do_not_fit_each_other(clap: claprt.Clap, fused_clap: claprt.Clap) -> None:
    """Found before onnxruntime sees them, and said in the names of the inputs."""
    mels: Any = np.zeros((2, 1, 1001, 64), np.float32)
    four: Any = np.zeros((2, 4, 1001, 64), np.float32)
    longer: Any = np.zeros((2, 1), np.bool_)
    ids: Any = np.ones((2, 5), np.int64)
    with pytest.raises(ArrayError, match=r"audio.fp32.onnx takes log_mels, and is_longer was given as well"):
        clap.engine.audio(mels, longer)
    with pytest.raises(ArrayError, match=r"needs is_longer \(bool \['batch', 1\]\), and none was given"):
        fused_clap.engine.audio(four, None)
    with pytest.raises(ArrayError, match="is_longer has 1 along batch, and an input before it 2"):
        fused_clap.engine.audio(four, longer[:1])
    with pytest.raises(ArrayError, match="attention_mask has 1 along batch"):
        clap.engine.text(ids, ids[:1])
    with pytest.raises(ArrayError, match="attention_mask has 4 along tokens"):
        clap.engine.text(ids, ids[:, :4])
    for empty in (ids[:0], ids[:, :0]):
        with pytest.raises(ArrayError, match="at least one row and one column"):
            clap.engine.text(empty, empty)
    with pytest.raises(ArrayError, match="at least one row"):
        clap.engine.audio(mels[:0], None)
    missing: Any = None
    with pytest.raises(ArrayError, match="needs attention_mask"):
        clap.engine.text(ids, missing)
    assert clap.engine.audio(mels, None).shape == (2, 512)
    assert fused_clap.engine.audio(four, longer).shape == (2, 512)


def test_what_onnxruntime_raises_is_ours(clap: claprt.Clap) -> None:
    beyond: Any = np.full((1, 5), 10**9, np.int64)  # tokens that the table does not have
    with pytest.raises(ProviderError, match=r"text.fp32.onnx could not be run on cpu: "):
        clap.engine.text(beyond, np.ones_like(beyond))


class _Fallen:
    """A session that onnxruntime has quietly put on the CPU."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.fixture
def machine_whose_cuda_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    machine = Hardware(providers=frozenset({"CUDAExecutionProvider", "CPUExecutionProvider"}), nvidia_gpus=1)
    fake = SimpleNamespace(SessionOptions=onnxruntime.SessionOptions, InferenceSession=_Fallen)
    monkeypatch.setattr(in_process, "detect_hardware", lambda: machine)
    monkeypatch.setattr(onnxruntime_session, "_onnxruntime", lambda: fake)


@pytest.mark.usefixtures("machine_whose_cuda_does_not_load")
def test_a_quiet_fallback_is_an_error(bundle: Path) -> None:
    with pytest.raises(ProviderUnavailableError, match="onnxruntime runs CPUExecutionProvider instead"):
        claprt.load(bundle, provider="cuda")


@pytest.mark.usefixtures("machine_whose_cuda_does_not_load")
def test_a_fallback_that_was_allowed_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_session, "_check_interface", lambda *_: None)
    clap = claprt.load(bundle, provider="cuda", fallback=True)
    assert clap.provider == "cpu"


class _Broken:
    """A session that can be created on the CPU only."""

    made: list[tuple[Any, Any]]

    def __init__(self, path: str, options: Any, *, providers: list[Any], enable_fallback: int = 1) -> None:
        import onnxruntime

        self.made.append((providers, enable_fallback))
        if providers != ["CPUExecutionProvider"]:
            raise RuntimeError("libcublasLt.so.12: cannot open shared object file")
        self._session = onnxruntime.InferenceSession(path, options, providers=providers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """A machine with GPU libraries that do not load; what sessions were asked for there."""
    import onnxruntime

    names = {"CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"}
    fake = SimpleNamespace(SessionOptions=onnxruntime.SessionOptions, InferenceSession=_Broken)
    monkeypatch.setattr(in_process, "detect_hardware", lambda: Hardware(providers=frozenset(names), nvidia_gpus=1))
    monkeypatch.setattr(onnxruntime_session, "_onnxruntime", lambda: fake)
    monkeypatch.setattr(_Broken, "made", [], raising=False)
    return _Broken.made


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_session_that_cannot_be_created(bundle: Path, made: list[tuple[Any, Any]], provider: str) -> None:
    """The bundle is whole, so that is not what the error says; and the CPU is only taken where it was allowed."""
    with pytest.raises(ProviderUnavailableError, match=r"could not be loaded: libcublasLt.so.12.*fallback=True") as caught:
        claprt.load(bundle, provider=provider)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert len(made) == 1
    clap = claprt.load(bundle, provider=provider, fallback=True)
    assert clap.provider == "cpu"
    assert "libcublasLt" in cast("in_process.InProcessEngine", clap.engine).choice.reason
    assert clap.embed_text("a dog").shape == (512,)
    assert np.array_equal(clap.embed_audio(WAVEFORMS[0]), claprt.load(bundle, provider="cpu").embed_audio(WAVEFORMS[0]))
    assert {fallback for _, fallback in made} == {0}  # onnxruntime's own, which says nothing


def test_cuda_computes_in_float32(bundle: Path, made: list[tuple[Any, Any]]) -> None:
    """TF32, which it would use by default, has ten bits of mantissa."""
    claprt.load(bundle, provider="cuda", fallback=True)
    assert made[0][0] == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]


@pytest.mark.parametrize(("batch_size", "largest"), [(8, 64), (64, 64), (100, 100)])
def test_tensorrt_is_built_for_every_batch(
    bundle: Path, made: list[tuple[Any, Any]], batch_size: int, largest: int
) -> None:
    claprt.load(bundle, provider="tensorrt", batch_size=batch_size, fallback=True)
    name, profiles = made[0][0][0]
    assert name == "TensorrtExecutionProvider"
    assert profiles["trt_profile_max_shapes"] == f"log_mels:{largest}x1x1001x64"
    assert [option if isinstance(option, str) else option[0] for option in made[0][0][1:]] == [
        "CUDAExecutionProvider", "CPUExecutionProvider",
    ]  # fmt: skip


def test_without_onnxruntime(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(openvino_session, "openvino_version", lambda: None)
    monkeypatch.setattr(tensorrt_rtx_session, "tensorrt_rtx_version", lambda: None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[cpu\]"):
        claprt.load(bundle)


def test_sessions_are_created_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    create = in_process.InProcessEngine._create  # pyright: ignore[reportPrivateUsage]

    def counted(self: in_process.InProcessEngine, stage: Any) -> Any:
        made.append(stage)
        assert threading.current_thread() is not threading.main_thread()
        return create(self, stage)

    monkeypatch.setattr(in_process.InProcessEngine, "_create", counted)
    clap = claprt.load(bundle)
    assert made == ["audio"]
    for _ in range(3):
        clap.embed_text("a dog")
        clap.embed_audio(WAVEFORMS[2])
    assert made == ["audio", "text"]
