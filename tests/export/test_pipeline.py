"""From a file to a bundle and back to vectors; and nothing left behind when it fails."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tokenizers
import torch

import claprt
from claprt.audio.log_mel import log_mel
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.digests import sha256_of
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE, Source
from claprt_export import parity, pipeline
from claprt_export.checkpoints import download
from claprt_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from claprt_export.checkpoints.tokenizer import byte_level_tokenizer, read_tokenizer
from claprt_export.checkpoints.variants import VARIANTS, variant
from claprt_export.cli import main
from claprt_export.errors import (
    CheckpointError,
    CollapsedTowerError,
    DownloadError,
    ExportError,
    OutputError,
    ParityError,
    TokenizerError,
    UnknownVariantError,
)
from claprt_export.graphs.onnx_metadata import OPSET
from claprt_export.pipeline import export_bundle
from claprt_export.precision.carry_over import with_additions
from tests.export.conftest import laion_state, with_tests_on_path
from tests.export.traced import Made
from tests.projected import expected, with_projection

RATE = 48_000


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


# what comes out


def test_bundle_is_whole(first_exports: Path, exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "manifest.json", "log_mel.onnx", "audio.fp32.onnx", "text.fp32.onnx", "tokenizer.json",
    }  # fmt: skip
    manifest = claprt.read_bundle(exported).manifest
    assert manifest.name == "small"
    assert manifest.opset == OPSET
    assert not manifest.source.trained  # its logit scale is where training begins
    source = manifest.source
    assert (source.layout, source.repository, source.revision, source.licence) == ("laion", None, None, None)
    assert [(row.graph, row.max_abs <= row.max_abs_limit) for row in manifest.parity] == [
        ("log_mel", True), ("audio", True), ("text", True),
    ]  # fmt: skip
    assert manifest.logit_scale_a == pytest.approx(1 / 0.07)
    assert set(left_behind(first_exports / "bundles")) == {"small", "fused"}


@pytest.mark.parametrize("stage", list(Stage))
def test_graphs_are_what_the_manifest_says(exported: Path, stage: Stage) -> None:
    bundle = claprt.read_bundle(exported)
    facts = bundle.manifest.graph(stage, Precision.FP32)
    model = onnx.load(bundle.graph_path(stage, Precision.FP32))
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [OPSET]
    stamped = {entry.key: entry.value for entry in model.metadata_props}
    assert stamped["claprt.stage"] == stage
    assert stamped["claprt.checkpoint_sha256"] == bundle.manifest.source.sha256
    expected = {
        Stage.LOG_MEL: (["waveforms"], ["log_mels"]),
        Stage.AUDIO: (["log_mels"], ["audio_embeddings"]),
        Stage.TEXT: (["token_ids", "attention_mask"], ["text_embeddings"]),
    }[stage]
    assert ([tensor.name for tensor in facts.inputs], [tensor.name for tensor in facts.outputs]) == expected
    assert all(tensor.shape[0] == "batch" for tensor in (*facts.inputs, *facts.outputs))
    if stage is Stage.TEXT:
        assert facts.inputs[0].shape == ("batch", "tokens")
    content = bundle.graph_path(stage, Precision.FP32).read_bytes()
    for trace in (str(Path(__file__).parents[2]), "site-packages", "stack_trace", "forward("):
        assert trace.encode() not in content


def test_no_operator_is_outside_the_standard(exported: Path) -> None:
    for stage in Stage:
        model = onnx.load(claprt.read_bundle(exported).graph_path(stage, Precision.FP32))
        assert {node.domain for node in model.graph.node} <= {""}


def test_vectors_are_the_towers(exported: Path, laion_file: Path) -> None:
    clap = claprt.load(exported)
    checkpoint = read_checkpoint(laion_file)
    waveforms = [SOUNDS[name](480_000, RATE) for name in ("rain", "bell", "chirp")]
    mels = np.stack([log_mel(waveform, clap.manifest.audio.mel)[None] for waveform in waveforms])
    with torch.no_grad():
        audio = checkpoint.audio_tower()(torch.from_numpy(mels)).numpy()
        ids = torch.tensor(clap.tokenizer.encode(["a dog"]))
        text = checkpoint.text_tower()(ids, torch.ones_like(ids)).numpy()
    transformers = claprt.load(exported, preprocess="transformers")  # without the 16 bits
    assert np.abs(transformers.embed_audio(waveforms, RATE) - audio).max() < 1e-5
    assert np.abs(clap.embed_text(["a dog"]) - text).max() < 1e-5


def test_single_equals_batched(exported: Path) -> None:
    clap = claprt.load(exported)
    waveforms = [make(200_000, RATE) for make in SOUNDS.values()]
    together = clap.embed_audio(waveforms, RATE).astype(np.float64)
    alone = np.stack([clap.embed_audio(one, RATE) for one in waveforms]).astype(np.float64)
    cosine = (together * alone).sum(1) / np.linalg.norm(together, axis=1) / np.linalg.norm(alone, axis=1)
    assert cosine.min() >= 0.9999999


def test_fused_export(first_exports: Path) -> None:
    clap = claprt.load(first_exports / "bundles" / "fused")
    manifest = clap.manifest
    audio = manifest.graph(Stage.AUDIO, Precision.FP32)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in audio.inputs] == [
        ("log_mels", "float32", ("batch", 4, 1001, 64)),
        ("is_longer", "bool", ("batch", 1)),
    ]
    vectors = clap.embed_audio([SOUNDS["rain"](samples, RATE) for samples in (100_000, 900_000)], RATE)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


# what is refused


@pytest.mark.parametrize("stage", ["audio", "text", "log_mel"])
def test_a_graph_that_differs_is_refused(
    stage: str, laion_file: Path, tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = getattr(pipeline, f"{stage}_graph")

    def off(*arguments: Any) -> onnx.ModelProto:
        model = make(*arguments)
        large = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(large)
        large.CopyFrom(onnx.numpy_helper.from_array(values * values.dtype.type(1.01), large.name))
        return model

    monkeypatch.setattr(pipeline, f"{stage}_graph", off)
    monkeypatch.setattr(parity, "BATCHES", (1, 2))  # of which one shows it
    with pytest.raises(ParityError, match=f"{stage} graph differs .* no bundle was written"):
        export_bundle(tmp_path / "out", checkpoint=laion_file, tokenizer=tokenizer_file)
    assert left_behind(tmp_path) == []


@pytest.mark.usefixtures("traced_before")
@pytest.mark.parametrize(("tower", "head"), [("audio", "audio_projection.2"), ("text", "text_projection.2")])
def test_a_collapsed_checkpoint_is_refused(
    tower: str, head: str, small: Checkpoint, tokenizer_file: Path, tmp_path: Path
) -> None:
    state = laion_state(small)
    state[f"module.{head}.weight"] = state[f"module.{head}.weight"] * 1e-4
    path = tmp_path / "collapsed.pt"
    torch.save(state, path)
    with pytest.raises(CollapsedTowerError, match=f"The {tower} tower is collapsed: .* mean cosine of 1.0000"):
        export_bundle(tmp_path / "out", checkpoint=path, tokenizer=tokenizer_file)
    assert left_behind(tmp_path) == ["collapsed.pt"]


@pytest.mark.usefixtures("traced_before")
@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_broken_weights_are_refused(value: float, small: Checkpoint, tokenizer_file: Path, tmp_path: Path) -> None:
    state = laion_state(small)
    for part in ("weight", "bias"):
        state[f"module.text_projection.2.{part}"] = torch.full_like(state[f"module.text_projection.2.{part}"], value)
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(CollapsedTowerError, match="not of length 1"):
        export_bundle(tmp_path / "out", checkpoint=tmp_path / "broken.pt", tokenizer=tokenizer_file)


def test_collapse_is_judged_by_whether_weights_were_trained() -> None:
    base = np.ones((8, 512), np.float32) + np.random.default_rng(0).normal(0, 0.027, (8, 512)).astype(np.float32)
    vectors = base / np.linalg.norm(base, axis=1, keepdims=True)
    assert 0.9990 < (vectors @ vectors.T)[np.triu_indices(8, 1)].mean() < 0.9995
    with pytest.raises(CollapsedTowerError, match=r"refused above 0.998\)"):
        parity.refuse_collapsed("text", vectors, "sentences", trained=True)
    parity.refuse_collapsed("text", vectors, "sentences", trained=False)


def test_tokenizer_of_another_tower(small: Checkpoint, laion_file: Path, tmp_path: Path) -> None:
    larger = byte_level_tokenizer()
    larger.add_tokens(["one more"])
    larger.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="262 entries and the text tower embeds 261"):
        export_bundle(tmp_path / "out", checkpoint=laion_file, tokenizer=tmp_path)


def test_tokenizers_that_are_none(laion_file: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="no such file"):
        read_tokenizer(tmp_path / "none.json")
    with pytest.raises(TokenizerError, match=r"neither tokenizer.json nor vocab.json"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match=r"is not a tokenizer.json"):
        read_tokenizer(tmp_path)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 1, "a": 2}, unk_token="a"))
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="does not put <s> and </s> around"):
        export_bundle(tmp_path / "out", checkpoint=laion_file, tokenizer=tmp_path)


def test_tokenizer_from_a_vocabulary(shared: Path, tmp_path: Path) -> None:
    """The slow files of RoBERTa's tokenizer give what its fast file gives."""
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((shared / "roberta-base" / name).read_bytes())
    texts = ["a dog barking", "Été — 静か ♪", " leading space", "<mask> and </s>", "Hello world!"]
    slow, fast = read_tokenizer(tmp_path), read_tokenizer(shared / "roberta-base")
    assert [slow.encode(text).ids for text in texts] == [fast.encode(text).ids for text in texts]


