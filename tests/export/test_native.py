"""The native engine on exported towers: the vectors of their graph, packed weights in bundles and in the cache."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: the export extra")
pytest.importorskip("claprt_native", reason="needs claprt-native: the native extra")

import onnx
import onnxruntime

from claprt.arrays import Array
from claprt.bundle.digests import sha256_of
from claprt.bundle.graphs import NATIVE_FILE, FileInfo
from claprt.bundle.manifest import AudioConfig
from claprt.engines.graph_cache import GraphCache
from claprt.engines.native import session as native_session
from claprt.engines.native.constants import PackingError
from claprt.engines.native.library import native_library, native_unavailable
from claprt.engines.native.packing import pack_tower
from claprt.engines.native.session import NativeSession
from claprt.engines.onnxruntime_session import Load
from claprt.errors import BundleCorruptError, ProviderUnavailableError
from claprt.system.native import SCALAR
from claprt_export.architecture import AudioArchitecture
from claprt_export.checkpoints.checkpoint import Checkpoint
from claprt_export.checkpoints.random_weights import seeded_checkpoint
from claprt_export.graphs.compress_constants import compact
from claprt_export.graphs.onnx_metadata import finished, graph_facts
from claprt_export.graphs.to_onnx import audio_graph
from claprt_export.precision import lower
from claprt_export.precision.labelled_sets import calibration_sounds
from claprt_export.precision.lower import quantised
from tests.export.conftest import SMALL_TEXT

BYTES = AudioArchitecture(embed_dim=96, depths=(1, 2, 1, 1), heads=(4, 8, 16, 32))
"""HTSAT-tiny's widths: layers of every stage are in bytes."""
needs_processor = pytest.mark.skipif(native_unavailable() is not None, reason="needs a processor with AVX-512 VNNI")


@dataclasses.dataclass(frozen=True)
class Case:
    load: Load
    feeds: list[dict[str, Array]]
    """Of single sounds; other ones than those that ranges were taken from."""

    def expected(self) -> Array:
        """Vectors of the graph on onnxruntime without any optimisation."""
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        graph = onnxruntime.InferenceSession(str(self.load.path), options, providers=["CPUExecutionProvider"])
        return np.concatenate([np.asarray(graph.run(None, feeds)[0]) for feeds in self.feeds])


def written(folder: Path, checkpoint: Checkpoint, *, half: bool = False) -> Case:
    architecture = checkpoint.audio
    audio = AudioConfig(architecture=architecture.name, mel=checkpoint.mel, fused=architecture.fused, fill=checkpoint.fill)
    sounds = [dict(feeds) for feeds in itertools.islice(calibration_sounds(audio, None), 5)]
    if architecture.fused:
        for index, feeds in enumerate(sounds):
            feeds["is_longer"] = np.array([[index % 2 == 0]])
    graph = quantised(audio_graph(checkpoint.audio_tower(), audio.frames), sounds[:3])
    path = folder / "audio.int8.onnx"
    onnx.save(finished(compact(graph) if half else graph, {}), path)
    return Case(Load(path=path, facts=graph_facts(path), threads=2, cache=None, verified=True), sounds[3:])


