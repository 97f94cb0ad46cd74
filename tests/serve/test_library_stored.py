"""A library on disk behind the service: the same hits as in process, new rows without a restart, a writer at work."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")
pytest.importorskip("numkong", reason="needs the library's packages (pip install 'claprt[library]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.errors import LibraryWarning
from claprt.library.create import index, open_store
from claprt.serve.app import create_app
from claprt.serve.library.adapter import ServedLibrary
from tests.serve.process import Process

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, seconds in (("rain", 1), ("tone", 25), ("chirp", 2)):
        soundfile.write(folder / f"{name}.wav", SOUNDS[name](seconds * RATE, RATE), RATE)
    return folder


@pytest.fixture
def library(folder: Path, tmp_path: Path, clap: claprt.Clap, bundle: Path) -> Path:
    index([str(folder)], tmp_path / "library", clap, bundle=str(bundle))
    return tmp_path / "library"


@pytest.fixture
def client(clap: claprt.Clap, library: Path) -> Iterator[TestClient]:
    served = ServedLibrary(claprt.open_library(library))
    with TestClient(create_app(clap, library=served, allow_audio=True)) as client:
        yield client


def names(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["path"].rpartition("/")[2] for hit in hits]


def test_the_same_hits_as_in_process(client: TestClient, library: Path, folder: Path) -> None:
    with claprt.open_library(library) as opened:
        one, other = (hit.id for hit in opened.search("rain", k=2))
        cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"text": "rain"}, {"text": "rain"}),
            ({"text": ["rain", "a dog"], "minus": "tone", "k": 2}, {"text": ["rain", "a dog"], "minus": "tone", "k": 2}),
            ({"ids": [one], "minus_ids": other}, {"like": [one], "unlike": [other]}),
            ({"text": "rain", "where": "duration_s > 1.5"}, {"text": "rain", "where": "duration_s > 1.5"}),
            ({"text": "a chirp", "names": 0.5}, {"text": "a chirp", "names": 0.5}),
        ]
        for body, asked in cases:
            complete: dict[str, Any] = {"k": 20, **asked}
            expected = opened.search(**complete)
            found = client.post("/search", json=body).json()
            assert names(found) == [Path(hit.path).name for hit in expected]
            for hit, same in zip(found, expected, strict=True):
                assert (hit["id"], hit["start_s"], hit["duration_s"]) == (same.id, same.start_s, same.duration_s)
                assert hit["score"] == pytest.approx(same.score, abs=1e-6)
                assert [window["start_s"] for window in hit["windows"]] == [start for start, _ in same.windows]
        sound = client.post("/search", files={"file": (folder / "tone.wav").read_bytes()}).json()
        assert names(sound) == [Path(hit.path).name for hit in opened.search(audio=folder / "tone.wav", k=20)]
    for body, sentence in (
        ({"text": "rain", "where": "size > (SELECT 1)"}, "where='size > (SELECT 1)' cannot be used"),
        ({"text": "rain", "where": "1; DROP TABLE library"}, "cannot be used"),
        ({"ids": ["none"]}, "no sound"),
    ):
        reply = client.post("/search", json=body)
        assert (reply.status_code, sentence.lower() in reply.json()["error"]["message"].lower()) == (400, True)


def test_it_is_searched_with_the_options_it_was_opened_with(library: Path) -> None:
    served = ServedLibrary(claprt.open_library(library, threads=1, memory_mb=7))
    options = served._searcher.options  # pyright: ignore[reportPrivateUsage]
    assert (options.threads, options.memory_mb, options.plain_filters) == (1, 7, True)


def test_facts_and_files(client: TestClient, folder: Path) -> None:
    assert client.get("/library/facts").json() == {**client.get("/library/facts").json(), "sounds": 3, "rows": 5}
    for hit in client.post("/search", json={"text": "rain"}).json():
        facts = client.get(f"/library/sounds/{hit['id']}").json()
        assert (facts["path"], facts["state"]) == (hit["path"], "present")
        content = client.get(f"/library/sounds/{hit['id']}/audio").content
        assert content == (folder.parent / hit["path"]).read_bytes()
        assert client.get(f"/library/sounds/{hit['id']}/peaks").json()["seconds"] == hit["duration_s"]
    assert client.get("/library/sounds/none").status_code == 404


def test_new_rows_and_folders_are_found_without_a_restart(
    client: TestClient, library: Path, tmp_path: Path, clap: claprt.Clap, bundle: Path
) -> None:
    before = client.post("/search", json={"text": "rain"}).json()
    more = tmp_path / "more"
    more.mkdir()
    soundfile.write(more / "noise.wav", SOUNDS["rain"](RATE, RATE)[::-1], RATE)
    index([str(more)], library, clap, bundle=str(bundle))
    after = client.post("/search", json={"text": "rain"}).json()
    assert sorted(names(after)) == sorted([*names(before), "noise.wav"])
    new = next(hit for hit in after if hit["path"] == "more/noise.wav")
    assert client.get(f"/library/sounds/{new['id']}/audio").content == (more / "noise.wav").read_bytes()


def test_a_writer_at_work(client: TestClient, library: Path) -> None:
    """Parts are exchanged for others of the same rows, while clients search and look up; nothing fails, nothing is lost."""
    store, ended = claprt.open_library(library).store, threading.Event()

    def rewrite() -> None:
        while not ended.is_set():
            with store.writing() as writer:
                (part,) = store.parts()
                writer.commit(rows=[store.read(part)], remove=[part])

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(20):
            reply = client.post("/search", json={"text": "rain"})
            assert (reply.status_code, len(reply.json())) == (200, 3)
            for hit in reply.json():
                assert client.get(f"/library/sounds/{hit['id']}").status_code == 200
    finally:
        ended.set()
        thread.join()


def test_a_path_that_the_library_should_not_have(
    client: TestClient, library: Path, folder: Path, clap: claprt.Clap, bundle: Path, tmp_path: Path
) -> None:
    """Rows may say anything: what is served are files in the folders that were indexed."""
    secret = tmp_path / "secret"
    secret.mkdir()
    shutil.copy(folder / "rain.wav", secret / "secret.wav")
    roots = (library / "roots.json").read_bytes()
    index([str(secret)], library, clap, bundle=str(bundle))
    (library / "roots.json").write_bytes(roots)
    hit = next(hit for hit in client.post("/search", json={"text": "rain"}).json() if hit["path"] == "secret.wav")
    reply = client.get(f"/library/sounds/{hit['id']}/audio")
    assert (reply.status_code, str(tmp_path) in reply.text) == (403, False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preprocess", "kromosynth"], "tiny/kromosynth/"),
        (["--hop", "5"], "cannot be compared"),
        (["--library", "nowhere"], "nowhere"),
    ],
)
def test_what_the_service_refuses_at_its_start(
    library: Path, clap: claprt.Clap, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0", "--library", str(library), *arguments]) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert clap.fingerprint in said or "nowhere" in said


def test_audio_of_no_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", "--allow-audio"]) == 1
    assert "name one (--library LIBRARY)" in capsys.readouterr().err


def test_the_command(library: Path, clap: claprt.Clap, logs: Path) -> None:
    """The library's model with its options, and paths that no client should send."""
    with Process(logs / "library.log", "--library", str(library), "--allow-audio") as running:
        assert running.fingerprint == clap.fingerprint
        assert f"and the library {library} at" in running.said()

        def get(path: str, **headers: str) -> http.client.HTTPResponse:
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
            connection.putrequest("GET", path, skip_host=True)
            for name, value in {"Host": "127.0.0.1", "Connection": "close", **headers}.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            return connection.getresponse()

        for path in (
            "/library/sounds/..%2f..%2fetc%2fpasswd/audio",
            "/library/sounds/../../../etc/passwd",
            "/library/sounds/%00/audio",
            "/library/sounds/%ff/audio",
            "/library/sounds//audio",
            "/library/page/..%2f..%2fsearch.py",
        ):
            assert get(path).status == 404
        one = claprt.open_library(library).search(vector=clap.embed_text("rain"), k=1)[0]
        content = Path(one.path).read_bytes()
        reply = get(f"/library/sounds/{one.id}/audio", Range="bytes=10-19")
        assert (reply.status, reply.read()) == (206, content[10:20])
        assert get("/library").status == 200
    assert "Traceback" not in running.said()


