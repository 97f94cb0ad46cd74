"""TensorRT-RTX in process, as far as it goes without a card: a driver and a runtime that keep everything in this memory.

The engines here are the bundle's own graphs under another name, which the false runtime gives to onnxruntime. So what is
tested is real but for NVIDIA's two libraries: the choice, the files, the copies, the shapes, the comparison of vectors.
"""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.engine_forms import EngineInfo
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE, Manifest
from claprt.cli import main
from claprt.engines import cuda_driver, hardware, in_process, tensorrt_rtx_session
from claprt.engines.choice import EngineOptions, choose
from claprt.engines.cuda_driver import CudaDriver
from claprt.engines.hardware import Hardware
from claprt.engines.tensorrt import probe_feeds, shape_profile
from claprt.errors import (
    BundleCorruptError,
    FallbackWarning,
    MissingDependencyError,
    ProviderError,
    ProviderUnavailableError,
)

SOME = [make(60_000, 48_000) for make in SOUNDS.values()]
TEXTS = ["a dog", "rain on a roof", "x" * 200, "an engine"]
MOST = 3
"""Rows of the engines' largest batch, fewer than there are sounds."""
CARD = Hardware(providers=frozenset({"CPUExecutionProvider"}), nvidia_gpus=0, tensorrt_rtx="1.7.1.116", cards=("sm86",))


class Library:
    """A driver whose device is this process's memory; `fail` names a function that fails."""

    def __init__(self, fail: str = "") -> None:
        self.fail = fail
        self.memory: dict[int, Any] = {}
        self.current: list[int] = []
        self.pushed: set[int] = set()
        self.contexts = self.streams = 0
        self.synchronized = 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name == self.fail:
            return lambda *_: 2
        return getattr(self, f"_{name}")

    def _cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def _cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        context._obj.value = 0xC0
        self.contexts += 1
        return 0

    def _cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:  # noqa: N802
        self.contexts -= 1
        return 0

    def _cuCtxPushCurrent_v2(self, context: Any) -> int:  # noqa: N802
        self.current.append(context.value)
        self.pushed.add(context.value)
        return 0

    def _cuCtxPopCurrent_v2(self, context: Any) -> int:  # noqa: N802
        context._obj.value = self.current.pop()
        return 0

    def _cuStreamCreate(self, stream: Any, flags: int) -> int:  # noqa: N802
        assert self.current
        stream._obj.value = 0x57
        self.streams += 1
        return 0

    def _cuStreamDestroy_v2(self, stream: Any) -> int:  # noqa: N802
        assert self.current
        assert stream.value == 0x57
        self.streams -= 1
        return 0

    def _cuStreamSynchronize(self, stream: Any) -> int:  # noqa: N802
        self.synchronized += 1
        return 0

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> int:  # noqa: N802
        assert self.current
        block = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(block)
        self.memory[address._obj.value] = block
        return 0

    def _cuMemFree_v2(self, address: Any) -> int:  # noqa: N802
        assert self.current
        del self.memory[address.value]
        return 0

    def _cuMemcpyHtoD_v2(self, address: Any, pointer: Any, size: Any) -> int:  # noqa: N802
        assert len(self.memory[address.value]) >= size.value
        ctypes.memmove(address.value, pointer.value, size.value)
        return 0

    def _cuMemcpyDtoH_v2(self, pointer: Any, address: Any, size: Any) -> int:  # noqa: N802
        assert len(self.memory[address.value]) >= size.value
        ctypes.memmove(pointer.value, address.value, size.value)
        return 0

    def _cuGetErrorString(self, status: int, words: Any) -> int:  # noqa: N802
        words._obj.value = b"out of memory"
        return 0


class Context:
    """Runs a graph on onnxruntime, from addresses and to an address."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return len(shape) != 2 or shape[1] <= 77

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 0x57
        session = self.engine.session
        feeds: dict[str, Any] = {}
        for tensor in session.get_inputs():
            dtype = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}[tensor.type]
            shape = self.shapes[tensor.name]
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            raw = ctypes.string_at(self.addresses[tensor.name], size)
            feeds[tensor.name] = np.frombuffer(raw, dtype).reshape(shape)
        assert all(len(array) <= MOST for array in feeds.values())
        (output,) = session.get_outputs()
        rows: Any = session.run(None, feeds)[0]
        ctypes.memmove(self.addresses[output.name], rows.ctypes.data, rows.nbytes)
        return True


class Engine:
    """A graph that was read from an engine's file."""

    def __init__(self, content: bytes, log: Any) -> None:
        self.log = log
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.names = [tensor.name for tensor in (*self.session.get_inputs(), *self.session.get_outputs())]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def create_execution_context(self) -> Context:
        return Context(self)


