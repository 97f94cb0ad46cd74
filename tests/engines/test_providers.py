"""The choice of a provider and a precision, from facts about machines that need not be this one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

import claprt
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import NATIVE_FILE, FileInfo, PairedTest, Precision, QualityReport, Stage, TaskReport
from claprt.bundle.manifest import Manifest, parse_manifest
from claprt.engines import choice, providers
from claprt.engines import hardware as machines
from claprt.engines.choice import Choice, EngineOptions
from claprt.engines.hardware import Hardware, default_threads
from claprt.engines.providers import Provider
from claprt.errors import OptionError, ProviderUnavailableError

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
PLAIN = Hardware(providers=frozenset({CPU}), nvidia_gpus=0)
GPU = Hardware(providers=frozenset({CPU, CUDA, TENSORRT}), nvidia_gpus=1)
NO_DRIVER = Hardware(providers=frozenset({CPU, CUDA, TENSORRT}), nvidia_gpus=0)
VNNI = Hardware(providers=frozenset({CPU}), nvidia_gpus=0, openvino="2026.4.1", features=frozenset({"vnni", "bf16"}))
AMX = Hardware(providers=frozenset({CPU}), nvidia_gpus=0, openvino="2026.4.1", features=frozenset({"vnni", "bf16", "amx"}))
NO_RUNTIME = Hardware(providers=frozenset(), nvidia_gpus=0)
OLD = Hardware(providers=frozenset({CPU}), nvidia_gpus=0, openvino="2026.4.1")
NATIVE = dataclasses.replace(VNNI, no_native=None)


def choose(
    provider: str,
    machine: Hardware,
    manifest: Manifest,
    *,
    precision: str = "fp32",
    fallback: bool = False,
    failed: Mapping[Provider, str] = MappingProxyType({}),
) -> Choice:
    options = EngineOptions(provider=provider, precision=precision, fallback=fallback)
    return choice.choose(options, machine, manifest, failed=failed)


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return read_bundle(bundle).manifest


ENGINES = {
    Precision.FP16: ("onnxruntime 1.31.1",),
    Precision.BF16: ("openvino 2026.4.1",),
    Precision.INT8: ("onnxruntime 1.31.1", "openvino 2026.4.1"),
}
"""What judges each precision where everything is installed."""


def judged(
    manifest: Manifest,
    *,
    text_int8: float = 0.99,
    forced: tuple[Precision, ...] = (),
    engines: Mapping[Precision, tuple[str, ...]] = ENGINES,
) -> Manifest:
    """A manifest with every precision for both towers, all accepted but `forced` ones, and text in int8 by its cosine."""
    graphs = {
        stage: dict.fromkeys(Precision if stage is not Stage.LOG_MEL else [Precision.FP32], of[Precision.FP32])
        for stage, of in manifest.graphs.items()
    }
    quality = tuple(
        QualityReport(
            graph=stage,
            precision=precision,
            engine=engine,
            inputs=1,
            centred_cosine=0.5
            if precision in forced
            else text_int8
            if (stage, precision) == (Stage.TEXT, Precision.INT8)
            else 0.99,
            centred_cosine_min=0.4,
            centred_cosine_limit=0.9,
        )
        for stage in (Stage.AUDIO, Stage.TEXT)
        for precision, names in engines.items()
        for engine in names
    )
    return dataclasses.replace(manifest, graphs=graphs, quality=quality)


@pytest.mark.parametrize(("machine", "expected"), [(PLAIN, "cpu"), (GPU, "cuda"), (NO_DRIVER, "cpu"), (AMX, "cpu")])
def test_auto(manifest: Manifest, machine: Hardware, expected: str) -> None:
    """With fp32, which is what `load` asks for where nobody does."""
    choice = choose("auto", machine, manifest)
    assert choice.provider == expected
    assert choice.precision == "fp32"


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (PLAIN, ("cpu", "int8")),
        (GPU, ("cuda", "fp16")),
        (VNNI, ("openvino", "int8")),
        (AMX, ("openvino", "bf16")),
        (OLD, ("cpu", "int8")),
    ],
)
def test_the_fastest(manifest: Manifest, machine: Hardware, expected: tuple[str, str]) -> None:
    choice = choose("auto", machine, judged(manifest), precision="auto")
    assert (choice.provider, choice.audio) == expected


@pytest.mark.parametrize(
    ("version", "provider"),
    [("2025.1.0", "cpu"), ("2025.2.0", "cpu"), ("2025.3.0", "openvino"), ("2026.0.0", "openvino"), ("unknown", "openvino")],
)
def test_old_openvino_does_not_read_int8(manifest: Manifest, version: str, provider: str) -> None:
    machine = dataclasses.replace(VNNI, openvino=version)
    choice = choose("auto", machine, judged(manifest), precision="auto")
    assert (choice.provider, choice.audio) == (provider, "int8")
    assert choose("openvino", machine, judged(manifest)).precision == "fp32"
    if provider == "cpu":
        assert any("does not read graphs in int8; 2025.3 and later do: pip install" in line for line in choice.rejected)
        with pytest.raises(ProviderUnavailableError, match=f"OpenVINO {version} does not read graphs in int8"):
            choose("openvino", machine, judged(manifest), precision="int8")


def test_only_what_the_quality_gate_accepted(manifest: Manifest) -> None:
    choice = choose("auto", AMX, judged(manifest, forced=(Precision.BF16,)), precision="auto")
    assert (choice.provider, choice.audio) == ("openvino", "int8")
    assert any("bf16 on openvino: the bundle's quality gate did not accept it" in line for line in choice.rejected)
    plain = choose("auto", AMX, manifest, precision="auto")  # a bundle of fp32 alone
    assert (plain.provider, plain.precision) == ("cpu", "fp32")
    assert any("claprt-export --precision fp32,int8" in line for line in plain.rejected)
    asked = choose("openvino", AMX, judged(manifest, forced=(Precision.BF16,)), precision="bf16")
    assert asked.precision == "bf16"  # by name it can be had


def test_only_what_its_own_engine_was_judged_on(manifest: Manifest) -> None:
    """int8 that onnxruntime alone has run says nothing of OpenVINO's int8, whose sums are others."""
    alone = judged(manifest, engines={Precision.INT8: ("onnxruntime 1.31.1",)})
    choice = choose("auto", VNNI, alone, precision="auto")
    assert (choice.provider, choice.precision) == ("cpu", "int8")
    assert any("int8 on openvino: it was not judged on OpenVINO when it was exported" in line for line in choice.rejected)
    assert choose("openvino", VNNI, alone, precision="auto").precision == "fp32"
    assert choose("openvino", VNNI, alone, precision="int8").precision == "int8"  # by name it can be had
    other = judged(manifest, engines={Precision.INT8: ("openvino 2026.4.1",), Precision.FP16: ("openvino 2026.4.1",)})
    assert choose("auto", PLAIN, other, precision="auto").precision == "fp32"
    assert choose("auto", GPU, other, precision="auto").precision == "fp32"
    mixed = dataclasses.replace(
        manifest,
        graphs=alone.graphs,
        quality=tuple(row for row in judged(manifest).quality if row.graph is Stage.AUDIO or "onnx" in row.engine),
    )
    assert choose("openvino", VNNI, mixed, precision="auto").precision == "int8+fp32"  # text, likewise


