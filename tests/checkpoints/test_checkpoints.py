"""Checkpoints where bundles are named: what is exported, when, and what is said otherwise. With a stand-in exporter."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.bundle import digests
from claprt.bundle.digests import sha256_of
from claprt.checkpoints import export_cache, exporter_process
from claprt.checkpoints.resolve import find_bundle
from claprt.cli import main
from claprt.compat.kromosynth import CLAPExtractor
from claprt.errors import BundleCorruptError, BundleError, BundleNotFoundError, MissingDependencyError, OptionError
from claprt.tasks import models

EXPORTER = """
import hashlib, json, os, shutil, sys, threading, time
from pathlib import Path
arguments = sys.argv[1:]
place = Path(os.environ["STAND_IN"])
with (place / "calls").open("a") as calls:
    calls.write(json.dumps([arguments, sorted(os.environ), os.getpid()]) + "\\n")
mode = (place / "mode").read_text() if (place / "mode").exists() else ""
print("[  0.0 s] reading the checkpoint é", file=sys.stderr, flush=True)
print("result for people")
out = Path(arguments[arguments.index("--out") + 1])
if mode == "refuse":
    print("claprt-export: the weights do not fit.\\nTake others.", file=sys.stderr)
    sys.exit(1)
if mode == "crash":
    raise RuntimeError("unexpected")
if mode == "killed":
    os.kill(os.getpid(), 9)
if mode == "nothing":
    sys.exit(0)
if mode == "slow":
    partial = out.parent / f".{out.name}.abcd.partial"
    partial.mkdir()
    assert "--end-with-stdin" in arguments
    os.read(0, 1)
    shutil.rmtree(partial)
    sys.exit(130)
if mode == "unhurried":
    time.sleep(0.3)
shutil.copytree(place / "bundle", out.with_name(".new"))
if "--checkpoint" in arguments and mode != "swapped":
    path = Path(arguments[arguments.index("--checkpoint") + 1])
    files = [path] if path.is_file() else [path / name for name in ("model.safetensors", "pytorch_model.bin")]
    manifest = out.with_name(".new") / "manifest.json"
    facts = json.loads(manifest.read_bytes())
    facts["source"]["sha256"] = hashlib.sha256(next(file for file in files if file.is_file()).read_bytes()).hexdigest()
    manifest.write_text(json.dumps(facts))