class Logger:
    """What NVIDIA's logger class is to its children."""

    ERROR = 1


class Runtime:
    """Loads graphs; what begins with `other version` it does not."""

    def __init__(self, log: Any) -> None:
        self.log = log

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        if content.startswith(b"other version"):
            self.log.log(1, "the engine was built\nby another version")
            self.log.log(2, "a warning")
            return None
        return Engine(content, self.log)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """A machine with a card and TensorRT-RTX."""
    found = Library()
    runtime = SimpleNamespace(__version__="1.7.1.116", ILogger=Logger, Runtime=Runtime)
    monkeypatch.setattr(cuda_driver, "_library", lambda: found)
    monkeypatch.setattr(tensorrt_rtx_session, "_tensorrt_rtx", lambda: runtime)
    monkeypatch.setattr(in_process, "detect_hardware", lambda: CARD)
    return found


def with_engines(
    source: Path,
    out: Path,
    *,
    cards: tuple[str, ...] = ("sm86", "sm89"),
    stages: tuple[Stage, ...] = (Stage.AUDIO, Stage.TEXT),
) -> Path:
    """A copy of a bundle with its own graphs as engines."""
    shutil.copytree(source, out)
    bundle = read_bundle(out)
    vocabulary = bundle.manifest.text.vocabulary
    engines: list[EngineInfo] = []
    for stage in stages:
        facts = bundle.manifest.graph(stage, Precision.FP32)
        shutil.copyfile(out / facts.file, out / f"{stage}.fp32.rtx")
        session = onnxruntime.InferenceSession(out / facts.file, providers=["CPUExecutionProvider"])
        rows: Any = session.run(None, probe_feeds(facts, vocabulary))[0]
        engines.append(
            EngineInfo(
                file=f"{stage}.fp32.rtx",
                sha256=facts.sha256,
                bytes=facts.bytes,
                graph=stage,
                precision=Precision.FP32,
                graph_sha256=facts.sha256,
                cards=cards,
                tensorrt_rtx="1.7.1.116",
                profile=shape_profile(facts, max_batch=MOST, max_tokens=77),
                probe=base64.b64encode(rows.astype("<f4").tobytes()).decode(),
            )
        )
    write(out, dataclasses.replace(bundle.manifest, engines=tuple(engines)))
    return out


