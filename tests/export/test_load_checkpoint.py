"""`claprt.load` of checkpoints with the real exporter, on weights so small that an export takes seconds."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import safetensors.torch
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.checkpoints import exporter_process
from claprt.cli import main
from claprt.compat.kromosynth import CLAPExtractor
from claprt.errors import BundleCorruptError, BundleError, BundleNotFoundError
from claprt_export.checkpoints import download
from claprt_export.checkpoints.checkpoint import Checkpoint
from claprt_export.checkpoints.state_dict import read_weights
from claprt_export.cli import main as export
from claprt_export.errors import CheckpointError, DownloadError
from tests.export.test_checkpoint import as_transformers
from tests.serve.process import Process

RATE = 48_000
LOAD = """
import claprt, sys
from claprt.checkpoints import exporter_process

exporter_process.exporter_command = lambda: {command!r}
print(claprt.load({path!r}).bundle.path, 'torch' in sys.modules)
"""


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, the tokenizer from the variable, and no network."""
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLAPRT_TOKENIZER", str(tokenizer_file))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("CLAPRT_BUNDLE", "CLAP_CHECKPOINT_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def transformers_folder(small: Checkpoint, tokenizer_file: Path, tmp_path: Path) -> Path:
    """What `ClapModel.save_pretrained` writes, with a tokenizer."""
    folder = tmp_path / "of-transformers"
    folder.mkdir()
    weights = {name: tensor.contiguous().clone() for name, tensor in as_transformers(small).items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    text = {"num_attention_heads": 1, "layer_norm_eps": 1e-5}  # as of the tower that has been traced
    (folder / "config.json").write_text(json.dumps({"text_config": text}))
    shutil.copy(tokenizer_file, folder / "tokenizer.json")
    return folder


def exports(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache" / "exports").iterdir() if not path.name.endswith(".lock")]


def start(path: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """A process that loads a checkpoint."""
    command = [sys.executable, "-c", LOAD.format(path=str(path), command=exporter_process.exporter_command())]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )


@pytest.mark.usefixtures("traced_exporter")
def test_from_a_file_to_vectors(
    laion_file: Path, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes at once export once; then it is loaded as any bundle is, wherever a bundle is named."""
    both = [start(laion_file) for _ in range(2)]
    said = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert {out.strip() for out, _ in said} == {f"{exports(tmp_path)[0]} False"}  # torch stays in its own process
    assert sorted(err.count("claprt: exporting") for _, err in said) == [0, 1]
    assert sorted(err.count("claprt: waiting") for _, err in said) == [0, 1]
    assert sum("tracing and checking" in err for _, err in said) == 1

    sound = SOUNDS["rain"](RATE, RATE)
    clap, by_hand = claprt.load(laion_file), claprt.load(exported)
    assert np.array_equal(clap.embed_audio(sound), by_hand.embed_audio(sound))
    assert clap.fingerprint == by_hand.fingerprint
    monkeypatch.setenv("CLAP_CHECKPOINT_PATH", str(laion_file))
    assert CLAPExtractor(device="cpu").model.bundle.path == clap.bundle.path
    soundfile.write(tmp_path / "rain.wav", sound, RATE)
    arguments = ["classify", str(tmp_path / "rain.wav"), "--labels", "rain,dogs", "--json", "--bundle", str(laion_file)]
    assert main(arguments) == 0
    assert json.loads(capfd.readouterr().out)["source"] == str(tmp_path / "rain.wav")
    with Process(tmp_path / "log", "--checkpoint-path", str(laion_file)) as service:
        assert "small/kromosynth" in service.fingerprint
    assert len(exports(tmp_path)) == 1


@pytest.mark.usefixtures("traced_exporter")
def test_a_folder_of_transformers(transformers_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clap = claprt.load(transformers_folder)
    assert (clap.manifest.name, clap.manifest.source.layout) == (transformers_folder.name, "transformers")
    assert "reading " in capfd.readouterr().err
    assert claprt.load(transformers_folder).bundle.path == clap.bundle.path
    assert capfd.readouterr().err == ""


def test_a_service_that_is_ended_while_it_exports(laion_file: Path, tmp_path: Path) -> None:
    """The exporter ends with it and clears away what it has begun."""
    service = Process(tmp_path / "log", "--bundle", str(laion_file)).start()
    try:
        while "recognised" not in service.said():
            assert service.popen is not None
            assert service.popen.poll() is None, service.said()
            time.sleep(0.05)
        assert len(exports(tmp_path)) == 1
        service.tell(15)
        assert service.ended() == 0
    finally:
        if service.popen is not None and service.popen.poll() is None:
            service.popen.kill()
    until = time.monotonic() + 60
    while exports(tmp_path):
        assert time.monotonic() < until, exports(tmp_path)
        time.sleep(0.05)


def test_what_the_exporter_refuses(laion_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "x.pt"
    with other.open("wb") as file:
        import torch

        torch.save({"state_dict": {"weight": torch.zeros(3)}}, file)
    with pytest.raises(BundleError, match=r"^x cannot be exported: .*x\.pt is not a CLAP with HTSAT and RoBERTa"):
        claprt.load(other)
    assert "not a CLAP" not in capfd.readouterr().err
    assert exports(tmp_path) == []


class _Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of huggingface.co, of the files in `served`: by name, with their commit and ETag."""

    served: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        self.asked.append(f"{self.command} {self.path}")
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        content = self.served.get(f"{repository}/{name}")
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", revision)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Says nothing."""


@pytest.fixture
def hub(laion_file: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on this machine that has one published checkpoint and the tokenizer; what it is asked."""
    _Hub.served = {
        "lukewys/laion_clap/630k-best.pt": laion_file.read_bytes(),
        "FacebookAI/roberta-base/tokenizer.json": tokenizer_file.read_bytes(),
    }
    _Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    for name in ("HF_HUB_OFFLINE", "CLAPRT_TOKENIZER"):
        monkeypatch.delenv(name)
    yield _Hub.asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("traced_exporter")
def test_a_published_name_is_fetched_once(hub: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    clap = claprt.load("lukewys/laion_clap/630k-best.pt")
    source = clap.manifest.source
    assert (clap.manifest.name, source.repository, source.licence) == ("630k-best", "lukewys/laion_clap", "CC0-1.0")
    assert "claprt: fetching 630k-best, unless the Hugging Face cache has it, and exporting it" in capfd.readouterr().err
    assert sum(line.startswith("GET") and "/resolve/" in line for line in hub) == 2
    asked = len(hub)
    assert claprt.load("630k-best").bundle.path == clap.bundle.path
    assert len(hub) == asked


FETCH = """
import sys
from claprt_export.checkpoints.download import download_checkpoint
from claprt_export.checkpoints.variants import variant
from claprt_export.errors import DownloadError

try:
    download_checkpoint(variant("630k-fusion-best"))
except DownloadError as error:
    print("torch" in sys.modules, error)
"""


@pytest.mark.usefixtures("hub")
def test_a_published_name_that_the_hub_does_not_have() -> None:
    done = subprocess.run([sys.executable, "-c", FETCH], capture_output=True, text=True, check=True)
    assert re.match(r"False This needs .*fetching it failed: .*404", done.stdout)


# what the exporter says of files that are no checkpoints


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_short(laion_file: Path, tmp_path: Path, share: float) -> None:
    content = laion_file.read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(content[: int(len(content) * share)])
    for reading, kind in ((claprt.load, BundleCorruptError), (read_weights, CheckpointError)):
        with pytest.raises(kind, match=r"cut\.pt.* it is cut short: the list of contents .* Download or copy it again"):
            reading(path)


def test_a_damaged_pickle_says_so_in_words(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00X\xff")
    with pytest.raises(
        CheckpointError, match=r"damaged\.pt is not (?:a checkpoint, or not a whole one|loaded).*[A-Za-z]{4}"
    ):
        read_weights(path)


def test_a_bundle_is_no_checkpoint(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(["--checkpoint", str(exported), "--out", str(tmp_path / "out")]) == 1
    assert "is a bundle already" in capsys.readouterr().err


# the tokenizer of RoBERTa from the hub's cache


def cached(hub: Path, repository: str, revision: str, names: tuple[str, ...]) -> Path:
    """Puts files into a hub cache, as huggingface_hub lays them out."""
    base = hub / f"models--{repository.replace('/', '--')}"
    snapshot = base / "snapshots" / (revision if len(revision) == 40 else "a" * 40)
    snapshot.mkdir(parents=True)
    if len(revision) != 40:
        (base / "refs").mkdir(parents=True)
        (base / "refs" / revision).write_text("a" * 40)
    for name in names:
        (snapshot / name).write_text("{}")
    return snapshot


@pytest.mark.parametrize("repository", ["FacebookAI/roberta-base", "roberta-base"])
@pytest.mark.parametrize("revision", ["main", download.ROBERTA_REVISION])
@pytest.mark.parametrize("names", [("tokenizer.json",), ("vocab.json", "merges.txt")])
def test_a_tokenizer_that_another_program_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: str, revision: str, names: tuple[str, ...]
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(DownloadError, match="CLAPRT_TOKENIZER"):
        download.download_tokenizer()
    snapshot = cached(tmp_path / "hub", repository, revision, names)
    assert download.download_tokenizer() == (snapshot / names[0] if len(names) == 1 else snapshot)


def test_the_variable_is_for_checkpoints_without_a_tokenizer(
    transformers_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(transformers_folder, tmp_path / "bare"))
    (folder / "tokenizer.json").unlink()
    monkeypatch.setenv("CLAPRT_TOKENIZER", str(tmp_path / "nothing"))
    with pytest.raises(BundleNotFoundError, match="CLAPRT_TOKENIZER names"):
        claprt.load(folder)
    assert safetensors.torch.load_file(folder / "model.safetensors")
