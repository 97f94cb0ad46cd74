"""What happens where a GPU's provider is listed and its libraries do not load, on a machine that has no GPU."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest

import claprt
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, QualityReport, Stage
from claprt.cli import main
from claprt.engines import in_process, onnxruntime_session
from claprt.engines.choice import Choice, EngineOptions, choose
from claprt.engines.graph_cache import GraphCache
from claprt.engines.hardware import Hardware
from claprt.engines.in_process import InProcessEngine
from claprt.engines.open_session import open_session
from claprt.engines.providers import Provider
from claprt.errors import FallbackWarning, ProviderUnavailableError

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
BROKEN = "libcudnn.so.9: cannot open shared object file"
MACHINE = Hardware(providers=frozenset({CUDA, TENSORRT, CPU}), nvidia_gpus=1)
LOG_MELS: Any = np.random.default_rng(0).normal(-30, 10, (2, 1, 1001, 64)).astype(np.float32)
TOKEN_IDS: Any = np.full((1, 5), 7, np.int64)


class _Pretending:
    """A session of the CPU that says that it is the one that was asked for."""

    def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
        first = providers[0] if isinstance(providers[0], str) else providers[0][0]
        self._session, self._provider = onnxruntime.InferenceSession(path, options, providers=[CPU]), first

    def get_providers(self) -> list[str]:
        return [self._provider]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


Pretend = Callable[[Callable[[str], bool]], list[tuple[str, Any]]]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """A machine with a GPU; what its libraries load is decided by a graph's file name. Returns what was asked for."""

    def machine(loads: Callable[[str], bool]) -> list[tuple[str, Any]]:
        asked: list[tuple[str, Any]] = []

        def create(path: str, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
            asked.append((Path(path).name, providers))
            if providers != [CPU] and not loads(Path(path).name):
                raise RuntimeError(BROKEN)
            return _Pretending(path, options, providers)

        fake = SimpleNamespace(SessionOptions=onnxruntime.SessionOptions, InferenceSession=create)
        monkeypatch.setattr(in_process, "detect_hardware", lambda: MACHINE)
        monkeypatch.setattr(onnxruntime_session, "_onnxruntime", lambda: fake)
        monkeypatch.setattr(
            onnxruntime_session, "IoBindingRunner", lambda _, made, *rest, **more: lambda feeds: made.run(None, feeds)[0]
        )
        onnxruntime_session.preload_gpu_libraries.cache_clear()
        return asked

    return machine


def nothing(_: str) -> bool:
    return False


def audio_only(file: str) -> bool:
    return file.startswith("audio")


def with_fp16(bundle: Path) -> Any:
    """The bundle with its graphs a second time as what fp16 would be, accepted by the quality gate."""
    return with_second(bundle, Precision.FP16, "onnxruntime 1.31.1")


def with_second(bundle: Path, precision: Precision, engine: str) -> Any:
    """The bundle with its graphs a second time as another precision, accepted by the quality gate on an engine."""
    found = read_bundle(bundle)
    manifest = found.manifest
    graphs = {
        stage: {**of, precision: of[Precision.FP32]} if stage is not Stage.LOG_MEL else of
        for stage, of in manifest.graphs.items()
    }
    quality = tuple(
        QualityReport(
            graph=stage, precision=precision, engine=engine, inputs=1, centred_cosine=1.0,
            centred_cosine_min=1.0, centred_cosine_limit=0.9,
        )
        for stage in (Stage.AUDIO, Stage.TEXT)
    )  # fmt: skip
    return dataclasses.replace(found, manifest=dataclasses.replace(manifest, graphs=graphs, quality=quality))


def choice_of(clap: claprt.Clap) -> Choice:
    return cast("InProcessEngine", clap.engine).choice


def test_auto_goes_on_without_what_does_not_load(bundle: Path, pretend: Pretend) -> None:
    """Nobody chose CUDA, so plain `load` works, and says what is wrong."""
    asked = pretend(nothing)
    with pytest.warns(FallbackWarning, match=r"cuda could not be loaded: libcudnn.*runs on cpu instead"):
        clap = claprt.load(bundle)
    assert clap.provider == "cpu"
    assert any(f"fp32 on cuda: it could not be loaded: {BROKEN}" in line for line in choice_of(clap).rejected)
    assert clap.embed_text("a dog").shape == (512,)  # without another attempt, and another warning
    assert [providers == [CPU] for _, providers in asked] == [False, True, True]


def test_what_was_chosen_by_name_is_an_error(bundle: Path, pretend: Pretend) -> None:
    pretend(nothing)
    for provider in ("cuda", "tensorrt"):
        with pytest.raises(ProviderUnavailableError, match=rf'provider="{provider}".*{BROKEN}.*--fallback') as caught:
            claprt.load(bundle, provider=provider)
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_both_towers_go_to_the_cpu(bundle: Path, pretend: Pretend) -> None:
    """Where text fails after audio ran on the GPU, audio moves as well, and what the engine says of itself is so."""
    asked = pretend(audio_only)
    clap = claprt.load(bundle)
    before = clap.fingerprint
    assert clap.provider == "cuda"
    with pytest.warns(FallbackWarning):
        clap.embed_text("a dog")
    assert clap.provider == "cpu"
    assert clap.fingerprint == before
    clap.engine.audio(LOG_MELS, None)
    assert asked[-1] == ("audio.fp32.onnx", [CPU])


def test_another_precision_is_not_slipped_in(bundle: Path, pretend: Pretend) -> None:
    """Vectors in fp16 may be out already; those of the CPU would not be comparable with them."""
    pretend(audio_only)
    found = with_fp16(bundle)
    engine = InProcessEngine(found, choose(EngineOptions(precision="auto"), MACHINE, found.manifest))
    assert (engine.provider, engine.precision) == ("cuda", "fp16")
    for _ in range(2):
        with pytest.raises(
            ProviderUnavailableError, match='are in fp16, and those of cpu would be in fp32.*provider="cpu"'
        ):
            engine.text(TOKEN_IDS, np.ones_like(TOKEN_IDS))
    assert (engine.provider, engine.precision) == ("cuda", "fp16")
    assert engine.audio(LOG_MELS, None).shape == (2, 512)


def test_nor_for_many_sounds_of_a_model_that_has_loaded_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine for many sounds is then the first that loads anything; fingerprints were given out before."""
    machine = Hardware(providers=frozenset({CPU}), nvidia_gpus=0, openvino="2026.4.1", features=frozenset({"amx", "bf16"}))
    monkeypatch.setattr(in_process, "detect_hardware", lambda: machine)

    def refused(found: Any, choice: Choice, *rest: Any, **options: Any) -> Any:
        if choice.provider is Provider.OPENVINO:
            raise ProviderUnavailableError(BROKEN)
        return open_session(found, choice, *rest, **options)

    monkeypatch.setattr(in_process, "open_session", refused)
    found = with_second(bundle, Precision.BF16, "openvino 2026.4.1")
    choice = choose(EngineOptions(precision="auto", threads=2), machine, found.manifest)
    with pytest.warns(FallbackWarning):
        assert InProcessEngine(found, choice).precision == "fp32"  # nothing was given out
    engine = InProcessEngine(found, choice, preload=())
    assert (engine.provider, engine.precision) == ("openvino", "bf16")
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError, match="are in bf16, and those of cpu would be in fp32"):
            engine.batch_engine()


def test_a_fallback_keeps_to_what_was_asked(bundle: Path, pretend: Pretend) -> None:
    """`auto` was fp16 on the GPU and is chosen anew for the CPU; fp16 by name cannot be had there, as the error says."""
    pretend(nothing)
    found = with_fp16(bundle)
    choice = choose(EngineOptions(provider="cuda", precision="auto", fallback=True), MACHINE, found.manifest)
    assert choice.audio is Precision.FP16
    engine = InProcessEngine(found, choice)
    assert (engine.provider, engine.precision) == ("cpu", "fp32")
    assert BROKEN in engine.choice.reason
    named = choose(EngineOptions(provider="cuda", precision="fp16", fallback=True), MACHINE, found.manifest)
    with pytest.raises(
        ProviderUnavailableError, match=rf'{BROKEN}, and the CPU does not run fp16: ask for precision="auto"'
    ):
        InProcessEngine(found, named)


def test_inspect_tries_the_gpu(bundle: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(nothing)
    assert main(["inspect", str(bundle)]) == 0
    said = capsys.readouterr().out
    assert "fp32 on cpu:" in said
    assert f"not fp32 on cuda: it could not be loaded: {BROKEN}" in said


def test_libraries_are_loaded_before_the_first_session(
    bundle: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, for a GPU only, and what onnxruntime prints on the way does not land among a command's answers."""
    pretend(lambda _: True)
    fake: Any = onnxruntime_session._onnxruntime()  # pyright: ignore[reportPrivateUsage]
    calls: list[int] = []

    def preload() -> None:
        calls.append(1)
        sys.stdout.write("Failed to load libcudnn\n")
        raise OSError("libcudnn")

    fake.preload_dlls = preload
    claprt.load(bundle, provider="cpu")
    assert calls == []
    assert claprt.load(bundle).provider == "cuda"
    assert claprt.load(bundle, provider="tensorrt").provider == "tensorrt"
    assert calls == [1]
    assert capsys.readouterr().out == ""


def test_options_of_a_gpu(bundle: Path, pretend: Pretend, tmp_path: Path) -> None:
    """No TF32 under CUDA; TensorRT's engines in the cache, where there is one."""
    asked = pretend(lambda _: True)
    found = read_bundle(bundle)
    for provider, cache in ((Provider.CUDA, None), (Provider.TENSORRT, GraphCache(tmp_path)), (Provider.TENSORRT, None)):
        choice = choose(EngineOptions(provider=provider), MACHINE, found.manifest)
        InProcessEngine(found, choice, cache=cache, preload=(Stage.AUDIO, Stage.TEXT))
    options = [providers[0][1] for _, providers in asked]
    assert options[:2] == [{"use_tf32": "0"}] * 2
    kept = [tensorrt.get("trt_engine_cache_path") for tensorrt in options[2:]]
    assert kept[2:] == [None, None]
    assert len(set(kept[:2])) == 2
    assert all(Path(str(folder)).parent == tmp_path / "tensorrt" for folder in kept[:2])


def test_names_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--precision", "--provider", "--long"):
        with pytest.raises(SystemExit):
            main(["embed", "a.wav", option, "int4"])
        said = capsys.readouterr().err
        assert "invalid choice: 'int4'" in said
        assert "<" not in said.partition("invalid choice")[2]
