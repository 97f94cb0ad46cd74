"""The committed configurations against bundles, and every rule of the lint against a copy that breaks it."""

from __future__ import annotations

import compileall
import dataclasses
import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient (pip install 'claprt[triton]')")

from claprt.bundle.digests import sha256_of
from claprt.bundle.folder import Bundle, read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE, TextConfig, parse_manifest
from claprt.bundle.onnx_file import check_self_contained
from claprt.cli import main
from claprt.errors import BundleNotFoundError, OptionError, ServerError
from claprt.triton.repository.builder import Build, build, source_folder
from claprt.triton.repository.lint import RepositoryError, check, config_files, read_config, tensors
from claprt.triton.repository.onnx_versions import onnx_versions
from tools.pypi_triton_server import Ports, TritonServer

MODELS = {
    "audio_tower", "clap_audio", "clap_audio_file", "clap_classify", "clap_text", "decode", "log_mel", "pool",
    "text_tower", "tokenizer", "zero_shot",
}  # fmt: skip
GRAPHS = {"log_mel": Stage.LOG_MEL, "audio_tower": Stage.AUDIO, "text_tower": Stage.TEXT}


@pytest.fixture(scope="module")
def built(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Build(bundle=read_bundle(bundle)), tmp_path_factory.mktemp("built") / "repository")


def test_what_is_built(built: Path, bundle: Path) -> None:
    manifest = read_bundle(bundle).manifest
    assert {path.name for path in built.iterdir()} == MODELS
    assert check(built, manifest, Precision.FP32) == []
    for name, stage in GRAPHS.items():
        assert sha256_of(built / name / "1" / "model.onnx") == manifest.graph(stage, Precision.FP32).sha256
        assert (built / name / "1" / "model.onnx").samefile(bundle / manifest.graph(stage, Precision.FP32).file)
    assert not list(built.glob("*/configs/tensorrt.pbtxt"))
    assert list(built.glob("*/1/model.plan")) == []


def test_built_from_a_package_whose_files_were_compiled(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip leaves it: byte-compiled files lie beside the models."""
    package = tmp_path / "package"
    shutil.copytree(source_folder(), package)
    assert compileall.compile_dir(package, quiet=1)
    monkeypatch.setattr("claprt.triton.repository.builder.source_folder", lambda: package)
    found = build(Build(bundle=read_bundle(bundle)), tmp_path / "repository")
    assert {path.name for path in found.glob("*/1/*") if path.name.startswith("__")} == set()
    assert check(found, read_bundle(bundle).manifest, Precision.FP32) == []


def test_the_manifest_is_served(built: Path, bundle: Path) -> None:
    for path in config_files(built / "audio_tower"):
        stated = read_config(path).parameters
        assert parse_manifest(stated["manifest"].string_value.encode(), path) == read_bundle(bundle).manifest
        assert stated["precision"].string_value == "fp32"


def as_configured(graph: Path) -> onnxruntime.InferenceSession:
    """Open a graph as the log-mel is configured (`level: -1`), with which every version of onnxruntime runs it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def test_graphs_truly_have_what_configurations_state(built: Path) -> None:
    """Read from the ONNX files themselves: names, types, dims, opset, and no file beside them."""
    types = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64", "tensor(bool)": "TYPE_BOOL"}
    for name in GRAPHS:
        path = built / name / "1" / "model.onnx"
        check_self_contained(path)
        ir_version, opsets = onnx_versions(path)
        assert opsets == {"": 20}
        assert ir_version <= 10  # what the onnxruntime of Triton 24.10 reads
        session = as_configured(path)
        for file in config_files(built / name):
            config = read_config(file)
            for stated, ends in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
                want = {end.name: (types[end.type], [x if isinstance(x, int) else -1 for x in end.shape]) for end in ends}
                have = {tensor.name: (tensors(config)[tensor.name][0], [-1, *tensor.dims]) for tensor in stated}
                assert have == want


def test_nothing_for_the_cpu_needs_a_gpu(built: Path) -> None:
    for path in [*built.glob("*/configs/cpu.pbtxt"), *built.glob("*/configs/python.pbtxt")]:
        text = path.read_text(encoding="utf-8")
        assert "GPU" not in text
        assert "tensorrt" not in text.lower()
    for path in built.glob("*/config.pbtxt"):
        config = read_config(path)
        if config.backend == "python":
            assert all(group.kind == group.KIND_CPU for group in config.instance_group)


def test_no_absolute_paths(built: Path) -> None:
    for path in built.glob("**/*.pbtxt"):
        assert not re.search(r'"/[a-z]', path.read_text(encoding="utf-8"))


def test_python_models_are_one_import() -> None:
    """A repository that was built holds none of the code that a newer claprt changes."""
    models = list(source_folder().glob("*/1/model.py"))
    assert len(models) == 7
    for path in models:
        code = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith('"""')]
        assert re.fullmatch(r"from claprt\.triton\.backend import \w+ as TritonPythonModel", code[0]), path
        assert code[1:] == ['__all__ = ["TritonPythonModel"]'], path