def write(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def change(folder: Path, **changes: Any) -> None:
    """Change what the manifest says of the engine of the audio tower."""
    manifest = read_bundle(folder).manifest
    engine, *others = manifest.engines
    write(folder, dataclasses.replace(manifest, engines=(dataclasses.replace(engine, **changes), *others)))


@pytest.fixture
def prepared(bundle: Path, tmp_path: Path) -> Path:
    return with_engines(bundle, tmp_path / "bundle")


def test_the_vectors_of_the_graph(prepared: Path, library: Library) -> None:
    """In batches larger than the engine's, of every shape, in any thread."""
    plain, other = claprt.load(prepared, provider="cpu"), claprt.load(prepared, provider="tensorrt-rtx")
    assert (other.provider, other.fingerprint) == ("tensorrt-rtx", plain.fingerprint)
    assert len(SOME) > 2 * MOST
    assert np.abs(other.embed_audio(SOME) - plain.embed_audio(SOME)).max() < 2e-5
    assert np.abs(other.embed_text(TEXTS) - plain.embed_text(TEXTS)).max() < 1e-5
    assert np.abs(other.embed_audio(SOME[2]) - plain.embed_audio(SOME[2])).max() < 2e-5  # a smaller batch after a larger
    assert library.synchronized > 5
    assert library.pushed == {0xC0}
    assert library.current == []  # a caller's own context is again the current one


def test_a_fused_bundle(fused_bundle: Path, tmp_path: Path, library: Library) -> None:
    folder = with_engines(fused_bundle, tmp_path / "bundle")
    long = np.concatenate(SOME * 2)
    plain, other = claprt.load(folder, provider="cpu"), claprt.load(folder, provider="tensorrt-rtx")
    assert np.abs(other.embed_audio([long, SOME[3]]) - plain.embed_audio([long, SOME[3]])).max() < 2e-5


def test_memory_on_the_device_is_given_back(prepared: Path, library: Library) -> None:
    clap = claprt.load(prepared, provider="tensorrt-rtx")
    clap.embed_audio(SOME[:1])
    one = {address: len(block) for address, block in library.memory.items()}
    assert len(one) == 2  # the input and the output
    clap.embed_audio(SOME)
    assert len(library.memory) == 2  # larger ones in their place
    clap.close()
    del clap
    gc.collect()
    assert library.memory == {}
    assert (library.streams, library.contexts, library.current) == (0, 0, [])


@pytest.mark.usefixtures("library")
def test_auto_takes_it_where_a_card_and_an_engine_are_there(prepared: Path, bundle: Path) -> None:
    assert claprt.load(prepared).provider == "tensorrt-rtx"
    assert claprt.load(bundle).provider == "cpu"  # no engine


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"tensorrt_rtx": None}, "TensorRT-RTX is not installed: pip install"),
        ({"cards": ()}, r"no NVIDIA GPU with a driver was found \(nvidia-smi"),
        ({"cards": ("sm120",)}, r"no TensorRT-RTX engine of its audio graph in fp32 for this GPU \(sm120\); .*--cards"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(prepared: Path, machine: dict[str, Any], words: str) -> None:
    manifest, here = read_bundle(prepared).manifest, dataclasses.replace(CARD, **machine)
    with pytest.raises(ProviderUnavailableError, match=words):
        choose(EngineOptions(provider="tensorrt-rtx"), here, manifest)
    assert choose(EngineOptions(provider="tensorrt-rtx", fallback=True), here, manifest).provider == "cpu"
    choice = choose(EngineOptions(), here, manifest)
    assert choice.provider == "cpu"
    assert any("fp32 on tensorrt-rtx" in line for line in choice.rejected)


def test_both_towers_need_an_engine(bundle: Path, tmp_path: Path) -> None:
    manifest = read_bundle(with_engines(bundle, tmp_path / "bundle", stages=(Stage.AUDIO,))).manifest
    with pytest.raises(ProviderUnavailableError, match="engine of its text graph in fp32"):
        choose(EngineOptions(provider="tensorrt-rtx"), CARD, manifest)
    with pytest.raises(ProviderUnavailableError, match="engine of its text graph in fp32"):
        choose(EngineOptions(provider="tensorrt-rtx", precision="auto"), CARD, manifest)


def test_text_needs_an_engine_of_the_precision_that_it_would_run_in(prepared: Path) -> None:
    """One of another precision, which the quality gate has not accepted for text, does not count."""
    manifest, other = read_bundle(prepared).manifest, Precision.INT8_SYMMETRIC
    graphs = {
        **manifest.graphs,
        Stage.TEXT: {**manifest.graphs[Stage.TEXT], other: manifest.graphs[Stage.TEXT][Precision.FP32]},
    }
    engines = tuple(
        dataclasses.replace(engine, precision=other) if engine.graph is Stage.TEXT else engine
        for engine in manifest.engines
    )
    manifest = dataclasses.replace(manifest, graphs=graphs, engines=engines)
    assert manifest.engine(Stage.TEXT, other) is not None
    choice = choose(EngineOptions(precision="auto"), CARD, manifest)
    assert choice.provider == "cpu"
    assert any("no TensorRT-RTX engine of its text graph in fp32" in line for line in choice.rejected)


def test_int8_is_not_for_it(prepared: Path) -> None:
    manifest = read_bundle(prepared).manifest
    graphs = {stage: {**of, Precision.INT8: of[Precision.FP32]} for stage, of in manifest.graphs.items()}
    with pytest.raises(ProviderUnavailableError, match="tensorrt-rtx does not run int8; cpu, openvino and native do"):
        choose(EngineOptions(provider="tensorrt-rtx", precision="int8"), CARD, dataclasses.replace(manifest, graphs=graphs))


@pytest.mark.usefixtures("library")
def test_an_engine_that_gives_other_vectors_is_not_used(prepared: Path) -> None:
    """The last line of defence where nothing was ever tried: what the card makes of a fixed input."""
    (engine, _) = read_bundle(prepared).manifest.engines
    stated = np.frombuffer(base64.b64decode(engine.probe or ""), "<f4").copy()
    stated[:100] *= -1
    change(prepared, probe=base64.b64encode(stated.tobytes()).decode())
    with pytest.raises(ProviderUnavailableError, match=r"audio.fp32.rtx gives other vectors on this GPU .* their cosine"):
        claprt.load(prepared, provider="tensorrt-rtx")
    with pytest.warns(FallbackWarning, match="tensorrt-rtx could not be loaded: .* other vectors"):
        assert claprt.load(prepared).provider == "cpu"


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("probe", [None, "no base64!", "AAAA"])
def test_an_engine_without_vectors_to_compare(prepared: Path, probe: str | None) -> None:
    change(prepared, probe=probe)
    with pytest.raises(BundleCorruptError, match="states no vectors"):
        claprt.load(prepared, provider="tensorrt-rtx")


@pytest.mark.usefixtures("library")
def test_a_graph_that_has_changed_since(prepared: Path) -> None:
    change(prepared, graph_sha256="0" * 64)
    assert read_bundle(prepared).manifest.engine(Stage.AUDIO, Precision.FP32) is None
    with pytest.raises(ProviderUnavailableError, match="no TensorRT-RTX engine of its audio graph"):
        claprt.load(prepared, provider="tensorrt-rtx")


def test_inspect_shows_engines(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(prepared)]) == 0
    line = "text.fp32.rtx for sm86, sm89, TensorRT-RTX 1.7.1.116, batches of 1 to 3 (best at 1), 3 to 77 tokens\n"
    said = capsys.readouterr().out
    assert line in said
    assert "NOT USED" not in said
    change(prepared, graph_sha256="0" * 64)
    assert main(["inspect", str(prepared)]) == 0
    assert "(best at 1); NOT USED: built from another graph\n" in capsys.readouterr().out


