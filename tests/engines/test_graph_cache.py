"""Prepared graphs: kept, found again, and never trusted when they are not what was written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.arrays import Embedding
from claprt.audio.synthetic import SOUNDS
from claprt.bundle import digests
from claprt.bundle.digests import remembered_digests, sha256_of, stamp_of
from claprt.bundle.folder import read_bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.engines import graph_cache, onnxruntime_session, openvino_session
from claprt.engines.graph_cache import GraphCache, default_cache
from claprt.errors import BundleCorruptError
from claprt.system.locks import HAS_LOCKS
from tests.golden.inputs import signs

KEY = {"graph": "a" * 64, "runtime": "test 1"}
WAVEFORM = SOUNDS["bell"](60_000, 48_000)


class Builder:
    """Writes an entry and counts how often it had to."""

    def __init__(self, content: bytes = b"prepared") -> None:
        self.content, self.calls = content, 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "graph.onnx").write_bytes(self.content)
        (folder / "graph.onnx.data").write_bytes(self.content * 100)


@pytest.fixture
def kept(tmp_path: Path) -> GraphCache:
    return GraphCache(tmp_path / "cache")


def entry(cache: GraphCache, build: Builder) -> Path:
    found = cache.entry(KEY, build)
    assert found is not None
    return found


def test_built_once(kept: GraphCache) -> None:
    build = Builder()
    first = entry(kept, build)
    assert entry(GraphCache(kept.folder), build) == first
    assert build.calls == 1
    assert (first / "graph.onnx").read_bytes() == b"prepared"
    other = kept.entry({**KEY, "runtime": "test 2"}, build)
    assert other not in (None, first)
    assert build.calls == 2


@pytest.mark.parametrize(
    "harm",
    ["flip", "cut", "remove", "extra", "no entry", "entry of nonsense", "entry of another kind", "entry without an end"],
)
def test_a_harmed_entry_is_made_anew(kept: GraphCache, harm: str) -> None:
    build = Builder()
    place = entry(kept, build)
    data = place / "graph.onnx.data"
    if harm == "flip":
        content = bytearray(data.read_bytes())
        content[50] ^= 1
        data.write_bytes(content)
    elif harm == "cut":
        os.truncate(data, 10)
    elif harm == "remove":
        data.unlink()
    elif harm == "extra":
        (place / "more").write_bytes(b"")
    elif harm == "no entry":
        (place / "entry.json").unlink()
    else:
        content = {
            "entry of nonsense": "{nonsense",
            "entry of another kind": "[1, 2]",
            "entry without an end": "[" * 200_000,
        }
        (place / "entry.json").write_text(content[harm])
    again = entry(kept, build)
    assert build.calls == 2
    assert (again / "graph.onnx.data").read_bytes() == b"prepared" * 100
    assert entry(kept, build) == again
    assert build.calls == 2


def test_a_file_with_another_inode_is_read_again_and_believed(kept: GraphCache) -> None:
    """As after copying a cache: the same bytes, other times."""
    build = Builder()
    place = entry(kept, build)
    copy = place / "graph.onnx.copy"
    copy.write_bytes((place / "graph.onnx").read_bytes())
    copy.replace(place / "graph.onnx")
    assert entry(kept, build) == place
    assert build.calls == 1


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are hashed from here on."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(graph_cache, "sha256_of", counted)
    return names


def copied(kept: GraphCache, folder: Path) -> GraphCache:
    shutil.copytree(kept.folder, folder)  # with the times of modification
    return GraphCache(folder)


def test_a_copied_cache_is_hashed_once(
    kept: GraphCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    monkeypatch.setattr(digests, "RACY_NS", -1)
    build = Builder()
    entry(kept, build)
    copy = copied(kept, tmp_path / "copy")
    hashed.clear()
    place = entry(copy, build)
    assert hashed == ["graph.onnx", "graph.onnx.data"]
    assert entry(copy, build) == place
    assert hashed == ["graph.onnx", "graph.onnx.data"]
    assert build.calls == 1
    assert sorted(path.name for path in place.iterdir()) == ["entry.json", "graph.onnx", "graph.onnx.data"]
    assert list(place.parent.iterdir()) == [place]
    assert json.loads((place / "entry.json").read_text())["key"] == KEY
    (place / "graph.onnx").write_bytes(b"prepareD")
    assert (entry(copy, build) / "graph.onnx").read_bytes() == b"prepared"
    assert build.calls == 2


def test_a_copy_of_a_moment_ago_is_hashed_again(kept: GraphCache, tmp_path: Path, hashed: list[str]) -> None:
    """It may still change without its times showing it."""
    entry(kept, Builder())
    copy = copied(kept, tmp_path / "copy")
    hashed.clear()
    for _ in range(2):
        entry(copy, Builder())
    assert len(hashed) == 4


def test_a_copy_whose_record_cannot_be_written_is_believed(
    kept: GraphCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "RACY_NS", -1)
    build = Builder()
    entry(kept, build)
    copy = copied(kept, tmp_path / "copy")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(graph_cache, "write_record", full)
    entry(copy, build)
    assert build.calls == 1


def test_a_flip_that_keeps_the_modification_time(kept: GraphCache) -> None:
    build = Builder()
    file = entry(kept, build) / "graph.onnx"
    before = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"prepareD")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (entry(kept, build) / "graph.onnx").read_bytes() == b"prepared"
    assert build.calls == 2


def test_a_builder_that_fails_leaves_nothing(kept: GraphCache) -> None:
    def full(folder: Path) -> None:
        (folder / "graph.onnx").write_bytes(b"half")
        raise OSError("no space left on device")

    assert kept.entry(KEY, full) is None
    assert list((kept.folder / "graphs").iterdir()) == []
    assert entry(kept, Builder()).is_dir()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    build = Builder()
    assert GraphCache(tmp_path / "file").entry(KEY, build) is None
    assert build.calls == 0


_KILLED = """
import os, signal, sys
from pathlib import Path
from claprt.engines.graph_cache import GraphCache
def build(folder):
    (folder / "graph.onnx").write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)