def test_fused(fused_bundle: Path, tmp_path: Path) -> None:
    folder = build(Build(bundle=read_bundle(fused_bundle)), tmp_path / "repository")
    assert [list(tensor.dims) for tensor in read_config(folder / "audio_tower" / "config.pbtxt").input] == [
        [4, 1001, 64],
        [1],
    ]
    assert not list(folder.glob("*/fused"))


def with_precision(folder: Path, precision: Precision) -> Bundle:
    """A copy of the toy bundle whose fp32 graphs stand for another precision as well."""
    bundle = read_bundle(folder)
    graphs: dict[Stage, Any] = dict(bundle.manifest.graphs)
    for stage in (Stage.AUDIO, Stage.TEXT):
        full = graphs[stage][Precision.FP32]
        file = f"{stage}.{precision}.onnx"
        shutil.copy(folder / full.file, folder / file)
        graphs[stage] = {**graphs[stage], precision: dataclasses.replace(full, file=file)}
    manifest = dataclasses.replace(bundle.manifest, graphs=graphs)
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return read_bundle(folder)


@pytest.mark.parametrize(("tensorrt", "told"), [(10, True), (11, False)])
def test_fp16_for_tensorrt(bundle: Path, tmp_path: Path, tensorrt: int, told: bool) -> None:
    """TensorRT 10 has to be told that half precision is allowed; 11 has no such flag."""
    copy = with_precision(Path(shutil.copytree(bundle, tmp_path / "bundle")), Precision.FP16)
    folder = build(Build(bundle=copy, precision=Precision.FP16, tensorrt=tensorrt), tmp_path / "repository")
    for name in ("audio_tower", "text_tower"):
        (accelerator,) = read_config(
            folder / name / "config.pbtxt"
        ).optimization.execution_accelerators.gpu_execution_accelerator
        assert (accelerator.parameters.get("precision_mode") == "FP16") is told
        assert ("trt_layer_norm_fp32_fallback" in accelerator.parameters) is told
        assert (folder / name / "1" / f"{GRAPHS[name]}.fp16.onnx").exists()