def test_filters_of_strangers(client: TestClient, library: Path) -> None:
    """Those that a folder of sounds needs, and none that takes gigabytes before anybody can stop it."""
    for where in (
        "path ILIKE '%RAIN%' AND NOT path GLOB '*.mp3'",
        "duration_s BETWEEN 0.5 AND 3 OR sample_rate IN (44100, 48000)",
        "regexp_matches(lower(path), 'rain|tone') AND size // 2 > 10",
        "CAST(mtime AS BIGINT) > epoch(DATE '2001-01-01') AND year(to_timestamp(mtime)) > 2001",
        "CASE WHEN channels = 1 THEN true ELSE missing END",
    ):
        found = client.post("/search", json={"text": "rain", "where": where})
        assert (found.status_code, len(found.json()) > 0) == (200, True), where
    for where, named in (
        ("length(repeat(path, 20000000)) > 3", "repeat"),
        ("CAST(path AS DOUBLE[100000]) IS NULL", "ARRAY"),
        ("path || path = 'x'", "||"),
        ("range(1000000000)[1] = 1", "range"),
        ("lpad(path, 1000000000, 'x') = ''", "lpad"),
    ):
        reply = client.post("/search", json={"text": "rain", "where": where})
        assert (reply.status_code, f"it uses {named}" in reply.json()["error"]["message"]) == (400, True), where
    assert len(claprt.open_library(library).search(vector=[1] * 512, where="length(repeat(path, 2)) > 3")) == 3
    assert "up to 1000 characters" in client.post("/search", json={"text": "rain", "where": "(" * 5000}).text


