"""TensorRT's own parser and builder, as TensorRT-RTX has them without a GPU; of TensorRT itself, what it is asked."""

from __future__ import annotations

import base64
import dataclasses
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import claprt
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE
from claprt.engines.tensorrt import probe_feeds
from claprt.errors import BundleCorruptError, MissingDependencyError, OptionError
from claprt_export import cli
from claprt_export.checkpoints.checkpoint import Checkpoint
from claprt_export.errors import ExportError, OutputError
from claprt_export.graphs import tensorrt
from claprt_export.graphs.tensorrt import build_engine, main, objections, read_graph
from claprt_export.graphs.tensorrt_rtx import BUILDABLE, known_cards, put_engines
from claprt_export.graphs.to_onnx import audio_graph
from claprt_export.pipeline import export_bundle

TOWERS = (Stage.AUDIO, Stage.TEXT)


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: the tensorrt-rtx extra")


@pytest.fixture(scope="module")
def built(many: Path, tmp_path_factory: pytest.TempPathFactory, rtx: Any) -> Path:
    """A copy of a small bundle with the engines of all its graphs, for one card."""
    out = tmp_path_factory.mktemp("bundles") / "built"
    shutil.copytree(many, out)
    put_engines(out, ["sm86"], max_batch=4)
    return out


@pytest.mark.parametrize("precision", [*BUILDABLE, Precision.BF16])
@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.usefixtures("rtx")
def test_the_parser_takes_every_graph(many: Path, stage: Stage, precision: Precision) -> None:
    assert objections(onnx.load(read_bundle(many).graph_path(stage, precision))) == []


@pytest.mark.usefixtures("rtx", "exported")
def test_the_parser_takes_a_fused_tower(small_fused: Checkpoint) -> None:
    assert objections(audio_graph(small_fused.audio_tower(), 1001)) == []