def test_plans(bundle: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans"
    plans.mkdir()
    wanted = Build(bundle=read_bundle(bundle), plans=plans)
    with pytest.raises(BundleNotFoundError, match="graphs.tensorrt builds them"):
        build(wanted, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()
    for stage in ("audio", "text"):
        (plans / f"{stage}.fp32.plan").write_bytes(b"engine")
    folder = build(wanted, tmp_path / "repository")
    assert read_config(folder / "audio_tower" / "configs" / "tensorrt.pbtxt").platform == "tensorrt_plan"
    assert (folder / "text_tower" / "1" / "model.plan").read_bytes() == b"engine"


def test_versions_live_side_by_side(bundle: Path, tmp_path: Path) -> None:
    found = read_bundle(bundle)
    folder = build(Build(bundle=found), tmp_path / "repository")
    build(Build(bundle=found, version=2), folder)
    assert {path.name for path in (folder / "audio_tower").iterdir() if path.is_dir()} == {"1", "2", "configs"}
    build(Build(bundle=found, version=2), folder)
    assert check(folder, found.manifest, Precision.FP32) == []
    with pytest.raises(OptionError, match="holds version 2"):
        build(Build(bundle=found), folder)


def test_nothing_of_others_is_deleted(bundle: Path, tmp_path: Path) -> None:
    """Neither another's models, nor a bundle, nor a file; and a folder that is empty may be taken."""
    wanted, models = Build(bundle=read_bundle(bundle)), tmp_path / "models"
    shutil.copytree(bundle, tmp_path / "bundle")
    (models / "resnet" / "1").mkdir(parents=True)
    (models / "resnet" / "config.pbtxt").write_text('name: "resnet"')
    alike = tmp_path / "alike" / "audio_tower"
    alike.mkdir(parents=True)
    (alike / "config.pbtxt").write_text('name: "audio_tower"')
    (tmp_path / "file").write_text("text")

    def found() -> dict[Path, tuple[int, int, int]]:
        return {path: (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}

    before = found()
    for out, sentence in (
        (models, "holds resnet"), (tmp_path / "bundle", r"holds \S+, not a repository"), (tmp_path / "file", "is a file"),
        (alike.parent, "holds models, not a repository"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=sentence):
            build(wanted, out)
    assert found() == before
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        build(wanted, tmp_path / "empty")
    (tmp_path / "empty" / "resnet").mkdir()
    with pytest.raises(OptionError, match="holds resnet"):
        build(wanted, tmp_path / "empty")


def test_into_the_folder_one_stands_in(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(Build(bundle=read_bundle(bundle)), tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    assert main(["triton", "--bundle", str(bundle), "--out", "."]) == 0
    assert {path.name for path in (tmp_path / "repository").iterdir()} == MODELS


def test_a_server_that_cannot_be_started(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before another's server is taken for it, and before a folder of something else is served."""
    monkeypatch.setattr("tools.pypi_triton_server.subprocess.Popen", lambda *_, **__: pytest.fail("started"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for name in ("http", "grpc", "metrics"):
            ports = dataclasses.replace(Ports.free(), **{name: other.getsockname()[1]})
            with pytest.raises(ServerError, match=f"Port {other.getsockname()[1]} of 127.0.0.1 cannot be had"):
                TritonServer(built, ports).start()
    with pytest.raises(ServerError, match="no model repository"):
        TritonServer(tmp_path, Ports.free()).start()


def test_int8_is_not_given_to_tensorrt(bundle: Path, tmp_path: Path) -> None:
    copy = with_precision(Path(shutil.copytree(bundle, tmp_path / "bundle")), Precision.INT8)
    folder = build(Build(bundle=copy, precision=Precision.INT8), tmp_path / "repository")
    config = read_config(folder / "audio_tower" / "config.pbtxt")
    assert not config.optimization.execution_accelerators.gpu_execution_accelerator
    assert config.parameters["precision"].string_value == "int8"


def test_graphs_run_in_the_order_of_the_ensembles(built: Path, clap: Any) -> None:
    """What the onnxruntime backend would run, run by onnxruntime: the vectors are those in process."""
    waveforms = np.random.default_rng(0).normal(0, 0.3, (3, 480_000)).astype(np.float32)
    mel, tower = (as_configured(built / name / "1" / "model.onnx") for name in ("log_mel", "audio_tower"))
    vectors: Any = tower.run(None, {"log_mels": mel.run(None, {"waveforms": waveforms})[0]})[0]
    assert np.abs(vectors - clap.embed_audio(list(waveforms))).max() <= 1e-6


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precision": Precision.BF16}, "OpenVINO"),
        ({"version": 0}, "from 1"),
        ({"precision": Precision.INT8}, "holds fp32"),
    ],
)
def test_what_cannot_be_built(bundle: Path, tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        build(Build(bundle=read_bundle(bundle), **options), tmp_path / "repository")


def test_command(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["triton", "--bundle", str(bundle), "--out", str(tmp_path / "repository")]) == 0
    assert "tiny in fp32, version 1" in capsys.readouterr().out
    assert main(["triton", "--bundle", str(bundle), "--out", str(tmp_path / "other"), "--precision", "int8"]) == 1


def test_a_bundle_of_other_dims_is_refused(bundle: Path, tmp_path: Path) -> None:
    """Built whole or not at all, with every disagreement named."""
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    content = json.loads((copy / MANIFEST_FILE).read_text(encoding="utf-8"))
    content["graphs"]["audio"]["fp32"]["inputs"][0]["shape"] = ["batch", 1, 1001, 80]
    content["text"]["max_tokens"] = 64
    (copy / MANIFEST_FILE).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RepositoryError, match="audio_tower/config.pbtxt: inputs are") as caught:
        build(Build(bundle=read_bundle(copy)), tmp_path / "repository")
    assert "largest token_ids is [256, 77], and should be [256, 64]" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_steps_without_a_server() -> None:
    """Raw samples and the limit of length, which python steps rely on."""
    from claprt.audio.decode import float_samples
    from claprt.audio.long_audio import limit_duration
    from claprt.bundle.manifest import AudioConfig, MelSpec
    from claprt.errors import AudioDecodeError, AudioShapeError

    assert float_samples(np.array([0.5, -1], np.float32).tobytes()).tolist() == [0.5, -1.0]
    with pytest.raises(AudioDecodeError, match="3 bytes"):
        float_samples(b"abc")
    facts = AudioConfig(architecture="x", mel=MelSpec())
    block = np.zeros(480_000, np.float32)
    assert len(list(limit_duration(2, [block, block, block[:479]], 48_000, facts))) == 3
    assert len(list(limit_duration(2, [block[:8000], block[:8000]], 800, facts))) == 2
    for windows, blocks in ((2, [block, block, block[:480]]), (0, [block[:1]])):
        with pytest.raises(AudioShapeError, match="more sound"):
            list(limit_duration(windows, blocks, 48_000, facts))


def test_texts_padded_on_either_side_keep_their_tokens() -> None:
    from claprt.errors import ArrayError
    from claprt.triton.backend.adapter import text_rows

    class Engine:
        def text(self, token_ids: Any, attention_mask: Any) -> Any:
            return (token_ids * attention_mask).sum(axis=1, keepdims=True).astype(np.float32)

    token_ids = np.array([[1, 2, 9, 9], [9, 9, 3, 4], [5, 9, 6, 9]])
    mask = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]])
    engine: Any = Engine()
    facts = TextConfig(architecture="roberta", max_tokens=4)
    assert text_rows(engine, facts, token_ids, mask, batch=2)[:, 0].tolist() == [3, 7, 11]
    with pytest.raises(ArrayError, match="no token"):
        text_rows(engine, facts, token_ids, mask * 0)