# where it is written


def test_a_bundle_is_not_replaced_unasked(exported: Path, laion_file: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="add --force"):
        export_bundle(exported, checkpoint=laion_file)
    (tmp_path / "precious.txt").touch()
    with pytest.raises(OutputError, match="not a bundle and nothing else; --force replaces only bundles"):
        export_bundle(tmp_path, checkpoint=laion_file, force=True)
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    export_bundle(out, checkpoint=laion_file, tokenizer=tokenizer_file, force=True)
    before = out.stat().st_ino
    export_bundle(out, checkpoint=laion_file, tokenizer=tokenizer_file, force=True)
    assert out.stat().st_ino != before
    assert left_behind(out.parent) == ["out"]


def test_what_was_put_into_a_bundle_is_kept(exported: Path, laion_file: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    """When the same checkpoint is exported again, in another precision perhaps; not when it is another."""
    out = with_projection(exported, tmp_path / "out")
    manifest = read_bundle(out).manifest
    tags = claprt.read_bundle("mini").manifest.tagging
    assert tags is not None
    tagged = dataclasses.replace(manifest, tagging=tags)
    (out / MANIFEST_FILE).write_text(tagged.to_json(), encoding="utf-8")
    said: list[str] = []
    export_bundle(out, checkpoint=laion_file, tokenizer=tokenizer_file, force=True, report=said.append)
    again = claprt.load(out)
    assert (again.manifest.projection, again.manifest.tagging) == (manifest.projection, tags)
    rows = again.embed_text(["rain", "a dog"])
    assert np.abs(again.project(rows) - expected(rows)).max() < 1e-6
    assert sum("keeping" in line for line in said) == 2
    source = dataclasses.replace(manifest.source, sha256="2" * 64)
    other = dataclasses.replace(manifest, source=source, projection=None)
    assert with_additions(other, out, tmp_path, said.append) == other
    assert with_additions(other, tmp_path / "nothing", tmp_path, said.append) == other


def test_a_failed_replacement_leaves_the_old_bundle(
    exported: Path, laion_file: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ParityError("on purpose")

    monkeypatch.setattr(pipeline, "check_text", fail)
    with pytest.raises(ParityError):
        export_bundle(exported, checkpoint=laion_file, tokenizer=tokenizer_file, force=True)
    assert claprt.load(exported).dim == 512
    assert left_behind(exported.parent) == ["small"]


def test_full_disk(laion_file: Path, tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(onnx, "save", fail)
    with pytest.raises(OutputError, match=r"No space left on device. Nothing was changed there"):
        export_bundle(tmp_path / "out", checkpoint=laion_file, tokenizer=tokenizer_file)
    assert left_behind(tmp_path) == []


def test_unwritable_place(tmp_path: Path) -> None:
    """Noticed before anything is read."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        export_bundle(tmp_path / "file" / "out", checkpoint=tmp_path / "none.pt")


def test_an_interrupted_export_leaves_nothing(
    laion_file: Path, tokenizer_file: Path, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of tracing; `test_folder.py` has the other signals and moments."""
    out, known = tmp_path / "place" / "out", tmp_path / "made.pickle"
    known.write_bytes(pickle.dumps(dataclasses.replace(made, graphs={})))
    monkeypatch.setenv("PYTHONPATH", with_tests_on_path())
    command = [sys.executable, "-m", "tests.export.traced", str(known), "--checkpoint", str(laion_file)]
    command += ["--tokenizer", str(tokenizer_file), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "tracing" in line:
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
    assert process.returncode != 0
    assert left_behind(out.parent) == []


# names, paths and the network


def test_every_row_has_what_its_kind_needs() -> None:
    assert len(VARIANTS) == 1 + 7 + 5 + 2
    for row in VARIANTS.values():
        published = row.layout != "seeded" and row.packaged is None
        assert published == (row.repository is not None) == (row.revision is not None) == (row.weights is not None)
        assert row.sha256 is None or len(row.sha256) == 64
    assert variant("630k-audioset-best.pt") is variant("630k-audioset-best")
    with pytest.raises(
        UnknownVariantError, match=r"No variant is called 'clap'\. Did you mean clap-htsat-.*\? Known are:\n  mini "
    ):
        variant("clap")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("CLAP_CHECKPOINT_PATH", raising=False)
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["630k-audioset-best", "clap-htsat-unfused"])
def test_without_a_network(name: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        export_bundle(tmp_path / "out", name=name)
    message = str(caught.value)
    reason = "Hugging Face cache, and HF_HUB_OFFLINE says not to ask the hub"
    for words in (name, reason, "--checkpoint PATH", "CLAP_CHECKPOINT_PATH", "untrained-tiny"):
        assert words in message
    assert message.count(". ") == 0  # one sentence
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("no_network")
def test_without_a_tokenizer_or_a_network(laion_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"This needs the tokenizer of .*--tokenizer PATH or in CLAPRT_TOKENIZER"):
        export_bundle(tmp_path / "out", checkpoint=laion_file)


def test_a_download_is_checked(laion_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_fetch", lambda *_: laion_file)
    assert download.download_checkpoint(variant("630k-best")) == laion_file
    with pytest.raises(CheckpointError, match="is not the published 630k-audioset-best"):
        download.download_checkpoint(variant("630k-audioset-best"))
    with pytest.raises(CheckpointError, match="is not the published"):
        export_bundle(tmp_path / "out", name="630k-audioset-best", checkpoint=laion_file)


def test_the_variable_names_a_checkpoint(
    small: Checkpoint, laion_file: Path, tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "seeded_checkpoint", lambda name, *_: dataclasses.replace(small, name=name))
    monkeypatch.setenv("CLAP_CHECKPOINT_PATH", str(laion_file))
    assert export_bundle(tmp_path / "one", tokenizer=tokenizer_file).source.name == "small"
    assert loaded("630k-best", None, tokenizer_file).name == "small"
    for name in ("mini", "untrained-tiny"):
        monkeypatch.setenv("CLAP_CHECKPOINT_PATH", name)
        assert loaded(None, None, None).name == name


def loaded(name: str | None, path: Path | None, tokenizer: Path | None) -> Source:
    """What a bundle would say of its origin."""
    row = variant(name) if name else None
    return pipeline._load(row, path, tokenizer, lambda line: None).source  # pyright: ignore[reportPrivateUsage]


PUBLISHED = ("630k-best", "lukewys/laion_clap", "CC0-1.0")


def origin(source: Source) -> tuple[str, str | None, str | None]:
    assert (source.repository is None) == (source.revision is None)
    return source.name, source.repository, source.licence


def test_a_published_name_is_claimed_where_it_is_proved(
    laion_file: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the sha256, or because the file was just fetched from where it is published; not because a caller says so."""
    lines: list[str] = []
    pipeline._load(variant("630k-best"), laion_file, tokenizer_file, lines.append)  # pyright: ignore[reportPrivateUsage]
    assert "small.pt cannot be told to be the published 630k-best, so it goes by its own name" in lines
    assert origin(loaded("630k-best", laion_file, tokenizer_file)) == ("small", None, None)
    assert origin(loaded(None, laion_file, tokenizer_file)) == ("small", None, None)
    monkeypatch.setattr(download, "_fetch", lambda *_: laion_file)
    assert origin(loaded("630k-best", None, tokenizer_file)) == PUBLISHED
    known = dataclasses.replace(variant("630k-best"), sha256=sha256_of(laion_file))
    monkeypatch.setitem(VARIANTS, "630k-best", known)
    assert origin(loaded("630k-best", laion_file, tokenizer_file)) == PUBLISHED
    assert origin(loaded("630k-best", None, tokenizer_file)) == PUBLISHED


def test_the_weights_of_a_folder_are_proved_too(
    laion_file: Path, tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = dataclasses.replace(variant("clap-htsat-unfused"), sha256=sha256_of(laion_file))
    monkeypatch.setitem(VARIANTS, row.name, row)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(laion_file.read_bytes())
    assert origin(loaded(row.name, folder, tokenizer_file)) == (row.name, row.repository, row.licence)
    with (folder / "pytorch_model.bin").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CheckpointError, match="is not the published clap-htsat-unfused"):
        loaded(row.name, folder, tokenizer_file)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")  # no file that a sha256 is known of
    assert not download.is_published(folder, row)


def test_trained_is_what_the_logit_scale_says(small: Checkpoint, tokenizer_file: Path, tmp_path: Path) -> None:
    torch.save({**laion_state(small), "module.logit_scale_a": torch.tensor(2.9)}, tmp_path / "tuned.pt")
    assert loaded(None, tmp_path / "tuned.pt", tokenizer_file).trained


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("https://huggingface.co", ("huggingface.co", 443)),
        ("http://mirror.example", ("mirror.example", 80)),
        ("http://mirror.example:8080/hub", ("mirror.example", 8080)),
        ("https://mirror.example:8443", ("mirror.example", 8443)),
    ],
)
def test_the_hub_is_knocked_at_where_it_is(
    endpoint: str, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.lower() in ("https_proxy", "all_proxy", "hf_hub_offline"):
            monkeypatch.delenv(name)
    asked: list[tuple[str, int]] = []

    def refuse(where: tuple[str, int], timeout: float) -> None:
        asked.append(where)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert not download._reachable(endpoint)  # pyright: ignore[reportPrivateUsage]
    assert asked == [address]


def test_a_download_that_fails_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that can be reached and does not give the file is not a missing network."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_: Any, local_files_only: bool = False, **__: Any) -> str:
        raise LocalEntryNotFoundError("not here") if local_files_only else RuntimeError("403 Forbidden")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(download, "_reachable", lambda _: True)
    with pytest.raises(DownloadError, match="fetching it failed: 403 Forbidden"):
        download.download_checkpoint(variant("630k-best"))


def test_nothing_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAP_CHECKPOINT_PATH", raising=False)
    with pytest.raises(ExportError, match="Nothing to export"):
        export_bundle(tmp_path / "out")


# the command


def test_command(laion_file: Path, tokenizer_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--checkpoint", str(laion_file), "--tokenizer", str(tokenizer_file), "--precision", "fp32"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "small, HTSAT-32x1-2-1-1, RoBERTa-64x2" in captured.out
    assert "maximum difference" in captured.out
    assert "reading small.pt" in captured.err
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert "claprt-export: " in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["name"] == "small"


@pytest.mark.parametrize("arguments", [[], ["untrained-tiny"], ["x", "--out", "y", "--precision", "fp8"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: claprt-export" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for name in VARIANTS:
        assert name in shown
    assert "[VARIANT]" in shown


def test_import_fetches_and_loads_nothing() -> None:
    program = (
        "import socket; socket.socket = None; import claprt_export, claprt_export.cli, sys; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_the_export_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "claprt_export.pipeline")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["mini", "--out", str(tmp_path / "x")]) == 1
    assert "onnx is not installed; exporting needs the export extra" in capsys.readouterr().err
