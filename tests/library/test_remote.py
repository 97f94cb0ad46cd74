"""Sounds of other machines, and embedding on a cluster: the same rows as of local files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import claprt
from claprt.errors import AudioNotFoundError, LibraryError, OptionError
from claprt.library import remote
from claprt.library.ray_data import RayOptions

pytest.importorskip("pyarrow", reason="needs claprt[library]")
pytest.importorskip("fsspec", reason="needs claprt[remote]")

import fsspec

from tests.library.indexed import failures_of, rows_of, run, tar_of, write_sound


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sounds = tmp_path / "sounds"
    for number in range(3):
        write_sound(sounds / f"{number}.wav", number)
    write_sound(sounds / "deep" / "3.flac", 3)
    (sounds / "bad.wav").write_bytes(b"no sound")
    return sounds


def upload(folder: Path, url: str) -> str:
    system, place = fsspec.core.url_to_fs(url)
    for path in sorted(folder.rglob("*.*")):
        system.pipe_file(f"{place}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return url


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    yield upload(folder, "memory://bucket/sounds")
    fsspec.filesystem("memory").store.clear()


def check_like_local(url: str, folder: Path, out: Path, clap: claprt.Clap) -> None:
    """Index a URL and the folder, compare the rows, and index the URL again."""
    summary = run(url, out=out, clap=clap)
    assert (summary.embedded, summary.failed, summary.unreadable) == (4, 1, [])
    local = out.with_name("local")
    run(folder, out=local, clap=clap)
    theirs = {Path(row["path"]).name: row for row in rows_of(local)}
    rows = rows_of(out)
    assert [Path(row["path"]).name for row in rows] == ["0.wav", "1.wav", "2.wav", "3.flac"]
    for row in rows:
        assert row["path"].startswith(url.partition("://")[0] + "://")
        its = theirs[Path(row["path"]).name]
        assert {key for key in row if row[key] != its[key]} == {"id", "path", "mtime"}
    assert failures_of(out)[0]["error"] == "AudioDecodeError"
    assert run(url, out=out, clap=clap).unchanged == 5


def test_memory(memory: str, folder: Path, tmp_path: Path, clap: claprt.Clap) -> None:
    out = tmp_path / "library"
    check_like_local(memory, folder, out, clap)
    system, place = fsspec.core.url_to_fs(memory)
    system.rm(f"{place}/0.wav")
    assert run(memory, out=out, clap=clap).vanished == 1
    assert run(f"{memory}/*.wav", out=tmp_path / "pattern", clap=clap).embedded == 2
    assert run(f"{memory}/1.wav", out=tmp_path / "one", clap=clap).embedded == 1


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_remote_archive(memory: str, folder: Path, tmp_path: Path, clap: claprt.Clap, name: str) -> None:
    archive = tar_of(folder, tmp_path / name, "w:gz" if name.endswith("gz") else "w")
    fsspec.filesystem("memory").pipe_file(f"/bucket/{name}", archive.read_bytes())
    summary = run(f"memory://bucket/{name}", out=tmp_path / "library", clap=clap)
    assert (summary.embedded, summary.failed) == (4, 1)
    paths = [row["path"] for row in rows_of(tmp_path / "library")]
    assert paths[0].endswith(f"bucket/{name}::0.wav")


def test_a_file_url_is_the_local_file(folder: Path, tmp_path: Path, clap: claprt.Clap) -> None:
    out = tmp_path / "library"
    assert run(folder.as_uri(), out=out, clap=clap).embedded == 4
    assert run(folder, out=out, clap=clap).unchanged == 5


def test_what_is_not_there_is_named(tmp_path: Path, clap: claprt.Clap) -> None:
    out = tmp_path / "library"
    with pytest.raises(AudioNotFoundError, match="memory://nothing was asked for"):
        run("memory://nothing", out=out, clap=clap)
    with pytest.raises(LibraryError, match="nosuch://a cannot be opened"):
        run("nosuch://a", out=out, clap=clap)
    with pytest.raises(AudioNotFoundError, match="gone was to be indexed, and there is no such file or folder"):
        run((tmp_path / "gone").as_uri(), out=out, clap=clap)
    assert not out.exists()
    assert run("memory://nothing/*.wav", out=out, clap=clap).found == 0


def test_a_list_goes_on_after_a_url_that_cannot_be_read(
    memory: str, folder: Path, tmp_path: Path, clap: claprt.Clap
) -> None:
    names = tmp_path / "list.txt"
    names.write_text(f"nosuch://a\n{folder / '0.wav'}\nmemory://nothing\n{memory}/1.wav\n")
    summary = run(f"@{names}", out=tmp_path / "library", clap=clap)
    assert (summary.embedded, summary.failed) == (2, 1)
    (sentence,) = summary.unreadable
    assert sentence.startswith("nosuch://a cannot be opened: ")


def test_errors_that_only_file_systems_know_are_sentences(
    memory: str, folder: Path, tmp_path: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, out = fsspec.filesystem("memory"), tmp_path / "library"
    for name in ("one.tar", "two.tar"):
        system.pipe_file(f"/bucket/{name}", tar_of(folder, tmp_path / name, "w").read_bytes())
    opened = type(system).open

    def refused(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        if path.endswith("one.tar"):
            raise RuntimeError("Unable to locate credentials")
        return opened(self, path, *arguments, **options)

    monkeypatch.setattr(type(system), "open", refused)
    summary = run("memory://bucket/*.tar", out=out, clap=clap)
    assert summary.unreadable == ["memory:///bucket/one.tar cannot be read: Unable to locate credentials."]
    assert summary.embedded == 4

    def unlisted(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Unable to locate credentials")

    monkeypatch.setattr(type(system), "info", unlisted)
    other = out.with_name("other")
    for url in ("memory://bucket", "memory://bucket/*.tar"):
        with pytest.raises(LibraryError) as caught:
            run(url, out=other, clap=clap)
        assert str(caught.value) == f"{url} cannot be listed: Unable to locate credentials."
    assert not other.exists()


def test_a_file_that_could_not_be_had_is_read_again_though_its_time_is_not_known(
    memory: str, tmp_path: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, system = tmp_path / "library", fsspec.filesystem("memory")
    monkeypatch.setattr(remote, "changed_at", lambda _info: 0.0)  # as over HTTP

    def refused(*_: Any, **__: Any) -> bytes:
        raise TimeoutError("timed out")

    with monkeypatch.context() as patch:
        patch.setattr(type(system), "cat_file", refused)
        assert run(f"{memory}/1.wav", out=out, clap=clap).failed == 1
    summary = run(f"{memory}/1.wav", out=out, clap=clap)
    assert (summary.embedded, summary.failed_before) == (1, 0)
    assert failures_of(out) == []


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server on this machine."""
    pytest.importorskip("s3fs", reason="needs claprt[remote]")
    server: Any = pytest.importorskip("moto.server", reason="needs moto")
    thread = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    thread.start()
    host, port = thread.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("sounds")
    yield "s3://sounds/all"
    fsspec.filesystem("s3").clear_instance_cache()
    thread.stop()