def test_a_stand_in_for_bf16_is_named(manifest: Manifest) -> None:
    """Exported where OpenVINO cannot compute in it, bf16 stays usable where it can."""
    stood_in = judged(manifest, engines={**ENGINES, Precision.BF16: ("torch 2.13.0+cpu autocast",)})
    choice = choose("auto", AMX, stood_in, precision="auto")
    assert (choice.provider, choice.audio) == ("openvino", "bf16")
    assert "bf16 was judged by torch 2.13.0+cpu autocast, which stood in for OpenVINO" in choice.reason
    assert "stood in" not in choose("auto", AMX, judged(manifest), precision="auto").reason
    assert "stood in" not in choose("openvino", AMX, stood_in, precision="bf16").reason
    refused = judged(manifest, engines={Precision.BF16: ("torch 2.13.0+cpu autocast",)}, forced=(Precision.BF16,))
    assert choose("auto", AMX, refused, precision="auto").precision == "fp32"


def test_text_is_chosen_by_itself(manifest: Manifest) -> None:
    choice = choose("auto", PLAIN, judged(manifest, text_int8=0.5), precision="auto")
    assert (choice.audio, choice.text, choice.precision) == ("int8", "fp32", "int8+fp32")
    assert choose("auto", AMX, judged(manifest), precision="auto").precision == "bf16+int8"