def test_a_damaged_part(client: TestClient, library: Path, tmp_path: Path, clap: claprt.Clap, bundle: Path) -> None:
    """The others serve; where nothing can be read, that is the service's fault, and says nothing of its folders."""
    (first,) = (library / "rows").glob("*.parquet")
    more = tmp_path / "more"
    more.mkdir()
    soundfile.write(more / "noise.wav", SOUNDS["rain"](RATE, RATE)[::-1], RATE)
    index([str(more)], library, clap, bundle=str(bundle))
    first.write_bytes(first.read_bytes()[:-50])
    shutil.rmtree(library / "index", ignore_errors=True)
    with pytest.warns(LibraryWarning, match=first.name):
        assert names(client.post("/search", json={"text": "rain"}).json()) == ["noise.wav"]
    shutil.rmtree(library / "index")
    (library / "index").write_text("in the way")
    reply = client.post("/search", json={"text": "rain"})
    assert (reply.status_code, str(library) in reply.text) == (503, False)
    (library / "index").unlink()
    assert client.post("/search", json={"text": "rain"}).status_code == 200


def test_an_empty_library(tmp_path: Path, clap: claprt.Clap, bundle: Path) -> None:
    open_store(tmp_path / "library", clap, bundle=str(bundle), rows=None, dtype=None)
    served = ServedLibrary(claprt.open_library(tmp_path / "library"))
    served.prepare()
    with TestClient(create_app(clap, library=served, allow_audio=True)) as client:
        assert client.post("/search", json={"text": "rain", "where": "duration_s < 3"}).json() == []
        assert client.get("/library/facts").json()["sounds"] == 0
        assert client.get("/library/sounds/none/audio").status_code == 404