@pytest.mark.seconds
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_s3(bucket: str, folder: Path, tmp_path: Path, clap: claprt.Clap) -> None:
    check_like_local(upload(folder, bucket), folder, tmp_path / "library", clap)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_rows(folder: Path, tmp_path: Path, clap: claprt.Clap) -> None:
    pytest.importorskip("ray.data", reason="needs claprt[ray]")
    out, local = tmp_path / "library", tmp_path / "local"
    for number in range(10, 40):
        write_sound(folder / f"{number}.wav", number)
    shutil.copy(folder / "0.wav", folder / "copy.wav")
    run(folder, out=local, clap=clap)
    summary = run(folder, out=out, clap=clap, ray=RayOptions(actors=2))
    assert summary.done == 36
    assert rows_of(out) == rows_of(local)
    assert failures_of(out) == failures_of(local)
    (folder / "0.wav").rename(folder / "renamed.wav")
    os.utime(folder / "1.wav", (1e9, 1e9))
    write_sound(folder / "40.wav", 40)
    summary = run(folder, out=out, clap=clap, ray=RayOptions(actors=1))
    assert (summary.embedded, summary.copied, summary.touched) == (1, 1, 1)
    run(folder, out=local, clap=clap)
    assert rows_of(out) == rows_of(local)


def test_impossible_actors_are_refused() -> None:
    for options in ({"actors": 0}, {"gpus": -1.0}):
        with pytest.raises(OptionError, match="are not possible"):
            RayOptions(**options)  # pyright: ignore[reportArgumentType]