def test_a_task_can_refuse(manifest: Manifest) -> None:
    def row(top1: float, recall5: float | None) -> QualityReport:
        task = TaskReport(
            dataset="d",
            sounds=9,
            top1=top1,
            top1_fp32=0.9,
            recall5=recall5,
            recall5_fp32=0.9 if recall5 else None,
            limit=-0.005,
        )
        return QualityReport(
            graph=Stage.AUDIO, precision=Precision.INT8, engine="e", inputs=1, centred_cosine=1, centred_cosine_min=1,
            centred_cosine_limit=0.9, tasks=(task,),
        )  # fmt: skip

    assert row(0.896, None).accepted
    assert not row(0.894, None).accepted
    assert not row(0.9, 0.894).accepted
    graphs = {**manifest.graphs, Stage.AUDIO: dict.fromkeys(Precision, manifest.graphs[Stage.AUDIO][Precision.FP32])}
    for good, bad in ((0.9, 0.5), (0.5, 0.9)):  # every engine that was asked has to accept it
        both = dataclasses.replace(manifest, graphs=graphs, quality=(row(good, None), row(bad, None)))
        assert not both.accepted(Stage.AUDIO, Precision.INT8)
    assert not dataclasses.replace(manifest, graphs=graphs).accepted(Stage.AUDIO, Precision.INT8)  # never judged


def test_a_paired_test_decides(manifest: Manifest) -> None:
    """The bound of a test counts, not the change; where fp32 is at chance, neither, and a bundle of 0.1.0 has no test."""
    test = PairedTest(changed=0.01, worst=-0.019, confidence=0.95, chance=0.001, chance_limit=0.01)
    old = TaskReport(dataset="d", sounds=201, top1=0.89, top1_fp32=0.9, limit=-0.005)
    passed = dataclasses.replace(old, limit=-0.02, top1_test=test)
    not_excluded = dataclasses.replace(old, limit=-0.018, top1_test=test)
    at_chance = dataclasses.replace(old, top1_test=dataclasses.replace(test, chance=0.02))
    also_lost = dataclasses.replace(passed, recall5_test=dataclasses.replace(test, worst=-0.021))
    row = QualityReport(
        graph=Stage.AUDIO, precision=Precision.INT8, engine="e", inputs=1, centred_cosine=1, centred_cosine_min=1,
        centred_cosine_limit=0.9,
    )  # fmt: skip
    found: dict[str, tuple[bool, bool]] = {}
    for name, task in {"old": old, "passed": passed, "lost": not_excluded, "chance": at_chance, "both": also_lost}.items():
        judged = dataclasses.replace(row, tasks=(task,))
        found[name] = (judged.accepted, judged.by_cosine_alone)
        written = dataclasses.replace(manifest, quality=(judged,))
        assert parse_manifest(written.to_json().encode(), Path("x")).quality == (judged,)
    assert found == {
        "old": (False, False),
        "passed": (True, False),
        "lost": (False, False),
        "chance": (True, True),
        "both": (False, False),
    }
    assert row.by_cosine_alone
    assert not dataclasses.replace(row, centred_cosine=0.8, tasks=(at_chance,)).accepted


@pytest.mark.parametrize("asked", ["cpu", "cuda", "tensorrt"])
def test_what_was_asked_for(manifest: Manifest, asked: str) -> None:
    choice = choose(asked, GPU, manifest)
    assert choice.provider == asked
    assert choice.reason == "asked for"


@pytest.mark.parametrize(
    ("asked", "precision", "machine", "words"),
    [
        ("cuda", "fp32", PLAIN, r"no CUDAExecutionProvider .*pip install .*\[gpu\]'"),
        ("tensorrt", "fp32", PLAIN, "no TensorrtExecutionProvider"),
        ("cuda", "fp32", NO_DRIVER, "no NVIDIA GPU with a driver"),
        ("tensorrt", "fp32", NO_DRIVER, "no NVIDIA GPU with a driver"),
        ("native", "int8", VNNI, "claprt-native is not installed"),
        ("native", "fp32", NATIVE, "native does not run fp32"),
        ("openvino", "fp32", GPU, r"OpenVINO is not installed: pip install .*\[openvino\]'"),
        ("openvino", "bf16", OLD, "neither AVX512-BF16 nor AMX"),
        ("openvino", "int8", OLD, "has no VNNI"),
        ("cpu", "bf16", AMX, "cpu does not run bf16; openvino does"),
        ("openvino", "fp16", AMX, "openvino does not run fp16; cuda, tensorrt and tensorrt-rtx do"),
        ("cuda", "int8", GPU, "cuda does not run int8; cpu, openvino and native do"),
        ("auto", "fp16", PLAIN, 'precision="fp16" cannot be had here. fp16 on cuda: the installed onnxruntime has no CUDA'),
        ("auto", "bf16", OLD, "neither AVX512-BF16 nor AMX"),
        (
            "auto",
            "auto",
            NO_RUNTIME,
            "^No provider can run this bundle here. fp16 on cuda: the installed onnxruntime has no",
        ),
    ],
)
def test_what_cannot_be_had(manifest: Manifest, asked: str, precision: str, machine: Hardware, words: str) -> None:
    with pytest.raises(ProviderUnavailableError, match=words):
        choose(asked, machine, judged(manifest), precision=precision)