GraphCache(Path(sys.argv[1])).entry({"graph": "a" * 64, "runtime": "test 1"}, build)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_process_killed_while_writing(kept: GraphCache) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(kept.folder)], check=False)
    assert done.returncode == -9
    (left,) = (kept.folder / "graphs").iterdir()
    build = Builder()
    assert (entry(kept, build) / "graph.onnx").read_bytes() == b"prepared"
    assert left.exists()  # it may be another process at work
    old = time.time() - 2 * 24 * 3600
    os.utime(left, (old, old))
    half = left.with_name(".entry.json.1234")
    half.write_text("{")
    os.utime(half, (old, old))
    kept.entry({"another": "key"}, build)
    assert not left.exists()
    assert not half.exists()


_AT_WORK = """
import sys, time
from pathlib import Path
from claprt.engines.graph_cache import GraphCache
def build(folder):
    print("begun", flush=True)
    time.sleep(60)
GraphCache(Path(sys.argv[1])).entry({"graph": "b" * 64, "runtime": "test 1"}, build)
"""


@pytest.mark.skipif(not HAS_LOCKS, reason="needs locks of folders")
def test_what_a_killed_process_left_goes_with_the_next_load_of_anything(kept: GraphCache, bundle: Path) -> None:
    """Minutes later, on hits too; what a living process is at work in stays, however long it takes."""
    entry(kept, Builder())
    worker = subprocess.Popen([sys.executable, "-c", _AT_WORK, str(kept.folder)], stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"begun\n"
        (alive,) = (kept.folder / "graphs").glob(".*")
        old = time.time() - 4 * 60
        os.utime(alive, (old, old))
        left = [kept.folder / "graphs" / f".{n}.1234" for n in "ab"]
        for folder in left:
            folder.mkdir()
            (folder / "graph.onnx.data").write_bytes(bytes(1000))
            os.utime(folder, (old, old))
        build = Builder()
        entry(kept, build)
        assert build.calls == 0
        assert [path.exists() for path in (*left, alive)] == [False, False, True]
        worker.kill()
        worker.wait()
        read_bundle(bundle).verify(kept)  # no graph is prepared, and it goes all the same
        assert not alive.exists()
    finally:
        worker.kill()
        worker.communicate()


def test_unused_entries_go_with_hits_as_well(kept: GraphCache) -> None:
    build = Builder()
    place, other = entry(kept, build), kept.entry({"another": "key"}, build)
    assert other is not None
    old = time.time() - 40 * 24 * 3600
    os.utime(place / "entry.json", (old, old))
    os.utime(kept.folder / ".tidied", (old, old))
    assert kept.entry({"another": "key"}, build) == other
    assert not place.exists()
    assert build.calls == 2


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")
def test_the_folder_is_its_owners(tmp_path: Path, bundle: Path) -> None:
    for number, use in enumerate(
        (
            lambda cache: entry(cache, Builder()),
            lambda cache: read_bundle(bundle).verify(cache),
            lambda cache: cache.make(cache.folder / "tensorrt" / "engine"),
        )
    ):
        cache = GraphCache(tmp_path / "deep" / str(number))
        use(cache)
        assert cache.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["a\0b", "../../entry.json", "x" * 5000])