@pytest.mark.usefixtures("library")
def test_an_altered_engine_is_refused(prepared: Path) -> None:
    path = prepared / "audio.fp32.rtx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"audio.fp32.rtx is not the file that was exported"):
        claprt.load(prepared, provider="tensorrt-rtx")
    path.write_bytes(content[:-1])
    with pytest.raises(BundleCorruptError, match="bytes, the manifest says"):
        claprt.load(prepared)


@pytest.mark.usefixtures("library")
def test_an_engine_of_another_version(prepared: Path) -> None:
    path = prepared / "audio.fp32.rtx"
    path.write_bytes(b"other version".ljust(path.stat().st_size))
    with pytest.raises(
        ProviderUnavailableError,
        match=r"1.7.1.116 does not load audio.fp32.rtx, which .* for sm86, sm89: the engine was built by another version\.",
    ):
        claprt.load(prepared, provider="tensorrt-rtx", verify=False)


@pytest.mark.usefixtures("library")
def test_an_engine_of_another_graph(prepared: Path) -> None:
    change(prepared, bytes=(prepared / "text.fp32.rtx").stat().st_size)
    shutil.copyfile(prepared / "text.fp32.rtx", prepared / "audio.fp32.rtx")
    with pytest.raises(BundleCorruptError, match="the engine has .*attention_mask"):
        claprt.load(prepared, provider="tensorrt-rtx", verify=False)


@pytest.mark.parametrize(
    "name", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuStreamCreate"]
)
def test_a_driver_that_gives_no_gpu(name: str) -> None:
    library = Library(fail=name)
    with pytest.raises(ProviderUnavailableError, match=rf"gives no GPU: {name} .* failed with error 2: out of memory"):
        CudaDriver(library)
    assert (library.streams, library.contexts, library.current) == (0, 0, [])