@pytest.fixture(scope="module")
def plain(exported: Path, small: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Case:
    assert exported.is_dir()  # so the tower has been traced
    return written(tmp_path_factory.mktemp("plain"), small)


def run(session: NativeSession, case: Case) -> Array:
    return np.concatenate([session(feeds) for feeds in case.feeds])


def cosines(one: Array, other: Array) -> Array:
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def same_vectors(case: Case) -> None:
    """As near to the graph as an engine is that rounds in another order."""
    expected = case.expected()
    for instruction_set in native_library().sets:
        found = run(NativeSession(case.load, instruction_set=instruction_set), case)
        assert cosines(found, expected).min() > 0.9995
        assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
        assert cosines(found[:1], expected[1:2]).max() < 0.999  # the sounds differ by more


def test_vectors_are_the_graphs(plain: Case) -> None:
    """Where layers of the first two stages are in float32; their constants are those of the graph."""
    same_vectors(plain)


@pytest.mark.usefixtures("exported")
def test_vectors_of_a_fused_tower(small_fused: Checkpoint, tmp_path: Path) -> None:
    """With constants in half the bytes."""
    same_vectors(written(tmp_path, small_fused, half=True))


@pytest.mark.slow
def test_vectors_of_a_tower_in_bytes(tmp_path: Path) -> None:
    """Of HTSAT-tiny's widths; in the test of `plain` layers of the last stages are in bytes."""
    same_vectors(written(tmp_path, seeded_checkpoint("native", BYTES, SMALL_TEXT, seed=3)))


def test_a_batch_is_its_sounds(plain: Case) -> None:
    session = NativeSession(plain.load, instruction_set=SCALAR)
    together = session({"log_mels": np.concatenate([feeds["log_mels"] for feeds in plain.feeds])})
    assert np.array_equal(together, run(session, plain))


@needs_processor
def test_packed_once_and_kept(plain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = dataclasses.replace(plain.load, cache=GraphCache(tmp_path / "cache"))
    first = run(NativeSession(load), plain)
    (kept,) = (tmp_path / "cache").rglob(NATIVE_FILE)

    def refuse(*_: object) -> bytes:
        raise AssertionError("packed again")

    monkeypatch.setattr(native_session, "pack_tower", refuse)
    assert np.array_equal(run(NativeSession(load), plain), first)
    kept.write_bytes(kept.read_bytes()[:-64])
    with pytest.raises(AssertionError, match="packed again"):
        NativeSession(load)


@needs_processor
class TestPackedWeightsOfABundle:
    def packed(self, case: Case, folder: Path, change: Callable[[bytes], bytes] = bytes) -> tuple[Path, FileInfo]:
        path = folder / NATIVE_FILE
        path.write_bytes(change(pack_tower(case.load.path.read_bytes(), case.load.facts.sha256)))
        return path, FileInfo(sha256=sha256_of(path), bytes=path.stat().st_size)

    def test_are_mapped(self, plain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        packed = self.packed(plain, tmp_path)
        expected = run(NativeSession(plain.load), plain)
        monkeypatch.setattr(native_session, "pack_tower", None)  # is not needed
        assert np.array_equal(run(NativeSession(plain.load, packed), plain), expected)

    def test_of_another_graph(self, plain: Case, tmp_path: Path) -> None:
        packed = self.packed(plain, tmp_path, lambda content: content[:24] + bytes(32) + content[56:])
        with pytest.raises(BundleCorruptError, match=r"does not hold the packed weights of audio\.int8\.onnx"):
            NativeSession(plain.load, packed)

    def test_that_were_altered(self, plain: Case, tmp_path: Path) -> None:
        path, facts = self.packed(plain, tmp_path)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(BundleCorruptError):
            NativeSession(plain.load, (path, facts))

    def test_that_were_cut_by_who_wrote_the_manifest(self, plain: Case, tmp_path: Path) -> None:
        packed = self.packed(plain, tmp_path, lambda content: content[:-64])
        with pytest.raises(BundleCorruptError, match="cannot be used: it has"):
            NativeSession(plain.load, packed)

    def test_of_another_format_are_packed_again(self, plain: Case, tmp_path: Path) -> None:
        packed = self.packed(plain, tmp_path, lambda content: content[:8] + b"\x63\0\0\0" + content[12:])
        assert np.array_equal(run(NativeSession(plain.load, packed), plain), run(NativeSession(plain.load), plain))

    @pytest.mark.parametrize("content", [b"", b"<html>"])
    def test_that_are_none(self, plain: Case, tmp_path: Path, content: bytes) -> None:
        packed = self.packed(plain, tmp_path, lambda _: content)
        with pytest.raises(BundleCorruptError, match="cannot be mapped|does not hold"):
            NativeSession(plain.load, packed)


def with_narrow_heads(graph: onnx.GraphProto) -> None:
    """Twice as many, of eight channels."""
    for name in {node.input[1] for node in _nodes(graph, "Add") if _nodes_after(graph, node) == ["Softmax"]}:
        (scores,) = (tensor for tensor in graph.initializer if tensor.name == name)
        values = onnx.numpy_helper.to_array(scores)
        scores.CopyFrom(onnx.numpy_helper.from_array(np.concatenate([values, values], axis=1), name))


def with_short_vectors(graph: onnx.GraphProto) -> None:
    """Of 48 numbers."""
    (first, bias), (second, last_bias) = (node.input[1:3] for node in _nodes(graph, "Gemm")[-2:])
    for name, kept in ((first, np.s_[:48]), (bias, np.s_[:48]), (second, np.s_[:48, :48]), (last_bias, np.s_[:48])):
        (constant,) = (tensor for tensor in graph.initializer if tensor.name == name)
        constant.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(constant)[kept].copy(), name))


def _nodes_after(graph: onnx.GraphProto, node: onnx.NodeProto) -> list[str]:
    return [taker.op_type for taker in graph.node if node.output[0] in taker.input]


@needs_processor
@pytest.mark.parametrize(
    ("change", "words"),
    [(with_narrow_heads, "heads must be one of"), (with_short_vectors, "vectors of 48 are beyond")],
)
def test_sizes_that_are_left_to_other_engines(
    plain: Case, tmp_path: Path, change: Callable[[onnx.GraphProto], Any], words: str
) -> None:
    path = tmp_path / plain.load.path.name
    path.write_bytes(changed(onnx.load(plain.load.path), change))
    load = dataclasses.replace(plain.load, path=path, facts=graph_facts(path))
    with pytest.raises(ProviderUnavailableError, match=rf"does not run audio\.int8\.onnx.*{words}"):
        NativeSession(load)
    assert lower._packed(path) == {}  # pyright: ignore[reportPrivateUsage]
    assert list(tmp_path.iterdir()) == [path]


def test_graphs_without_an_end(plain: Case) -> None:
    """Constants that are made of themselves, and a long chain of sums, of which each is needed twice."""
    model = onnx.load(plain.load.path)

    def endless(graph: onnx.GraphProto) -> None:
        graph.node.insert(0, onnx.helper.make_node("Add", ["loop", "loop"], ["loop"]))
        for step in range(60):
            graph.node.insert(0, onnx.helper.make_node("Add", [f"sum{step}"] * 2, [f"sum{step + 1}"]))
        graph.node.insert(0, onnx.helper.make_node("Softmax", ["sum60"], ["end"]))
        _nodes(graph, "LayerNormalization")[0].input[1] = "loop"

    with pytest.raises(PackingError):
        pack_tower(changed(model, endless), "00" * 32)


@needs_processor
def test_a_tower_that_gives_other_vectors_is_not_used(plain: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that is walked without a word and computes something else, here with other levels of the mel bins."""

    def wrong(graph: bytes, sha256: str) -> bytes:
        packed = bytearray(pack_tower(graph, sha256))
        packed[128:384] = np.full(64, -0.5, "<f4").tobytes()
        return bytes(packed)

    monkeypatch.setattr(native_session, "pack_tower", wrong)
    with pytest.raises(ProviderUnavailableError, match="have a centred cosine of"):
        NativeSession(plain.load)


@needs_processor
def test_ended_while_another_thread_computes(plain: Case) -> None:
    """The tower is closed when the last call that uses it has returned."""
    expected, found = run(NativeSession(plain.load), plain)[:1], list[Array]()

    def compute(session: NativeSession) -> None:
        found.extend(session(plain.feeds[0]) for _ in range(20))

    thread = threading.Thread(target=compute, args=(NativeSession(plain.load),))
    thread.start()
    gc.collect()
    thread.join()
    assert len(found) == 20
    assert all(np.array_equal(one, expected) for one in found)


def changed(model: onnx.ModelProto, change: Callable[[onnx.GraphProto], Any]) -> bytes:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy.graph)
    return copy.SerializeToString()


def _nodes(graph: onnx.GraphProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == kind]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: setattr(_nodes(graph, "Gelu")[0], "op_type", "Tanh"), "a Gemm where a Gelu is expected"),
        (lambda graph: setattr(_nodes(graph, "Gelu")[0].attribute[0], "s", b"tanh"), "exact GELU"),
        (lambda graph: graph.node.remove(_nodes(graph, "Softmax")[0]), "where a Softmax is expected"),
        (lambda graph: graph.initializer.pop(0), "not an audio tower in int8"),
        (lambda graph: _nodes(graph, "LayerNormalization")[3].attribute[1].__setattr__("f", 1e-6), "epsilon"),
        (lambda graph: graph.node.pop(), "an audio tower|the graph ends|goes on|projection head"),
        (lambda graph: graph.ClearField("node"), "the graph ends"),
    ],
)
def test_graphs_that_are_walked_no_further(plain: Case, change: Callable[[onnx.GraphProto], Any], words: str) -> None:
    model = onnx.load(plain.load.path)
    content = changed(model, change)
    if words.startswith("an audio"):  # the last node does not change what is computed, but for its scale to length 1
        assert pack_tower(content, "00" * 32)
        return
    with pytest.raises(PackingError, match=words):
        pack_tower(content, "00" * 32)


@pytest.mark.parametrize("content", [b"", b"\x3a\xff", b"<html>", bytes(1000)])
def test_files_that_are_no_graph(content: bytes) -> None:
    with pytest.raises(PackingError):
        pack_tower(content, "00" * 32)