JUDGED_NATIVELY = {**ENGINES, Precision.INT8: (*ENGINES[Precision.INT8], "native 0.2.0 avx512_bf16")}


def packed(manifest: Manifest) -> Manifest:
    """With packed weights of the audio tower, as every export with int8 writes them."""
    return dataclasses.replace(manifest, files={**manifest.files, NATIVE_FILE: FileInfo(sha256="00" * 32, bytes=1)})


def test_the_native_engine_is_not_tried_unasked_without_packed_weights(manifest: Manifest) -> None:
    choice = choose("auto", NATIVE, judged(manifest, engines=JUDGED_NATIVELY), precision="int8")
    assert choice.provider == "openvino"
    assert any("no packed weights" in reason for reason in choice.rejected)
    assert choose("native", NATIVE, judged(manifest), precision="int8").provider == "native"


def test_the_native_engine_is_the_fastest_where_it_was_judged(manifest: Manifest) -> None:
    manifest = packed(manifest)
    choice = choose("auto", NATIVE, judged(manifest, engines=JUDGED_NATIVELY), precision="auto")
    assert (choice.provider, choice.precision) == ("native", "int8")
    choice = choose("auto", NATIVE, judged(manifest), precision="auto")
    assert choice.provider == "openvino"
    assert any("it was not judged on native" in reason for reason in choice.rejected)
    assert choose("native", NATIVE, judged(manifest), precision="int8").provider == "native"  # by name it can be had


def test_the_native_engine_is_ahead_of_bf16_with_a_matrix_unit(manifest: Manifest) -> None:
    machine = dataclasses.replace(AMX, no_native=None)
    judged_natively = judged(packed(manifest), engines=JUDGED_NATIVELY)
    choice = choose("auto", machine, judged_natively, precision="auto")
    assert (choice.provider, choice.precision) == ("native", "int8")
    without = choose("auto", AMX, judged_natively, precision="auto")
    assert (without.provider, without.audio) == ("openvino", "bf16")


def test_text_beside_the_native_engine_is_onnxruntimes(manifest: Manifest) -> None:
    manifest = packed(manifest)
    loses = judged(manifest, engines=JUDGED_NATIVELY, text_int8=0.5)
    assert choose("auto", NATIVE, loses, precision="auto").precision == "int8+fp32"
    assert providers.provider_of(Provider.NATIVE, Stage.TEXT) is Provider.CPU
    assert providers.provider_of(Provider.NATIVE, Stage.AUDIO) is Provider.NATIVE
    alone = dataclasses.replace(NATIVE, providers=frozenset[str]())
    assert choose("auto", alone, judged(manifest, engines=JUDGED_NATIVELY), precision="auto").provider == "openvino"


def test_auto_goes_on_where_the_native_engine_cannot_be_loaded(manifest: Manifest) -> None:
    failed = {Provider.NATIVE: "the native engine does not run audio.int8.onnx: its heads are 8 wide"}
    choice = choose("auto", NATIVE, judged(packed(manifest), engines=JUDGED_NATIVELY), precision="auto", failed=failed)
    assert choice.provider == "openvino"
    assert any("heads are 8 wide" in reason for reason in choice.rejected)


@pytest.mark.parametrize("asked", ["cuda", "tensorrt", "openvino"])
def test_an_allowed_fallback(manifest: Manifest, asked: str) -> None:
    fallen = choose(asked, PLAIN, judged(manifest), precision="int8", fallback=True)
    assert (fallen.provider, fallen.precision) == (Provider.CPU, "int8")
    assert "fallback" in fallen.reason