@pytest.mark.parametrize("name", ["cuMemAlloc_v2", "cuMemcpyHtoD_v2", "cuStreamSynchronize", "cuMemcpyDtoH_v2"])
def test_a_card_that_fails(prepared: Path, library: Library, name: str) -> None:
    clap = claprt.load(prepared, provider="tensorrt-rtx")
    library.fail = name
    with pytest.raises(ProviderError, match=rf"on tensorrt-rtx: .*{name} .* failed with error 2: out of memory"):
        clap.embed_audio(SOME)
    library.fail = ""
    assert library.current == []
    assert np.isfinite(clap.embed_audio(SOME)).all()  # the next one is computed again


def test_a_run_that_fails_is_told_by_its_own_errors(
    prepared: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by those of an earlier one."""
    clap = claprt.load(prepared, provider="tensorrt-rtx")
    said = iter(["the first error", None])

    def failing(context: Context, stream: int) -> bool:
        if (line := next(said)) is not None:
            context.engine.log.log(1, line)
        return False

    monkeypatch.setattr(Context, "execute_async_v3", failing)
    for words in ("the first error", "TensorRT-RTX gives no reason"):
        with pytest.raises(ProviderError, match=words):
            clap.embed_audio(SOME[0])


def test_a_shape_outside_of_the_profile(prepared: Path, library: Library) -> None:
    engine = claprt.load(prepared, provider="tensorrt-rtx").engine
    ids = np.full((1, 78), 5)
    with pytest.raises(
        ProviderError, match=r"token_ids has the shape \[1, 78\], and text.fp32.rtx takes \[1, 3\] to \[3, 77\]"
    ):
        engine.text(ids, np.ones_like(ids))


def test_nvidias_own_runtime(prepared: Path, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, has what the session calls, and its words about a file that is no engine are passed on."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: the tensorrt-rtx extra")
    monkeypatch.setattr(tensorrt_rtx_session, "_tensorrt_rtx", lambda: rtx)
    for kind, names in (
        (rtx.ICudaEngine, ("num_io_tensors", "get_tensor_name", "create_execution_context")),
        (rtx.IExecutionContext, ("set_input_shape", "set_tensor_address", "execute_async_v3")),
    ):
        assert all(hasattr(kind, name) for name in names)
    assert tensorrt_rtx_session.tensorrt_rtx_version() == rtx.__version__
    with pytest.raises(
        ProviderUnavailableError, match=rf"TensorRT-RTX {rtx.__version__} does not load audio.fp32.rtx"
    ) as told:
        claprt.load(prepared, provider="tensorrt-rtx")
    assert "its log says nothing" not in str(told.value)


def test_cards_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cards, of which the driver says 8.6 and 12.0; none where a question fails, or without a driver."""

    class Driver:
        status = 0

        def cuInit(self, flags: int) -> int:  # noqa: N802
            return 0

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = 2
            return 0

        def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
            device._obj.value = index
            return 0

        def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
            value._obj.value = {75: (8, 12), 76: (6, 0)}[attribute][device.value]
            return self.status

    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert hardware.nvidia_cards() == ("sm86", "sm120")
    driver.status = 1
    assert hardware.nvidia_cards() == ()

    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert hardware.nvidia_cards() == ()


def test_without_the_driver_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has: libraries by these names it does not."""
    monkeypatch.setattr(cuda_driver, "LIBRARIES", ("libclaprt-no-driver.so.1", "claprt-no-driver.dll"))
    with pytest.raises(ProviderUnavailableError, match="no NVIDIA driver was found"):
        CudaDriver()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    with pytest.raises(MissingDependencyError, match=r"TensorRT-RTX is not installed: pip install .*tensorrt-rtx"):
        vars(tensorrt_rtx_session)["_tensorrt_rtx"]()


@pytest.mark.parametrize("profile", [{}, {"log_mels": ((1, 1), (1, 1), (1, 1))}, {"log_mels": ((0, 1, 1001, 64),) * 3}])
def test_a_manifest_with_impossible_shapes(prepared: Path, profile: Any) -> None:
    (engine, _) = read_bundle(prepared).manifest.engines
    with pytest.raises(ValueError, match=r"audio.fp32.rtx (does not take|has impossible shapes)"):
        dataclasses.replace(read_bundle(prepared).manifest, engines=(dataclasses.replace(engine, profile=profile),))