@pytest.mark.parametrize("stage", TOWERS)
def test_the_parser_does_not_take_zero_points(many: Path, stage: Stage, rtx: Any) -> None:
    """Which is why there is `int8-symmetric`; the first node that it refuses is named."""
    path = read_bundle(many).graph_path(stage, Precision.INT8)
    first = next(node for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear")
    words = rf"does not take {path.name}: node {first.name}, operator QuantizeLinear: .*[Nn]on-zero zero point"
    with pytest.raises(ExportError, match=words):
        read_graph(rtx, str(path), path.name)


def graph(operator: str, *, elem: int = TensorProto.FLOAT, extra: str = "") -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", elem, [2, 3])]
    if extra:
        inputs.append(helper.make_tensor_value_info(extra, TensorProto.INT64, [1]))
    node = helper.make_node(operator, ["x", extra] if extra else ["x"], ["y"], name="some-node")
    output = helper.make_tensor_value_info("y", elem, None)
    return helper.make_model(
        helper.make_graph([node], "g", inputs, [output]), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("model", [graph("DFT", extra="length"), graph("ReduceMean", extra="axes")])
def test_objections_name_node_and_operator(model: onnx.ModelProto) -> None:
    """An operator that it does not have, and an input that would have to be a constant."""
    (node,) = model.graph.node
    found = objections(model)
    assert len(found) >= 1
    assert all(line.startswith(f"node some-node, operator {node.op_type}: ") for line in found)
    assert objections(graph("Softmax")) == []


@pytest.mark.usefixtures("built")
def test_engines_of_every_graph(built: Path, many: Path) -> None:
    bundle = read_bundle(built)
    bundle.verify()
    engines = {(engine.graph, engine.precision): engine for engine in bundle.manifest.engines}
    wanted = {(stage, precision) for stage in TOWERS for precision in BUILDABLE}
    assert engines.keys() == wanted | {(Stage.LOG_MEL, Precision.FP32)}
    for (stage, precision), engine in engines.items():
        facts = bundle.manifest.graph(stage, precision)
        assert engine == bundle.manifest.engine(stage, precision)
        assert engine.graph_sha256 == facts.sha256
        assert (engine.cards, engine.tensorrt_rtx[:2]) == (("sm86",), "1.")
        assert (built / engine.file).stat().st_size == engine.bytes > 10_000
        for name, (low, usual, high) in engine.profile.items():
            assert (low[0], usual[0], high[0]) == (1, 2, 4), name
        if stage is Stage.LOG_MEL:
            assert engine.probe is None
            continue
        vectors = np.frombuffer(base64.b64decode(engine.probe or ""), "<f4").reshape(2, -1)
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
        assert np.abs(vectors[0] - vectors[1]).max() > 1e-6  # rows that are mixed up show
    sizes = {precision: engines[Stage.TEXT, precision].bytes for precision in BUILDABLE}
    assert sizes[Precision.FP16] < sizes[Precision.FP32]
    assert not read_bundle(many).manifest.engines  # the bundle that was copied has none
    assert claprt.load(built, provider="cpu").embed_text("a dog").shape == (512,)


def test_the_probe_is_what_the_runtime_asks(built: Path) -> None:
    """Computed at the export as it is after a load: the graph's vectors, whichever precision."""
    bundle = read_bundle(built)
    for precision in (Precision.FP32, Precision.INT8_SYMMETRIC):
        engine = bundle.manifest.engine(Stage.TEXT, precision)
        assert engine is not None
        feeds = probe_feeds(bundle.manifest.graph(Stage.TEXT, precision), bundle.manifest.text.vocabulary)
        vectors = claprt.load(built, provider="cpu", precision=precision).engine.text(**feeds)
        stated = np.frombuffer(base64.b64decode(engine.probe or ""), "<f4").reshape(vectors.shape)
        assert np.abs(vectors - stated).max() < 1e-6


def test_one_file_serves_several_cards(built: Path, tmp_path: Path, rtx: Any) -> None:
    """A few bytes more, and the same bytes whenever it is built."""
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    before = read_bundle(copy).manifest.engine(Stage.LOG_MEL, Precision.FP32)
    assert before is not None
    options: Any = {"precisions": [], "stages": [Stage.LOG_MEL], "max_batch": 4, "force": True}
    (again,) = put_engines(copy, ["sm86"], **options)
    assert again == before
    (several,) = put_engines(copy, [" SM86", "sm89", "sm120", "sm86"], **options)
    assert several.cards == ("sm86", "sm89", "sm120")
    assert 0 < several.bytes - before.bytes < 1000
    found = read_bundle(copy)
    found.verify()
    assert found.manifest.engine(Stage.LOG_MEL, Precision.FP32) == several
    assert len(found.manifest.engines) == len(read_bundle(built).manifest.engines)


def test_what_is_there_is_replaced_with_force_alone(built: Path) -> None:
    with pytest.raises(OutputError, match=r"log_mel.rtx, audio.fp32.rtx already; add --force"):
        put_engines(built, ["sm86"], precisions=[Precision.FP32], stages=[Stage.LOG_MEL, Stage.AUDIO])


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        (
            ["sm90"],
            "Engines for sm90 were asked for, and TensorRT-RTX 1.* builds for .*sm86, sm89.* python -m claprt_export",
        ),
        (["sm86", "rtx4090", "8.6"], "Engines for rtx4090, 8.6 were asked for"),
        ([], "No card was named"),
        ([""], "No card was named"),
    ],
)
@pytest.mark.usefixtures("rtx")
def test_unknown_cards(bundle: Path, tmp_path: Path, cards: list[str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        put_engines(bundle, cards)
    assert {"sm86", "sm89", "sm120"} <= set(known_cards())


@pytest.mark.usefixtures("rtx")
def test_what_cannot_be_built(bundle: Path, many: Path, tmp_path: Path) -> None:
    for precision, instead in ((Precision.INT8, "int8-symmetric"), (Precision.BF16, "fp16")):
        with pytest.raises(OptionError, match=f"An engine in {precision} was asked for.*with {instead} in place of it"):
            put_engines(many, ["sm86"], precisions=[precision])
    with pytest.raises(OptionError, match="Precision fp16 was asked for, but bundle 'tiny' holds fp32"):
        put_engines(bundle, ["sm86"], precisions=[Precision.FP16])
    with pytest.raises(OptionError, match="A largest batch of 0 is not possible"):
        put_engines(bundle, ["sm86"], max_batch=0)
    with pytest.raises(OutputError, match="ships with claprt and stays as released"):
        put_engines(read_bundle("mini").path, ["sm86"])
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    with pytest.raises(ExportError, match=r"TensorRT-RTX 1.* built no engine from log_mel.onnx: .*FP32 GEMM"):
        put_engines(copy, ["sm75"])
    assert {path.name for path in copy.iterdir()} == {path.name for path in bundle.iterdir()}


@pytest.mark.usefixtures("rtx")
def test_a_graph_that_was_changed_since(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    path = copy / "text.fp32.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"text.fp32.onnx is not the file that was exported"):
        put_engines(copy, ["sm86"])
    found = read_bundle(copy).manifest  # what was finished before stays, and is named
    assert {engine.file for engine in found.engines} == {"log_mel.rtx", "audio.fp32.rtx"}
    assert not list(copy.glob("text*.rtx"))


@pytest.mark.usefixtures("rtx")
def test_a_graph_that_the_parser_refuses(many: Path, tmp_path: Path) -> None:
    """A bundle whose symmetric graph is the other one: no engine of it, and the reason."""
    copy = Path(shutil.copytree(many, tmp_path / "copy"))
    manifest = read_bundle(copy).manifest
    graphs = {stage: dict(of) for stage, of in manifest.graphs.items()}
    graphs[Stage.TEXT][Precision.INT8_SYMMETRIC] = graphs[Stage.TEXT][Precision.INT8]
    (copy / MANIFEST_FILE).write_text(dataclasses.replace(manifest, graphs=graphs).to_json(), encoding="utf-8")
    with pytest.raises(ExportError, match=r"does not take text.int8.onnx: node .*, operator QuantizeLinear: .*zero point"):
        put_engines(copy, ["sm86"], precisions=[Precision.INT8_SYMMETRIC], stages=[Stage.TEXT])
    assert not list(copy.glob("*.rtx"))


@pytest.mark.usefixtures("rtx")
def test_engines_are_kept_with_their_graphs(built: Path, laion_file: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    """A new export of the same checkpoint keeps engines of graphs that are the same, and says which it leaves out."""
    copy, said = Path(shutil.copytree(built, tmp_path / "copy")), list[str]()
    export_bundle(copy, checkpoint=laion_file, tokenizer=tokenizer_file, force=True, report=said.append)
    found = read_bundle(copy)
    found.verify()
    assert {engine.file for engine in found.manifest.engines} == {"log_mel.rtx", "audio.fp32.rtx", "text.fp32.rtx"}
    assert any("keeping audio.fp32.rtx" in line for line in said)
    assert any("leaving out text.fp16.rtx, which was built from another graph" in line for line in said)
    assert not (copy / "text.fp16.rtx").exists()


def test_without_the_package(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has neither gets no guess: the sentence says what would know."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    words = r"TensorRT-RTX is not installed; .*extra tensorrt-rtx.*: pip install .*tensorrt-rtx"
    with pytest.raises(MissingDependencyError, match=words):
        put_engines(bundle, ["sm86"])
    with pytest.raises(MissingDependencyError, match=words):
        objections(graph("Softmax"))
    assert main([str(bundle), "--check"]) == 1
    assert "extra tensorrt-rtx" in capsys.readouterr().err
    export = ["untrained-tiny", "--out", str(tmp_path / "out"), "--tensorrt", "rtx", "--cards", "sm86"]
    assert cli.main(export) == 1  # before anything is exported
    assert "extra tensorrt-rtx" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("rtx")
def test_the_command(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    arguments = ["tensorrt", "--bundle", str(copy), "--cards", "sm86,sm89", "--max-batch", "2"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    assert "MB  audio.fp32.rtx for sm86, sm89, TensorRT-RTX 1." in printed.out
    assert "batches of 1 to 2 (best at 1), 3 to 77 tokens" in printed.out
    assert "building text.fp32.rtx for sm86, sm89" in printed.err
    assert cli.main(arguments) == 1
    assert "already; add --force" in capsys.readouterr().err
    assert cli.main([*arguments, "--force", "--precision", "int8"]) == 1
    assert "TensorRT-RTX takes fp32, fp16, int8-symmetric" in capsys.readouterr().err


@pytest.mark.usefixtures("rtx")
def test_an_export_with_engines(
    laion_file: Path, tokenizer_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--checkpoint", str(laion_file), "--tokenizer", str(tokenizer_file), "--out", str(out)]
    for wrong, words in (
        (["--cards", "sm86"], "none are built without --tensorrt rtx"),
        (["--tensorrt", "rtx"], "No card was named"),
        (["--tensorrt", "rtx", "--cards", "sm86,sm3"], "Engines for sm3 were asked for"),
    ):
        assert cli.main([*arguments, *wrong]) == 1
        assert words in capsys.readouterr().err
        assert not out.exists()
    assert cli.main([*arguments, "--tensorrt", "rtx", "--cards", "sm120"]) == 0
    assert "log_mel.rtx for sm120" in capsys.readouterr().out
    assert {engine.cards for engine in read_bundle(out).manifest.engines} == {("sm120",)}


@pytest.mark.slow
def test_mini_in_every_precision(tmp_path: Path, rtx: Any) -> None:
    from claprt_export.pipeline import export_bundle

    precisions = [Precision.FP16, Precision.INT8_SYMMETRIC]
    manifest = export_bundle(tmp_path / "mini", name="mini", precisions=precisions)
    assert all(manifest.accepted(stage, precision) for stage in TOWERS for precision in precisions)
    engines = put_engines(tmp_path / "mini", ["sm86", "sm89", "sm120"])
    assert len(engines) == 7


@pytest.mark.slow
@pytest.mark.usefixtures("rtx")
def test_the_shipped_mini(tmp_path: Path) -> None:
    """With constants that were stored in fewer bytes, which the parser turns back itself.

    In `test_mini.py`, `test_the_shipped_graphs_suit_tensorrt` has the parser alone.
    """
    copy = Path(shutil.copytree(read_bundle("mini").path, tmp_path / "mini"))
    assert len(put_engines(copy, ["sm89"])) == 3


# TensorRT itself


def test_not_installed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorrt"):
        build_engine(claprt.read_bundle(bundle), Stage.AUDIO, tmp_path / "x.plan")
    assert main([str(bundle), "--out", str(tmp_path)]) == 1
    assert "pip install tensorrt" in capsys.readouterr().err


class Recorder:
    """A TensorRT that remembers what it was asked and builds nothing."""

    __name__, __version__ = "tensorrt", "11.0"

    def __init__(self, *, parses: bool, builds: bool) -> None:
        self.shapes: dict[str, Any] = {}
        self.parses, self.builds = parses, builds
        self.BuilderFlag = SimpleNamespace(TF32="tf32")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.flags: list[int] = []
        self.ILogger = type("ILogger", (), {"ERROR": 1})
        self.cleared: list[str] = []

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        config = SimpleNamespace(clear_flag=self.cleared.append, add_optimization_profile=lambda shapes: None)

        def build(network: Any, config: Any) -> bytes | None:
            if self.builds:
                return b"engine"
            logger.log(1, "no\nroom")
            logger.log(2, "a warning")
            return None

        return SimpleNamespace(
            create_network=lambda flags: self.flags.append(flags) or "network",
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self.set_shape),
            build_serialized_network=build,
        )

    def set_shape(self, name: str, *bounds: Any) -> None:
        self.shapes[name] = bounds

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        error = SimpleNamespace(desc=lambda: "no such  operator", node_name=lambda: "n", node_operator=lambda: "Op")
        return SimpleNamespace(
            parse_from_file=lambda path: self.parses,
            parse=lambda content: self.parses,
            num_errors=0 if self.parses else 1,
            get_error=lambda index: error,
        )


def test_engines_are_built_from_the_manifest(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(parses=True, builds=True)
    monkeypatch.setattr(tensorrt, "_tensorrt", lambda: recorder)
    assert main([str(bundle), "--out", str(tmp_path), "--max-batch", "4"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"log_mel.fp32.plan", "audio.fp32.plan", "text.fp32.plan"}
    assert recorder.shapes["waveforms"] == ((1, 480_000), (2, 480_000), (4, 480_000))
    assert recorder.shapes["attention_mask"] == ((1, 3), (2, 16), (4, 77))
    assert recorder.cleared == ["tf32"] * 3
    assert recorder.flags == [2, 2, 2]  # strongly typed


def test_what_the_parser_says_is_raised(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = claprt.read_bundle(bundle)
    monkeypatch.setattr(tensorrt, "_tensorrt", lambda: Recorder(parses=False, builds=True))
    with pytest.raises(
        ExportError, match=r"TensorRT 11.0's parser does not take audio.fp32.onnx: node n, operator Op: no such operator$"
    ):
        build_engine(found, Stage.AUDIO, tmp_path / "x.plan")
    monkeypatch.setattr(tensorrt, "_tensorrt", lambda: Recorder(parses=True, builds=False))
    with pytest.raises(ExportError, match=r"TensorRT 11.0 built no engine from audio.fp32.onnx: no room$"):
        build_engine(found, Stage.AUDIO, tmp_path / "x.plan")
    assert not list(tmp_path.iterdir())


def test_check(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tensorrt, "_tensorrt", lambda: Recorder(parses=True, builds=False))
    assert main([str(bundle), "--check"]) == 0
    assert capsys.readouterr().out.count("taken whole by the parser of TensorRT 11.0") == 3
    monkeypatch.setattr(tensorrt, "_tensorrt", lambda: Recorder(parses=False, builds=False))
    assert main([str(bundle), "--check"]) == 1
    assert capsys.readouterr().out.count(": node n, operator Op: no such operator") == 3


@pytest.mark.usefixtures("rtx")
def test_check_with_the_real_parser(
    many: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main([str(many), "--check"]) == 0
    assert capsys.readouterr().out.count("taken whole by the parser of TensorRT-RTX 1.") == 3
    assert main([str(many), "--check", "--precision", "int8"]) == 1
    assert "audio.int8.onnx: node " in capsys.readouterr().out