@pytest.mark.parametrize("asked", ["cuda", "tensorrt"])
def test_a_fallback_that_the_cpu_cannot_be(manifest: Manifest, asked: str) -> None:
    with pytest.raises(ProviderUnavailableError) as caught:
        choose(asked, NO_DRIVER, judged(manifest), precision="fp16", fallback=True)
    assert str(caught.value) == (
        f'provider="{asked}", precision="fp16" cannot be had here. fp16 on {asked}: no NVIDIA GPU with a driver was found '
        '(nvidia-smi should list one), and the CPU does not run fp16: ask for precision="auto".'
    )
    fallen = choose(asked, NO_DRIVER, judged(manifest), precision="auto", fallback=True)
    assert (fallen.provider, fallen.precision) == ("cpu", "int8")
    with pytest.raises(ProviderUnavailableError, match=r'fallback=True \(--fallback\) and precision="auto"\.$'):
        choose(asked, NO_DRIVER, judged(manifest), precision="fp16")


def test_what_failed_to_load_is_passed_over(manifest: Manifest) -> None:
    failed = {Provider.CUDA: "libcudnn.so.9: cannot open shared object file"}
    choice = choose("auto", GPU, judged(manifest), precision="auto", failed=failed)
    assert (choice.provider, choice.precision) == ("cpu", "int8")
    assert any("fp16 on cuda: it could not be loaded: libcudnn.so.9" in line for line in choice.rejected)
    assert (choice.options.provider, choice.options.precision) == ("auto", "auto")
    with pytest.raises(ProviderUnavailableError, match="libcudnn"):
        choose("cuda", GPU, judged(manifest), failed=failed)
    fallen = choose("cuda", GPU, judged(manifest), precision="auto", fallback=True, failed=failed)
    assert (fallen.provider, fallen.precision, fallen.options.provider) == ("cpu", "int8", "cuda")
    assert "libcudnn" in fallen.reason
    with pytest.raises(
        ProviderUnavailableError, match="fp16 on cuda: it could not be loaded"
    ):  # TensorRT does not replace it
        choose("auto", GPU, judged(manifest), precision="fp16", failed=failed)


def test_nothing_can_be_had(manifest: Manifest) -> None:
    nothing = Hardware(providers=frozenset(), nvidia_gpus=0)
    for asked in ("auto", "cpu"):
        with pytest.raises(ProviderUnavailableError, match="it has none"):
            choose(asked, nothing, manifest, fallback=True)


def test_unknown_names(manifest: Manifest) -> None:
    with pytest.raises(OptionError, match="auto or one of cpu, cuda, tensorrt, openvino"):
        choose("gpu", GPU, manifest, fallback=True)
    with pytest.raises(OptionError, match="auto or one of fp32, fp16, bf16, int8"):
        choose("cpu", GPU, manifest, precision="fp8")
    with pytest.raises(OptionError, match=r"holds fp32 for its audio graph.*--precision fp32,int8"):
        choose("cpu", GPU, manifest, precision="int8")


def test_no_cuda_on_this_machine(bundle: Path) -> None:
    if machines.nvidia_gpus():
        pytest.skip("has a GPU")
    with pytest.raises(ProviderUnavailableError, match="cuda"):
        claprt.load(bundle, provider="cuda")
    clap = claprt.load(bundle, provider="cuda", fallback=True)
    assert clap.provider == "cpu"


def test_threads_respect_a_containers_quota(tmp_path: Path) -> None:
    assert default_threads() >= 1
    for content, expected in (("150000 100000", 2), ("50000 100000", 1), ("max 100000", 1 << 20), ("nonsense", 1 << 20)):
        (tmp_path / "cpu.max").write_text(content)
        assert machines._quota(tmp_path) == expected  # pyright: ignore[reportPrivateUsage]
    assert machines._quota(tmp_path / "none") == 1 << 20  # pyright: ignore[reportPrivateUsage]
    old = tmp_path / "v1"
    (old / "cpu").mkdir(parents=True)
    for quota, expected in (("150000", 2), ("-1", 1 << 20)):
        (old / "cpu" / "cpu.cfs_quota_us").write_text(quota)
        (old / "cpu" / "cpu.cfs_period_us").write_text("100000")
        assert machines._quota(old) == expected  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("threads", [0, -1, 5_000])
def test_impossible_threads(bundle: Path, threads: int) -> None:
    with pytest.raises(OptionError, match="give 1 to"):
        claprt.load(bundle, threads=threads)