def test_an_entry_with_names_that_are_none(kept: GraphCache, name: str) -> None:
    build = Builder()
    place = entry(kept, build)
    record = json.loads((place / "entry.json").read_text())
    record["files"][name] = record["files"]["graph.onnx"]
    (place / "entry.json").write_text(json.dumps(record))
    entry(kept, build)
    assert build.calls == 2


def test_entries_that_nobody_uses_go(kept: GraphCache) -> None:
    place = entry(kept, Builder())
    old = time.time() - 40 * 24 * 3600
    os.utime(place / "entry.json", (old, old))
    kept.entry({"another": "key"}, Builder())
    assert not place.exists()


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path))
    assert default_cache() == GraphCache(tmp_path)
    for off in ("off", "", " OFF ", "0"):
        monkeypatch.setenv("CLAPRT_GRAPH_CACHE", off)
        assert default_cache() is None
    monkeypatch.delenv("CLAPRT_GRAPH_CACHE")
    monkeypatch.setenv("CLAPRT_CACHE", str(tmp_path))
    with pytest.warns(DeprecationWarning, match="CLAPRT_CACHE is now CLAPRT_GRAPH_CACHE"):
        assert default_cache() == GraphCache(tmp_path)
    monkeypatch.delenv("CLAPRT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    if sys.platform != "win32":
        assert default_cache() == GraphCache(tmp_path / "home" / "claprt")


def test_files_are_hashed_once(bundle: Path, kept: GraphCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "RACY_NS", -1)
    found = read_bundle(bundle)
    asked: list[str] = []

    def counted(names: list[str]) -> dict[str, str]:
        asked.extend(names)
        return found._digests(names)  # pyright: ignore[reportPrivateUsage]

    names = list(found.manifest.listed_files())
    for _ in range(2):
        result = remembered_digests(kept, bundle, names, counted)  # pyright: ignore[reportArgumentType]
        assert result == {name: facts.sha256 for name, facts in found.manifest.listed_files().items()}
    assert asked == names


def test_a_file_of_a_moment_ago_is_hashed_again(bundle: Path, tmp_path: Path, kept: GraphCache) -> None:
    (tmp_path / "new").write_bytes(b"x")
    calls: list[list[str]] = []
    for _ in range(2):
        remembered_digests(
            kept, tmp_path, ["new"], lambda names: calls.append(list(names)) or dict.fromkeys(names, "0" * 64)
        )
    assert calls == [["new"], ["new"]]


@pytest.mark.parametrize("content", ["[" * 200_000, '{"new": ' * 200_000, "[1]", '{"new": [1]}'])
def test_a_record_of_hashed_files_that_is_none(tmp_path: Path, kept: GraphCache, content: str) -> None:
    (tmp_path / "new").write_bytes(b"x")
    for _ in range(2):
        assert remembered_digests(kept, tmp_path, ["new"], lambda names: dict.fromkeys(names, "0" * 64)) == {
            "new": "0" * 64
        }
        (record,) = (kept.folder / "checked").iterdir()
        record.write_text(content)


def test_an_altered_bundle_is_found_whatever_is_remembered(bundle: Path, kept: GraphCache, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    found = read_bundle(copy)
    found.verify(kept)
    graph = copy / "audio.fp32.onnx"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(content)
    with pytest.raises(BundleCorruptError, match="is not the file that was exported"):
        found.verify(kept)


@pytest.fixture
def small_is_worth_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_session, "_WORTH_KEEPING", 0)


@pytest.mark.usefixtures("small_is_worth_keeping")
def test_the_same_vector_from_a_kept_graph(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", "off")
    expected = claprt.load(bundle).embed_audio(WAVEFORM)
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path))
    for _ in range(2):
        assert np.array_equal(claprt.load(bundle).embed_audio(WAVEFORM), expected)
    (place,) = (tmp_path / "graphs").iterdir()
    facts = json.loads((place / "entry.json").read_text())
    assert facts["key"]["graph"] == read_bundle(bundle).manifest.graph(Stage.AUDIO, Precision.FP32).sha256
    assert set(facts["files"]) >= {"graph.onnx"}
    written = stamp_of(place / "graph.onnx")
    assert np.array_equal(claprt.load(bundle).embed_audio(WAVEFORM), expected)
    assert stamp_of(place / "graph.onnx") == written