out.with_name(".new").rename(out)
"""


class StandIn:
    """An exporter that gives the toy bundle, and what it was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mode(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    @property
    def calls(self) -> list[list[Any]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def exported(self) -> list[str]:
        """What each call was to export."""
        return [call[0][1] if call[0][0] == "--checkpoint" else call[0][0] for call in self.calls]


@pytest.fixture
def stand_in(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    folder = tmp_path / "stand-in"
    folder.mkdir()
    shutil.copytree(bundle, folder / "bundle")
    (folder / "exporter.py").write_text(EXPORTER, encoding="utf-8")
    monkeypatch.setenv("STAND_IN", str(folder))
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLAPRT_BUNDLE", raising=False)
    monkeypatch.delenv("CLAPRT_TOKENIZER", raising=False)
    monkeypatch.setattr(exporter_process, "exporter_command", lambda: [sys.executable, str(folder / "exporter.py")])
    monkeypatch.setattr(export_cache, "_NEEDED", ())
    monkeypatch.setattr(models, "_loaded", {})
    export_cache.temporary_folder.cache_clear()
    return StandIn(folder)


def write_pt(path: Path, content: object = "weights") -> Path:
    """A file like those of torch.save, as far as it is looked at here."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps(content))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_pt(tmp_path / "x.pt")


def write_folder(folder: Path) -> Path:
    """A folder like those of transformers' save_pretrained."""
    folder.mkdir()
    header = b'{"__metadata__":{"format":"pt"}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "config.json").write_text("{}")
    return folder


# what is exported, and when


def test_a_file_is_exported_once(stand_in: StandIn, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = claprt.load(file)
    said = capfd.readouterr()
    assert said.out == ""
    assert f"claprt: exporting {file} once, about a minute's work; it is kept in {first.bundle.path}" in said.err
    assert "reading the checkpoint é" in said.err
    assert claprt.load(str(file)).bundle.path == first.bundle.path
    assert stand_in.exported == [str(file)]
    assert capfd.readouterr().err == ""
    assert first.embed_audio(np.zeros(9), 48_000).shape == (512,)


def test_exports_are_for_their_owner_alone(stand_in: StandIn, file: Path) -> None:
    exports = find_bundle(file).parent
    assert exports.name == "exports"
    assert exports.stat().st_mode & 0o777 == 0o700
    exports.chmod(0o755)
    find_bundle(write_pt(file.with_name("y.pt")))
    assert exports.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_exports_of_another_user(stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = find_bundle(file).parent
    if os.geteuid() == 0:
        os.chown(exports, 4321, 4321)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(
        BundleError, match=r"exports belongs to another user; name a cache folder of your own in CLAPRT_GRAPH_CACHE"
    ):
        find_bundle(file)


def test_content_decides(stand_in: StandIn, file: Path) -> None:
    first = find_bundle(file)
    os.utime(file, (1, 1))
    assert find_bundle(file) == first
    (file.parent / "elsewhere").mkdir()
    moved = Path(shutil.copy2(file, file.parent / "elsewhere" / file.name))
    assert find_bundle(moved) == first
    assert len(stand_in.calls) == 1
    write_pt(file, "other weights")
    assert find_bundle(file) != first
    assert find_bundle(moved) == first
    assert len(stand_in.calls) == 2
    assert find_bundle(write_pt(file.with_name("y.pt"))) != first  # its name is in every fingerprint


def test_files_of_one_folder_are_not_hashed_again(stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write_pt(file.with_name("y.pt"), "y")
    long_ago = time.time() - 3600
    for path in (file, other):
        os.utime(path, (long_ago, long_ago))
    # a file that was just changed is hashed again, and these were three seconds ago
    monkeypatch.setattr(digests, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + 3_000_000_000))
    hashed: list[Path] = []
    monkeypatch.setattr("claprt.checkpoints.resolve.sha256_of", lambda path: [hashed.append(path), sha256_of(path)][1])
    for _ in range(3):
        find_bundle(file)
        find_bundle(other)
    assert hashed == [file, other]


def test_another_exporter_exports_again(stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find_bundle(file)
    monkeypatch.setattr(export_cache, "_exporter", lambda: "another version")
    assert find_bundle(file) != first


def test_a_folder_of_transformers(stand_in: StandIn, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clap")
    first = find_bundle(folder)
    assert stand_in.exported == [str(folder)]
    for name, content in (("config.json", '{"a": 1}'), ("tokenizer.json", "{}"), ("preprocessor_config.json", "{}")):
        (folder / name).write_text(content)
        find_bundle(folder)
    (folder / "README.md").write_text("words")
    (folder / "pytorch_model.bin").write_bytes(b"not taken where there are safetensors")
    find_bundle(folder)
    assert len(stand_in.calls) == 4
    assert first.is_dir()


def test_a_relative_folder_has_its_name(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "clap")
    monkeypatch.chdir(folder)
    assert find_bundle(".") == find_bundle(folder)
    assert stand_in.exported == [str(folder)]


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("630k-audioset-best", "630k-audioset-best"),
        ("laion/clap-htsat-fused", "clap-htsat-fused"),
        ("630k-audioset-fused-best.pt", "630k-audioset-fusion-best"),
        (Path("laion/larger_clap_music"), "larger_clap_music"),
    ],
)
def test_a_published_name(
    stand_in: StandIn, named: Any, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLAP_CHECKPOINT_PATH", "/of/another/model.pt")
    assert claprt.load(named).bundle.path == find_bundle(name)
    assert stand_in.exported == [name]
    assert "CLAP_CHECKPOINT_PATH" not in stand_in.calls[0][1]
    assert f"fetching {name}, unless the Hugging Face cache has it, and exporting it once" in capfd.readouterr().err


def test_what_is_there_comes_before_a_name(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_pt(tmp_path / "630k-best.pt")
    find_bundle("630k-best.pt")
    shutil.copytree(stand_in.folder / "bundle", tmp_path / "630k-fusion-best")
    assert find_bundle("630k-fusion-best") == Path("630k-fusion-best")
    assert stand_in.exported == [str(path)]


def test_the_tokenizer_of_the_variable(
    stand_in: StandIn, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "with-its-own")
    (folder / "tokenizer.json").write_text("{}")
    before = find_bundle(file), find_bundle(folder)
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text('{"a": 1}')
    for named in (tokenizer, tmp_path):
        monkeypatch.setenv("CLAPRT_TOKENIZER", str(named))
        assert find_bundle(file) != before[0]
        assert find_bundle(folder) == before[1]
    assert len(stand_in.calls) == 3
    monkeypatch.setenv("CLAPRT_TOKENIZER", str(tmp_path / "nothing"))
    with pytest.raises(BundleNotFoundError, match=r"CLAPRT_TOKENIZER names .*nothing, where no tokenizer\.json is"):
        find_bundle(file)


def test_a_damaged_export_is_made_again(stand_in: StandIn, file: Path) -> None:
    place = find_bundle(file)
    graph = place / "text.fp32.onnx"
    content = bytearray(graph.read_bytes())
    content[-200] ^= 1
    graph.write_bytes(content)
    assert claprt.load(file).bundle.path == place
    (place / "tokenizer.json").unlink()
    assert claprt.load(file).bundle.path == place
    assert len(stand_in.calls) == 3


def test_exports_that_nobody_loads_go(stand_in: StandIn, file: Path) -> None:
    old = find_bundle(file)
    kept = find_bundle(write_pt(file.with_name("y.pt"), "y"))
    os.utime(old / "manifest.json", (1, 1))
    (old.parent / f".{old.name}.123.partial").mkdir()
    find_bundle(write_pt(file.with_name("z.pt"), "z"))
    assert not old.exists()
    assert kept.exists()
    find_bundle(file)
    assert not list(old.parent.glob(".*.partial"))


@pytest.mark.parametrize("value", ["off", "{file}/cache"])
def test_without_a_cache_folder(
    stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", value.format(file=file))
    first = claprt.load(file)
    assert "kept for this process alone" in capfd.readouterr().err
    assert claprt.load(file).bundle.path == first.bundle.path
    assert len(stand_in.calls) == 1
    assert first.bundle.path.parent.stat().st_mode & 0o777 == 0o700


PROGRAM = """
import sys
from claprt.checkpoints import export_cache, exporter_process, resolve
exporter_process.exporter_command = lambda: [sys.executable, {exporter!r}]
export_cache._NEEDED = ()
print(resolve.find_bundle({file!r}), flush=True)
"""


def process(stand_in: StandIn, file: Path) -> subprocess.Popen[str]:
    """Another process that looks for the bundle of a file."""
    program = PROGRAM.format(exporter=str(stand_in.folder / "exporter.py"), file=str(file))
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_temporary_export_goes_with_its_process(stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", "off")
    out, err = process(stand_in, file).communicate(timeout=60)
    assert out.strip(), err
    assert not Path(out.strip()).parent.exists()


def test_two_processes_export_once(stand_in: StandIn, file: Path) -> None:
    stand_in.mode("unhurried")
    both = [process(stand_in, file) for _ in range(2)]
    found = [one.communicate(timeout=60)[0].strip() for one in both]
    assert found[0] == found[1] == str(find_bundle(file))
    assert len(stand_in.calls) == 1


def test_two_threads_export_once(stand_in: StandIn, file: Path) -> None:
    stand_in.mode("unhurried")
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(find_bundle(file))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    assert len(set(found)) == len(stand_in.calls) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_the_exporter_ends_with_its_process(stand_in: StandIn, file: Path, name: str, tmp_path: Path) -> None:
    """And the next one exports, at once."""
    stand_in.mode("slow")
    first = process(stand_in, file)
    exports = tmp_path / "cache" / "exports"
    until(lambda: list(exports.glob(".*.partial")))
    child = stand_in.calls[0][2]
    second = process(stand_in, file)
    assert second.stderr is not None
    assert "waiting for another export" in second.stderr.readline()
    stand_in.mode("")
    first.send_signal(getattr(signal, name))
    first.communicate(timeout=60)
    assert second.communicate(timeout=60)[0].strip() == str(find_bundle(file))
    until(lambda: not Path(f"/proc/{child}").exists() or not Path("/proc/self").exists())
    assert not list(exports.glob(".*.partial"))
    assert len(stand_in.calls) == 2


def test_a_precision_is_exported_too(stand_in: StandIn, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain = find_bundle(file)
    assert [find_bundle(file, precision=one) for one in ("fp32", "auto", None)] == [plain] * 3
    lowered = find_bundle(file, precision="int8")
    assert lowered != plain
    assert "with int8, some minutes' work" in capfd.readouterr().err
    with pytest.raises(OptionError, match="holds fp32"):  # the stand-in's
        claprt.load(file, precision="int8")
    assert main(["embed", "--text", "a", "--bundle", str(file), "--precision", "int8"]) == 1
    assert [call[0][:-3] for call in stand_in.calls] == [
        ["--checkpoint", str(file)],
        ["--checkpoint", str(file), "--precision", "fp32,int8"],
    ]


# what is said where it cannot be


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("refuse", r"^x cannot be exported: the weights do not fit\. Take others\.$"),
        ("crash", r"^x cannot be exported: the exporter ended with status 1: RuntimeError: unexpected$"),
        ("killed", r"^x cannot be exported: the exporter was ended by SIGKILL, as it is where memory runs out\.$"),
        ("nothing", r"no whole bundle is there"),
    ],
)
def test_an_export_that_fails(
    stand_in: StandIn, file: Path, mode: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in.mode(mode)
    with pytest.raises(BundleError, match=words):
        claprt.load(file)
    said = capfd.readouterr().err
    assert "reading the checkpoint" in said
    assert "the weights do not fit" not in said
    assert "Traceback" not in said
    stand_in.mode("")
    assert claprt.load(file).dim == 512


def test_an_exporter_that_cannot_be_started(stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_process, "exporter_command", lambda: ["/no/python"])
    with pytest.raises(BundleError, match="/no/python cannot be started: No such file"):
        find_bundle(file)


@pytest.mark.parametrize(
    ("named", "command"), [("x.pt", r"--checkpoint \S*x\.pt"), ("laion/clap-htsat-fused", "clap-htsat-fused")]
)
def test_without_the_export_extra(
    stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch, named: str, command: str
) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr(export_cache, "_NEEDED", ("torch", "onnx"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=rf"\(torch.*\).*pip install .*`claprt-export {command} --out FOLDER`"):
        claprt.load(named)
    monkeypatch.setattr(export_cache, "_NEEDED", ())
    monkeypatch.delitem(sys.modules, "torch")
    found = find_bundle(named)
    monkeypatch.setattr(export_cache, "_NEEDED", ("no_such_package",))
    assert find_bundle(named) == found  # what was exported needs no exporter


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.pt", b"", "it is empty"),
        ("x.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-lfs pointer"),
        ("x.pt", b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
        ("x.pt", b"PK\x03\x04" + bytes(1000), "it is cut short"),
        ("x.pt", b"\x1f\x8b\x08" + bytes(100), "gzip"),
        ("x.pt", b"\x91\x92\x93\x94" * 50, "it begins with"),
        ("x.safetensors", (10_000).to_bytes(8, "little") + b'{"a":', "a safetensors file that is cut short"),
        ("dog.wav", b"RIFF\x00\x00\x00\x00WAVEfmt ", "it is WAV"),
        ("audio.fp32.onnx", b"\x08\x08\x12\x07", "name the folder that it lies in"),
        ("manifest.json", b"{}", "manifest; name its folder"),
    ],
)
def test_files_that_are_no_checkpoints(stand_in: StandIn, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BundleError, match=words):
        claprt.load(path)
    assert not stand_in.calls


def test_a_zip_archive_of_something_else(stand_in: StandIn, tmp_path: Path) -> None:
    np.savez(tmp_path / "vectors.npz", np.zeros(3))
    with pytest.raises(BundleNotFoundError, match=r"torch\.save did not write"):
        claprt.load(tmp_path / "vectors.npz")


def test_a_cut_folder_of_transformers(stand_in: StandIn, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clap")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BundleCorruptError, match=r"model\.safetensors.*git-lfs pointer.*git lfs pull"):
        claprt.load(folder)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), r"no manifest\.json was found there\. A bundle is the folder"),
        (("x.pt", "y.pt"), r"It holds x\.pt, y\.pt: name that file"),
        (("model-00001-of-00002.safetensors",), r"Its weights are in parts"),
    ],
)
def test_folders_that_hold_something_else(stand_in: StandIn, tmp_path: Path, files: tuple[str, ...], words: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    with pytest.raises(BundleNotFoundError, match=words):
        claprt.load(folder)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("630k-audiset-best", "Did you mean 630k-audioset-best"),
        ("laion/clap-htsat-fuse", "Did you mean clap-htsat-fused"),
        ("nothing", "nor has a published checkpoint that name. `claprt-export --help` lists"),
        ("someone/their-clap", r"`hf download someone/their-clap --local-dir FOLDER`"),
        ("nothing.pt", r"A checkpoint was asked for at nothing\.pt, and no such file"),
        ("models/630k-audioset-best.pt", r"no such file was found there\. .* fetched for '630k-audioset-best'"),
        ("/dev/null", "neither a folder nor a file"),
        ("a" * 300, "File name too long"),
    ],
)
def test_names_that_lead_nowhere(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleNotFoundError, match=words):
        claprt.load(named)
    assert not stand_in.calls


def test_a_repository_of_the_hubs_cache(stand_in: StandIn, tmp_path: Path) -> None:
    folder = tmp_path / "models--laion--clap-htsat-fused"
    (folder / "snapshots").mkdir(parents=True)
    with pytest.raises(
        BundleNotFoundError, match=r"in the Hugging Face cache: name the folder of a version in .*snapshots"
    ):
        claprt.load(folder)


def test_without_standard_error(stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - closed at once
    closed.close()
    for number, stream in enumerate((None, closed)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert claprt.load(write_pt(file.with_name(f"{number}.pt"))).dim == 512


def test_a_relative_cache_folder(stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", "here")
    assert find_bundle(file).parent == tmp_path / "here" / "exports"


def test_an_address_where_files_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    for given in ("triton://localhost:8001", Path("triton://localhost:8001")):
        with pytest.raises(OptionError, match=r"^triton://localhost:8001 is the address of a server"):
            claprt.read_bundle(given)
    with pytest.raises(OptionError, match="the address as a string"):
        claprt.load(Path("triton://localhost:8001"))


# wherever a model is named


def test_the_variables(stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_BUNDLE", str(file))
    found = claprt.load().bundle.path
    assert models.resolve_model().bundle.path == found
    assert models.resolve_model(file) is models.resolve_model()
    monkeypatch.delenv("CLAPRT_BUNDLE")
    monkeypatch.setenv("CLAP_CHECKPOINT_PATH", str(file))
    assert CLAPExtractor().model.bundle.path == CLAPExtractor(checkpoint_path=str(file)).model.bundle.path == found
    monkeypatch.setenv("CLAPRT_BUNDLE", "630k-audiset-best")
    with pytest.raises(BundleNotFoundError, match="CLAPRT_BUNDLE names 630k-audiset-best, which is not a bundle"):
        claprt.load()
    assert len(stand_in.calls) == 1


@pytest.mark.usefixtures("brief_latency")
@pytest.mark.parametrize("option", ["--bundle", "--checkpoint"])
@pytest.mark.parametrize(
    "arguments", [["embed", "--text", "rain"], ["inspect", None], ["latency", "--trials", "1"]], ids=lambda words: words[0]
)
def test_commands(
    stand_in: StandIn, file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str | None], option: str
) -> None:
    given = [str(file) if word is None else word for word in arguments]
    if None not in arguments:
        given += [option, str(file)]
    assert main(given) in (0, 1 if given[0] == "latency" else 0)  # a missed target is 1
    said = capsys.readouterr()
    assert "tiny" in said.out
    assert "claprt: exporting" in said.err
    assert stand_in.exported == [str(file)]


def test_a_quiet_command(stand_in: StandIn, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "--text", "rain", "--quiet", "--bundle", str(file)]) == 0
    assert capfd.readouterr().err == ""
    assert stand_in.exported == [str(file)]
    stand_in.mode("refuse")
    assert main(["embed", "--text", "rain", "--quiet", "--bundle", str(write_pt(file.with_name("y.pt"), "y"))]) == 1
    assert capfd.readouterr().err == "claprt: y cannot be exported: the weights do not fit. Take others.\n"


@pytest.mark.parametrize("named", ["x.pt", "630k-audioset-best"])
def test_a_calibration_is_kept_in_bundles_alone(
    stand_in: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    monkeypatch.chdir(file.parent)
    assert main(["calibrate", "--dataset", str(file.parent), "--bundle", named]) == 1
    assert f"{named} is not the folder of a bundle, which is where a calibration is kept" in capsys.readouterr().err
    assert not stand_in.calls


def test_a_triton_repository(stand_in: StandIn, file: Path, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient", reason="needs tritonclient")
    assert main(["triton", "--checkpoint", str(file), "--out", str(tmp_path / "repository")]) == 0
    assert list((tmp_path / "repository").glob("*/1/model.onnx"))


def test_the_variable_may_name_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_BUNDLE", "triton://localhost:8001")
    with pytest.raises(OptionError, match="threads is the server's own with triton://localhost:8001"):
        claprt.load(threads=1)


def test_a_checkpoint_that_is_swapped_while_it_is_exported(stand_in: StandIn, file: Path) -> None:
    """What came of the other file is not kept under the name of the first."""
    stand_in.mode("swapped")
    with pytest.raises(BundleError, match="was changed while it was exported"):
        find_bundle(file)
    stand_in.mode("")
    found = find_bundle(file)
    assert (found / "manifest.json").is_file()
    assert len(stand_in.calls) == 2


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_the_place_of_an_export(stand_in: StandIn, file: Path, tmp_path: Path, kind: str) -> None:
    found = find_bundle(file)
    shutil.rmtree(found)
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    found.symlink_to(other) if kind == "link" else found.write_bytes(b"")
    assert find_bundle(file) == found
    assert (found / "manifest.json").is_file()
    assert (other / "kept").exists()
    assert len(stand_in.calls) == 2