@pytest.mark.usefixtures("small_is_worth_keeping")
@pytest.mark.parametrize("harm", [b"", b"not a graph", None])
def test_a_kept_graph_that_is_no_graph(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: bytes | None
) -> None:
    """Even one whose record says that it is whole: then the bundle's own graph is run."""
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path))
    expected = claprt.load(bundle).embed_audio(WAVEFORM)
    (place,) = (tmp_path / "graphs").iterdir()
    graph = place / "graph.onnx"
    graph.write_bytes(graph.read_bytes()[:-40] if harm is None else harm)
    entry_file = place / "entry.json"
    facts = json.loads(entry_file.read_text())
    facts["files"]["graph.onnx"] = graph_cache._file_record(graph)  # pyright: ignore[reportPrivateUsage]
    entry_file.write_text(json.dumps(facts))
    assert np.array_equal(claprt.load(bundle).embed_audio(WAVEFORM), expected)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path))
    assert claprt.load(bundle).embed_audio(WAVEFORM).shape == (512,)


@pytest.mark.usefixtures("small_is_worth_keeping")
def test_a_graph_prepared_with_other_options_is_another(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some options change what a graph is optimised to, so a kept one must not outlive them."""
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path))
    for features, entries in ((frozenset({"vnni"}), 1), (frozenset[str](), 2), (frozenset({"vnni"}), 2)):
        monkeypatch.setattr(onnxruntime_session, "cpu_features", lambda features=features: features)
        claprt.load(bundle).embed_audio(WAVEFORM)
        assert len(list((tmp_path / "graphs").iterdir())) == entries


@pytest.fixture
def swapped(bundle: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of a bundle that nobody has changed for long, and another audio graph of the same interface and size."""
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    graph = copy / "audio.fp32.onnx"
    content, weights = graph.read_bytes(), signs("audio", 192, 512)
    assert content.count(weights.tobytes()) == 1
    other = tmp_path / "other.onnx"
    other.write_bytes(content.replace(weights.tobytes(), (weights * -3).tobytes()))
    assert other.stat().st_size == graph.stat().st_size
    return copy, other


class _RightVectors(dict[str, Embedding]):
    """The vector of the bundle by provider."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle

    def __missing__(self, provider: str) -> Embedding:
        self[provider] = claprt.load(self.bundle, provider=provider).embed_audio(WAVEFORM)
        return self[provider]


@pytest.fixture(scope="module")
def right_vectors(bundle: Path) -> Mapping[str, Embedding]:
    return _RightVectors(bundle)


def by_renaming(copy: Path, other: Path) -> Callable[[], None]:
    """Puts another graph in the place of the good one, and returns what puts that back."""
    graph, aside = copy / "audio.fp32.onnx", copy.parent / "aside"
    graph.rename(aside)
    shutil.copy(other, graph)
    return lambda: aside.replace(graph) and None  # pyright: ignore[reportReturnType]


def by_writing(copy: Path, other: Path) -> Callable[[], None]:
    graph = copy / "audio.fp32.onnx"
    good, before = graph.read_bytes(), graph.stat()

    def write(content: bytes) -> None:
        with graph.open("r+b") as file:
            file.write(content)
        os.utime(graph, ns=(before.st_atime_ns, before.st_mtime_ns))

    write(other.read_bytes())
    return lambda: write(good)


def by_another_folder(copy: Path, other: Path) -> Callable[[], None]:
    aside = copy.parent / "aside"
    copy.rename(aside)
    shutil.copytree(aside, copy)
    shutil.copy(other, copy / "audio.fp32.onnx")

    def back() -> None:
        shutil.rmtree(copy)
        aside.rename(copy)

    return back


@pytest.mark.usefixtures("small_is_worth_keeping")
@pytest.mark.parametrize("provider", ["cpu", "openvino"])
@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("kept_in", ["cache", "off"])
@pytest.mark.parametrize("put_back", [True, False])
@pytest.mark.parametrize("swap", [by_renaming, by_writing, by_another_folder])
def test_a_graph_that_is_swapped_while_it_is_loaded(
    swapped: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    swap: Callable[[Path, Path], Callable[[], None]],
    put_back: bool,
    kept_in: str,
    settled: bool,
    provider: str,
    right_vectors: Mapping[str, Embedding],
) -> None:
    """After it was compared with the manifest: it gives no vector, and is not kept for later."""
    copy, other = swapped
    if swap is by_another_folder and put_back and not Path("/proc/self/fd").exists():
        pytest.skip("needs names of open folders")
    if provider == "openvino":
        pytest.importorskip("openvino")
        if swap is by_another_folder and put_back:
            pytest.skip("OpenVINO keeps what it compiles by path, so there only the file is watched")
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache") if kept_in == "cache" else "off")
    if settled:
        monkeypatch.setattr(digests, "settled", lambda *_: True)
    expected = right_vectors[provider]
    module: Any = onnxruntime_session if provider == "cpu" else openvino_session
    create, backs = module.unchanged_file, []

    def swapping(path: Path, sha256: str | None, **more: Any) -> Any:
        @contextlib.contextmanager
        def swapped_inside() -> Any:
            with create(path, sha256, **more) as name:
                back = swap(copy, other)
                try:
                    yield name
                finally:
                    if put_back:
                        back()
                    else:
                        backs.append(back)

        return swapped_inside()

    with monkeypatch.context() as patch:
        patch.setattr(module, "unchanged_file", swapping)
        try:
            found = claprt.load(copy, provider=provider).embed_audio(WAVEFORM)
        except BundleCorruptError:
            found = None
        assert found is None or np.allclose(found, expected, atol=1e-5)
    for back in reversed(backs):
        back()
    for _ in range(2):
        assert np.allclose(claprt.load(copy, provider=provider).embed_audio(WAVEFORM), expected, atol=1e-5)


def test_a_graph_that_is_swapped_before_it_is_first_used(
    swapped: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text tower is loaded with the first text, which may be hours after the files were compared."""
    copy, _ = swapped
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    clap = claprt.load(copy)
    graph = copy / "text.fp32.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"text.fp32.onnx is not the file that was exported"):
        clap.embed_text("a dog")
    assert claprt.load(copy, verify=False).dim == 512


@pytest.mark.usefixtures("small_is_worth_keeping")
def test_an_unverified_graph_is_not_kept_under_the_name_of_the_right_one(
    swapped: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, other = swapped
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(tmp_path / "cache"))
    back = by_renaming(copy, other)
    wrong = claprt.load(copy, verify=False).embed_audio(WAVEFORM)
    assert not list((tmp_path / "cache" / "graphs").glob("[!.]*"))
    back()
    right = claprt.load(copy).embed_audio(WAVEFORM)
    assert wrong @ right < 0.999
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", "off")
    assert np.allclose(claprt.load(copy).embed_audio(WAVEFORM), right, atol=1e-5)


def test_a_second_load_hashes_nothing(bundle: Path, kept: GraphCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_GRAPH_CACHE", str(kept.folder))
    claprt.load("mini").embed_text("a dog")
    read = digests._digest  # pyright: ignore[reportPrivateUsage]
    hashed: list[str] = []
    monkeypatch.setattr(digests, "_digest", lambda file: hashed.append(file.name) or read(file))
    claprt.load("mini").embed_text("a dog")
    monkeypatch.setattr(digests, "_known", {})  # as in another process
    claprt.load("mini").embed_text("a dog")
    assert hashed == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
@pytest.mark.usefixtures("small_is_worth_keeping")
def test_a_full_disk_and_a_file_in_place_of_the_folder(bundle: Path, tmp_path: Path) -> None:
    """A limit of the size of files stands in for a full disk: the vector is the same, and nothing stays behind."""
    (tmp_path / "file").write_bytes(b"")
    program = """
import os, resource, sys
import numpy as np
import claprt
from claprt.engines import onnxruntime_session
onnxruntime_session._WORTH_KEEPING = 0
bundle, folder = sys.argv[1:]
for cache, room in (("off", 10**9), ("full", 0), ("full", 5000), ("full", 200_000), ("file", 10**9), ("file/x", 10**9)):
    os.environ["CLAPRT_GRAPH_CACHE"] = cache if cache == "off" else os.path.join(folder, cache)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    print(claprt.load(bundle).embed_audio(np.ones(48_000, np.float32), 48_000)[:3].tolist(), flush=True)
"""
    command = [sys.executable, "-c", program, str(bundle), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    answers = done.stdout.splitlines()
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert not list((tmp_path / "full").glob("graphs/*"))
