"""A library behind the service: searches, facts, files and waveforms, and what is not served."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import FingerprintError, OptionError
from claprt.serve.app import create_app
from claprt.serve.library import search as searching
from claprt.serve.library.files import Roots
from claprt.serve.library.ranges import PIECE_BYTES, parse_range
from claprt.serve.limits import Limits
from tests.serve.memory_library import MemoryLibrary

RATE = 16_000
LONG_S = 40.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds in several formats, and beside the folder a file that is not the library's."""
    outside = tmp_path_factory.mktemp("outside")
    folder = outside / "sounds"
    (folder / "weather").mkdir(parents=True)
    rain = SOUNDS["rain"](RATE, RATE)
    soundfile.write(folder / "weather" / "räin.wav", rain, RATE)
    soundfile.write(folder / "tone.flac", SOUNDS["tone"](2 * RATE, RATE), RATE)
    stereo = np.stack([rain, -rain], 1)
    soundfile.write(folder / "rain.aiff", stereo, RATE, subtype="PCM_24")
    quiet = np.zeros(int(LONG_S * RATE), np.float32)
    quiet[12 * RATE : 14 * RATE] = SOUNDS["tone"](2 * RATE, RATE)
    soundfile.write(folder / "long.wav", quiet, RATE)
    (outside / "secret.wav").write_bytes((folder / "weather" / "räin.wav").read_bytes())
    return folder


@pytest.fixture(scope="module")
def indexed(clap: claprt.Clap, folder: Path) -> MemoryLibrary:
    return MemoryLibrary(clap, folder)


@pytest.fixture
def library(indexed: MemoryLibrary) -> MemoryLibrary:
    """A library that the test may alter."""
    return indexed.copy()


@pytest.fixture
def client(clap: claprt.Clap, library: MemoryLibrary) -> Iterator[TestClient]:
    limits = Limits(message_bytes=1 << 20, windows=2, texts=5, sounds=3, characters=200, hits=30, filter_characters=200)
    with TestClient(create_app(clap, limits=limits, library=library, allow_audio=True)) as client:
        yield client


Find = Callable[[str], str]


@pytest.fixture
def find(library: MemoryLibrary) -> Find:
    """The id of a sound by its name."""
    return lambda name: next(one for one, (facts, _, _) in library.sounds.items() if Path(facts.path).name == name)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def message(reply: Any) -> str:
    return reply.json()["error"]["message"]


class TestSearch:
    def test_a_text(self, client: TestClient, clap: claprt.Clap, library: MemoryLibrary) -> None:
        reply = client.post("/search", json={"text": "rain", "k": 3})
        hits = reply.json()
        assert [hit.keys() for hit in hits] == [{"path", "id", "score", "start_s", "duration_s", "windows"}] * 3
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
        assert all(not Path(hit["path"]).is_absolute() and hit["path"].startswith("sounds/") for hit in hits)
        assert np.abs(library.asked[-1].text_vectors - clap.embed_text(["rain"])).max() < 1e-6
        assert library.asked[-1].sounds.shape == (0, clap.dim)
        stages = [stage.split(";dur=")[0] for stage in reply.headers["server-timing"].split(", ")]
        assert stages == ["upload", "text", "search", "total"]

    def test_windows_and_their_times(self, client: TestClient, find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
        hits = client.post("/search", json={"ids": [find("tone.flac")]}).json()
        long = next(hit for hit in hits if hit["path"].endswith("long.wav"))
        assert sorted(window["start_s"] for window in long["windows"]) == [0, 10, 20, 30]
        assert (long["windows"][0]["start_s"], long["windows"][0]["score"]) == (long["start_s"], long["score"])
        assert long["duration_s"] == LONG_S
        monkeypatch.setattr("claprt.serve.library.routes._WINDOWS", 3)
        fewer = client.post("/search", json={"ids": [find("tone.flac")]}).json()
        assert next(hit for hit in fewer if hit["path"].endswith("long.wav"))["windows"] == long["windows"][:3]
        without = client.post("/search", json={"ids": [find("tone.flac")], "windows": False}).json()
        assert all("windows" not in hit for hit in without)

    def test_sounds_in_json_and_as_a_file(self, client: TestClient, clap: claprt.Clap, library: MemoryLibrary) -> None:
        content = Path(library.served[0], "tone.flac").read_bytes()
        for reply in (
            client.post("/search", json={"audio": base64_of(content), "k": 1}),
            client.post("/search", json={"audio": ["data:audio/flac;base64," + base64_of(content)], "k": 1}),
            client.post("/search", files={"file": ("tone.flac", content)}, data={"k": "1", "windows": "true"}),
        ):
            assert [hit["path"] for hit in reply.json()] == ["sounds/tone.flac"]
            assert reply.json()[0]["score"] == pytest.approx(1, abs=1e-4)
            assert np.abs(library.asked[-1].sounds - clap.embed_audio([content])).max() < 1e-6

    def test_everything_together(self, client: TestClient, clap: claprt.Clap, library: MemoryLibrary, find: Find) -> None:
        one, other = find("tone.flac"), find("long.wav")
        body = {"text": ["rain", "wind"], "ids": [one], "minus": "speech", "minus_ids": other, "where": "duration_s < 9"}
        hits = client.post("/search", json=body).json()
        assert "sounds/long.wav" not in [hit["path"] for hit in hits]
        query = library.asked[-1]
        texts = clap.embed_text(["rain", "wind", "speech"])
        assert np.abs(query.text_vectors - texts).max() < 1e-6
        assert (query.texts, query.minus, query.like, query.unlike) == (["rain", "wind"], ["speech"], [one], [other])
        sound = {"file": ("rain.wav", Path(library.served[0], "weather", "räin.wav").read_bytes())}
        form = client.post("/search", files=sound, data={"ids": [one, other], "minus_ids": f'["{other}"]', "text": "a, b"})
        assert form.status_code == 200
        query = library.asked[-1]
        assert (query.texts, query.like, query.unlike, len(query.sounds)) == (["a, b"], [one, other], [other], 1)

    @pytest.mark.parametrize(
        ("body", "status", "sentence"),
        [
            ({}, 400, "nothing to search for"),
            ({"minus": "rain"}, 400, "nothing to search for"),
            ({"text": [], "ids": []}, 400, "nothing to search for"),
            ({"text": ""}, 400, "at least one word"),
            ({"text": "x" * 201}, 400, "up to 200 characters"),
            ({"text": ["x"] * 6}, 400, "1 to 5 texts"),
            ({"text": 3}, 422, "text"),
            ({"text": "rain", "k": 0}, 422, "k"),
            ({"text": "rain", "k": 31}, 400, "1 to 30 hits"),
            ({"text": "rain", "k": 1e30}, 422, "k"),
            ({"text": "rain", "where": "import os"}, 400, "is not a filter"),
            ({"text": "rain", "where": "w" * 201}, 400, "up to 200 characters"),
            ({"text": "rain", "windows": "perhaps"}, 422, "windows"),
            ({"text": "rain", "top_k": 3}, 400, "no field 'top_k'"),
            ({"ids": ["none"]}, 400, "no sound 'none'"),
            ({"ids": "../../etc/passwd"}, 400, "no sound"),
            ({"ids": ["a"] * 4}, 400, "1 to 3 ids"),
            ({"text": "rain", "minus_ids": ["none"]}, 400, "no sound 'none'"),
            ({"audio": "/etc/passwd"}, 400, "not opened"),
            ({"audio": "https://example.org/dog.wav"}, 400, "not opened"),
            ({"audio": "AAAA"}, 400, "bytes[3]"),
            ({"audio": ["AAAA"] * 4}, 400, "1 to 3 sounds"),
            ([], 422, "understood"),
        ],
    )
    def test_refusals(self, client: TestClient, body: Any, status: int, sentence: str) -> None:
        reply = client.post("/search", json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, status)
        assert sentence in message(reply)

    def test_bodies_of_other_kinds(self, client: TestClient) -> None:
        assert client.post("/search", content=b"{", headers={"content-type": "application/json"}).status_code == 422
        assert client.post("/search", content=b"a", headers={"content-type": "text/plain"}).status_code == 415
        assert client.post("/search", data={"text": "rain"}, files={"file": (None, "text")}).status_code == 400
        assert client.get("/search").status_code == 405

    def test_the_loop_goes_on_while_the_library_is_searched(
        self, client: TestClient, library: MemoryLibrary, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answered: list[int] = []
        look = library.search

        def slow(query: Any) -> Any:
            answered.append(client.get("/healthz").status_code)  # would never be answered if the loop waited for this
            return look(query)

        monkeypatch.setattr(library, "search", slow)
        assert client.post("/search", json={"text": "rain"}).status_code == 200
        assert answered == [200]

    def test_a_library_that_breaks_meanwhile(
        self, client: TestClient, library: MemoryLibrary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(_: Any) -> Any:
            raise ZeroDivisionError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(library, "search", broken)
            assert client.post("/search", json={"text": "rain"}).status_code == 500
        assert client.post("/search", json={"text": "rain"}).status_code == 200
        assert "a bug" in caplog.text


class TestSounds:
    def test_facts(self, client: TestClient, find: Find, folder: Path) -> None:
        facts = client.get(f"/library/sounds/{find('räin.wav')}").json()
        assert facts["path"] == "sounds/weather/räin.wav"
        assert facts["size"] == (folder / "weather" / "räin.wav").stat().st_size
        assert (facts["duration_s"], facts["sample_rate"], facts["channels"], facts["state"]) == (1, RATE, 1, "present")
        whole = client.get("/library/facts").json()
        assert (whole["sounds"], whole["rows"], whole["audio"]) == (4, 7, True)

    @pytest.mark.parametrize("name", ["none", "..%2f..%2fetc%2fpasswd", "%00", "é", "a" * 3000])
    def test_ids_that_are_none(self, client: TestClient, name: str) -> None:
        for path in ("", "/audio", "/peaks"):
            reply = client.get(f"/library/sounds/{name}{path}")
            assert reply.status_code == 404
            assert reply.json()["error"]["code"] == 404

    def test_paths_are_no_ids(self, client: TestClient) -> None:
        for path in ("/library/sounds/../../etc/passwd", "/library/sounds//etc/passwd/audio", "/library/page/../search.py"):
            assert client.get(path).status_code == 404

    def test_the_sound(self, client: TestClient, find: Find, folder: Path) -> None:
        content = (folder / "weather" / "räin.wav").read_bytes()
        address = f"/library/sounds/{find('räin.wav')}/audio"
        reply = client.get(address)
        assert reply.content == content
        assert reply.headers["content-type"] == "audio/wav"
        assert reply.headers["accept-ranges"] == "bytes"
        assert reply.headers["content-disposition"] == "inline; filename*=UTF-8''r%C3%A4in.wav"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"
        assert client.get(f"/library/sounds/{find('tone.flac')}/audio").headers["content-type"] == "audio/flac"
        head = client.head(address)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))
        assert client.get(address, headers={"if-none-match": reply.headers["etag"]}).status_code == 304
        half = client.get(address, headers={"range": "bytes=0-9", "if-range": reply.headers["etag"]})
        assert (half.status_code, half.content) == (206, content[:10])
        other = client.get(address, headers={"range": "bytes=0-9", "if-range": '"other"'})
        assert (other.status_code, other.content) == (200, content)

    @pytest.mark.parametrize(
        ("stated", "start", "end"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=100-199", 100, 200),
            ("bytes=1000-", 1000, None),
            ("bytes=-5", -5, None),
            ("bytes=-99999999", 0, None),
            ("BYTES = 5 - 99999999999", 5, None),
        ],
    )
    def test_ranges(self, client: TestClient, find: Find, folder: Path, stated: str, start: int, end: int | None) -> None:
        content = (folder / "weather" / "räin.wav").read_bytes()
        reply = client.get(f"/library/sounds/{find('räin.wav')}/audio", headers={"range": stated})
        begin, stop, _ = slice(start, end).indices(len(content))
        assert (reply.status_code, reply.content) == (206, content[start:end])
        assert reply.headers["content-range"] == f"bytes {begin}-{stop - 1}/{len(content)}"

    @pytest.mark.parametrize("stated", ["bytes=99999999-", "bytes=99999999-999999999", "bytes=-0"])
    def test_ranges_beyond_the_end(self, client: TestClient, find: Find, folder: Path, stated: str) -> None:
        size = (folder / "tone.flac").stat().st_size
        reply = client.get(f"/library/sounds/{find('tone.flac')}/audio", headers={"range": stated})
        assert (reply.status_code, reply.headers["content-range"]) == (416, f"bytes */{size}")
        assert f"has {size} bytes" in message(reply)

    @pytest.mark.parametrize(
        "stated",
        ["bytes=", "bytes=-", "bytes=5-2", "lines=0-1", "bytes=0-1,5-6", "bytes=²-3", "0-1", "bytes=" + "9" * 5000 + "-"],
    )
    def test_ranges_that_are_none_are_ignored(self, client: TestClient, find: Find, folder: Path, stated: str) -> None:
        reply = client.get(f"/library/sounds/{find('tone.flac')}/audio", headers={b"range": stated.encode()})
        assert (reply.status_code, reply.content) == (200, (folder / "tone.flac").read_bytes())

    def test_a_player_gets_a_range_without_an_end_in_pieces(self, client: TestClient, find: Find, folder: Path) -> None:
        content, address = (folder / "long.wav").read_bytes(), f"/library/sounds/{find('long.wav')}/audio"
        assert len(content) > PIECE_BYTES
        assert client.get(address, headers={"range": "bytes=9-"}).content == content[9:]
        client.headers["sec-fetch-dest"] = "audio"
        first = client.get(address, headers={"range": "bytes=0-"})
        assert first.headers["content-range"] == f"bytes 0-{PIECE_BYTES - 1}/{len(content)}"
        second = client.get(address, headers={"range": f"bytes={PIECE_BYTES}-"})
        assert first.content + second.content == content
        assert client.get(address, headers={"range": f"bytes=0-{len(content)}"}).content == content

    def test_other_formats_come_as_wav(self, client: TestClient, find: Find, folder: Path) -> None:
        address = f"/library/sounds/{find('rain.aiff')}/audio"
        reply = client.get(address)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "audio/wav")
        assert reply.headers["content-disposition"].endswith("rain.aiff.wav")
        decoded, rate = soundfile.read(io.BytesIO(reply.content), dtype="float32")
        original, _ = soundfile.read(folder / "rain.aiff", dtype="float32")
        assert (rate, decoded.shape) == (RATE, original.shape)
        assert np.abs(decoded - original).max() <= 1 / 32_768
        for start, end in (
            (0, 3),
            (40, 50),
            (43, 44),
            (44, 45),
            (45, 46),
            (46, 1001),
            (len(reply.content) - 3, len(reply.content)),
        ):
            part = client.get(address, headers={"range": f"bytes={start}-{end - 1}"})
            assert (part.status_code, part.content) == (206, reply.content[start:end])

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
    def test_what_browsers_play_comes_as_it_is(
        self, client: TestClient, library: MemoryLibrary, folder: Path, subtype: str
    ) -> None:
        path = folder / f"{subtype}.wav"
        soundfile.write(path, SOUNDS["rain"](RATE, RATE), RATE, subtype=subtype)
        assert client.get(f"/library/sounds/{library.add(path).id}/audio").content == path.read_bytes()
        path.unlink()

    def test_more_channels_and_other_codecs(self, client: TestClient, library: MemoryLibrary, folder: Path) -> None:
        channels = np.stack([SOUNDS["rain"](RATE, RATE)] * 4, 1)
        soundfile.write(folder / "four.caf", channels, RATE, subtype="DOUBLE")
        soundfile.write(folder / "law.wav", channels[:, 0], RATE, subtype="ULAW")
        for name in ("four.caf", "law.wav"):
            reply = client.get(f"/library/sounds/{library.add(folder / name).id}/audio")
            decoded, _ = soundfile.read(io.BytesIO(reply.content), dtype="float32")
            assert decoded.shape == (RATE,)
            assert np.abs(decoded - soundfile.read(folder / name, always_2d=True)[0].mean(1)).max() <= 1 / 32_768
            (folder / name).unlink()

    def test_no_sound_at_all(self, client: TestClient, library: MemoryLibrary, folder: Path) -> None:
        path = folder / "page.wav"
        path.write_bytes((folder / "tone.flac").read_bytes())
        facts = library.add(path)
        for content, status in (
            (b"<!doctype html><html>", 409),
            (b"RIFF\0\0\0\0WAVEfmt ", 406),
            (b"\0" * 99, 406),
            (b"#!AMR\n", 406),
        ):
            if status == 406:
                library.sounds[facts.id] = (replace(facts, size=len(content), sha256=""), *library.sounds[facts.id][1:])
            path.write_bytes(content)
            os.utime(path, (facts.mtime, facts.mtime))
            for what in ("audio", "peaks"):
                reply = client.get(f"/library/sounds/{facts.id}/{what}")
                assert (reply.status_code, "page.wav" in message(reply)) == (status, True), content
        path.unlink()


class TestWhatIsNotServed:
    def test_no_audio_unless_it_is_allowed(self, clap: claprt.Clap, library: MemoryLibrary, find: Find) -> None:
        with TestClient(create_app(clap, library=library)) as client:
            for what in ("audio", "peaks"):
                reply = client.get(f"/library/sounds/{find('tone.flac')}/{what}")
                assert (reply.status_code, "--allow-audio" in message(reply)) == (403, True)
            assert client.get(f"/library/sounds/{find('tone.flac')}").json()["state"] is None
            assert client.get("/library/facts").json()["audio"] is False
            assert client.post("/search", json={"text": "rain"}).status_code == 200

    @pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
    def test_paths_that_point_outside(self, client: TestClient, library: MemoryLibrary, folder: Path) -> None:
        outside = folder.parent / "secret.wav"
        (folder / "link.wav").symlink_to(outside)
        (folder / "up").symlink_to(folder.parent)
        (folder / "inside.wav").symlink_to(folder / "tone.flac")
        (folder / "round").symlink_to(folder / "round")
        for path, status in (
            (outside, 403),
            (folder / ".." / "secret.wav", 403),
            (folder / "link.wav", 403),
            (folder / "up" / "secret.wav", 403),
            (Path(f"{folder}2", "..", "secret.wav"), 410),
            (folder / "round", 403),
            (folder, 403),
            (folder / "inside.wav", 200),
        ):
            facts = library.add(outside if status != 200 else folder / "tone.flac", str(path))
            for what in ("audio", "peaks"):
                reply = client.get(f"/library/sounds/{facts.id}/{what}")
                assert reply.status_code == status, path
                assert status == 200 or str(folder.parent) not in reply.text
            state = client.get(f"/library/sounds/{facts.id}").json()["state"]
            assert state == {"inside.wav": "present", "sounds": "changed", "round": "missing"}.get(path.name), path
        for name in ("link.wav", "up", "inside.wav", "round"):
            (folder / name).unlink()

    @pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in the file system")
    def test_what_is_no_file(self, client: TestClient, library: MemoryLibrary, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        facts = library.add(folder / "tone.flac", str(folder / "pipe"))
        assert client.get(f"/library/sounds/{facts.id}/audio").status_code == 403
        (folder / "pipe").unlink()
        for address in ("s3://bucket/tone.flac", "https://example.org/tone.flac", "memory://tone.flac"):
            facts = library.add(folder / "tone.flac", address)
            reply = client.get(f"/library/sounds/{facts.id}/audio")
            assert (reply.status_code, address in message(reply)) == (403, True)
            assert client.get(f"/library/sounds/{facts.id}").json()["state"] is None

    def test_a_sound_that_vanished_or_changed(
        self, client: TestClient, library: MemoryLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = folder / "short.wav"
        soundfile.write(path, SOUNDS["rain"](RATE, RATE), RATE)
        facts = library.add(path)
        address = f"/library/sounds/{facts.id}"
        assert client.get(f"{address}/peaks").status_code == 200
        content = path.read_bytes()
        os.utime(path, (1, 1))  # as a copy may be
        assert client.get(address).json()["state"] == "changed"
        assert client.get(f"{address}/audio").content == content
        with monkeypatch.context() as patch:
            patch.setattr("claprt.serve.library.files.hashlib", None)  # it is not read once more for each of its pieces
            assert client.get(f"{address}/audio", headers={"range": "bytes=2-3"}).content == content[2:4]
        path.write_bytes(content[:-2] + b"xy")
        for what in ("audio", "peaks"):
            reply = client.get(f"{address}/{what}")
            assert (reply.status_code, "sounds/short.wav was changed after it was indexed" in message(reply)) == (409, True)
        path.write_bytes(content + b"more")
        assert client.get(f"{address}/audio").status_code == 409
        path.unlink()
        assert client.get(address).json()["state"] == "missing"
        for what in ("audio", "peaks"):
            reply = client.get(f"{address}/{what}")
            assert (reply.status_code, "no longer there" in message(reply)) == (410, True)

    def test_a_token(self, clap: claprt.Clap, library: MemoryLibrary, find: Find) -> None:
        one = find("tone.flac")
        with TestClient(create_app(clap, library=library, allow_audio=True, token="secret")) as client:
            for path in ("/library/facts", *(f"/library/sounds/{one}{what}" for what in ("", "/audio", "/peaks"))):
                assert client.get(path).status_code == 401
                assert client.get(path, headers={"authorization": "Bearer secret"}).status_code == 200
            assert client.post("/search", json={"text": "rain"}).status_code == 401
            assert client.get("/library").status_code == 200  # the page alone

    def test_other_origins(self, clap: claprt.Clap, library: MemoryLibrary) -> None:
        headers = {"origin": "https://example.org"}
        with TestClient(create_app(clap, library=library)) as client:
            assert client.post("/search", json={"text": "rain"}, headers=headers).status_code == 403
        with TestClient(create_app(clap, library=library, cors=["https://example.org"])) as client:
            reply = client.post("/search", json={"text": "rain"}, headers=headers)
            assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, "https://example.org")


class TestPeaks:
    def test_a_waveform(self, client: TestClient, find: Find, folder: Path) -> None:
        peaks = client.get(f"/library/sounds/{find('räin.wav')}/peaks?n=50").json()
        samples, _ = soundfile.read(folder / "weather" / "räin.wav", dtype="float32")
        assert (len(peaks["low"]), len(peaks["high"]), peaks["seconds"], peaks["exact"]) == (50, 50, 1, True)
        parts = samples.reshape(50, -1)
        assert peaks["high"] == pytest.approx(parts.max(1), abs=6e-4)
        assert peaks["low"] == pytest.approx(parts.min(1), abs=6e-4)
        mixed = client.get(f"/library/sounds/{find('rain.aiff')}/peaks").json()  # a channel and its negative
        assert max(mixed["high"]) == pytest.approx(0, abs=1e-3)

    def test_a_long_one_is_looked_at_in_parts(
        self, client: TestClient, find: Find, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("claprt.serve.library.peaks._MOST_SAMPLES", 2 * RATE)
        peaks = client.get(f"/library/sounds/{find('long.wav')}/peaks?n=40").json()
        loud = [number for number, high in enumerate(peaks["high"]) if high > 0.01]
        assert (peaks["exact"], peaks["seconds"], loud) == (False, LONG_S, [12, 13])

    @pytest.mark.parametrize("n", ["0", "1001", "-1", "x", "²", "99999999999"])
    def test_columns_that_are_none(self, client: TestClient, find: Find, n: str) -> None:
        reply = client.get(f"/library/sounds/{find('tone.flac')}/peaks", params={"n": n})
        assert (reply.status_code, "1 to 1000 columns" in message(reply)) == (400, True)

    def test_they_are_kept(self, client: TestClient, find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
        address = f"/library/sounds/{find('tone.flac')}/peaks"
        first = client.get(address).json()
        monkeypatch.setattr("claprt.serve.library.search.peaks_of", None)
        assert client.get(address).json() == first


def test_another_fingerprint(clap: claprt.Clap, bundle: Path, library: MemoryLibrary) -> None:
    other = claprt.load(bundle, preprocess="kromosynth")
    with pytest.raises(FingerprintError, match="cannot be compared") as raised:
        create_app(other, library=library)
    assert clap.fingerprint in str(raised.value)
    assert other.fingerprint in str(raised.value)
    with pytest.raises(OptionError, match="there is none"):
        create_app(clap, allow_audio=True)


def test_it_is_described(client: TestClient, clap: claprt.Clap) -> None:
    document = client.get("/openapi.json").json()
    search = document["paths"]["/search"]["post"]
    assert search["requestBody"]["content"].keys() == {"application/json", "multipart/form-data"}
    assert search["responses"]["200"]["content"]["application/json"]["schema"]["type"] == "array"
    audio = document["paths"]["/library/sounds/{id}/audio"]["get"]
    assert {"200", "403", "404", "409", "410", "416"} <= audio["responses"].keys()
    assert {"HitReply", "SoundReply", "Peaks", "LibraryReply"} <= document["components"]["schemas"].keys()
    for address in ("/library", "/docs"):
        assert client.get(address).status_code == 200
    with TestClient(create_app(clap)) as without:
        assert "/search" not in without.get("/openapi.json").json()["paths"]
        assert {without.get("/library").status_code, without.post("/search", json={}).status_code} == {404}
        assert without.get("/page/facts").json()["library"] is False


def test_the_page_and_its_policy(client: TestClient) -> None:
    page = client.get("/library")
    policy = page.headers["content-security-policy"]
    assert ("default-src 'none'" in policy, "media-src 'self' blob:" in policy, "unsafe" in policy) == (True, True, False)
    assert "media-src blob:" in client.get("/").headers["content-security-policy"]
    named = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(named) >= 5
    scripts = Path(claprt.__file__).parent / "serve" / "library" / "static"
    for file in scripts.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://| style=|innerHTML|eval\(", text), file
        named += [f"/library/page/{file.name}"] if file.suffix != ".html" else []
        named += re.findall(r'from "(/[^"]+)"', text)
    for path in named:
        assert client.get(path).status_code == 200, path


@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
@pytest.mark.parametrize(
    ("roots", "path", "file", "shown"),
    [
        (["/srv/sounds"], "/srv/sounds/dogs/bark.wav", True, "sounds/dogs/bark.wav"),
        (["/srv/sounds/"], "/srv/sounds/bark.wav", True, "sounds/bark.wav"),
        (["/srv/sounds"], "/srv/sounds2/bark.wav", True, "bark.wav"),
        (["/a", "/srv/one.wav"], "/srv/one.wav", True, "one.wav"),
        (["/"], "/srv/one.wav", True, "srv/one.wav"),
        (["/srv/shard.tar"], "/srv/shard.tar::dogs/bark.wav", False, "shard.tar::dogs/bark.wav"),
        (["/srv"], "/srv/x/shard.tar::bark.wav", False, "srv/x/shard.tar::bark.wav"),
        (["/srv"], "s3://bucket/dogs/bark.wav", False, "s3://bucket/dogs/bark.wav"),
        ([], "/srv/sounds/bark.wav", True, "bark.wav"),
    ],
)
def test_paths_that_clients_see(library: MemoryLibrary, roots: list[str], path: str, file: bool, shown: str) -> None:
    facts = replace(next(iter(library.sounds.values()))[0], path=path, file=path if file else None)
    assert Roots.of(roots).shown(facts) == shown


def test_metrics_by_endpoint(client: TestClient, find: Find) -> None:
    client.get(f"/library/sounds/{find('tone.flac')}/audio")
    client.post("/search", json={"text": "rain"})
    text = client.get("/metrics").text
    assert 'claprt_requests_total{endpoint="/library/sounds/{id}/audio",status="200"} 1.0' in text
    assert 'claprt_stage_seconds_count{stage="search"} 1.0' in text


def test_a_disk_that_hangs_stops_nobody_else(clap: claprt.Clap, library: MemoryLibrary, find: Find) -> None:
    """Reads that wait are bounded, and the service answers all else."""
    one = find("tone.flac")

    async def run() -> None:
        app = create_app(clap, library=library, allow_audio=True)
        served = app.state.service
        gate = threading.Event()
        searched = searching.LibraryService(served, library, allow_audio=True)
        waiting = [asyncio.ensure_future(searched.in_file_thread(gate.wait)) for _ in range(searching.MOST_FILE_READS)]
        await asyncio.sleep(0)
        with pytest.raises(claprt.ClaprtError, match="not read fast enough"):
            await searched.in_file_thread(lambda: None)
        assert (await searched.find(one)).id == one
        gate.set()
        assert await asyncio.gather(*waiting) == [True] * len(waiting)
        assert await searched.in_file_thread(lambda: True)
        searched.close()
        served.batcher.close()

    asyncio.run(run())


@pytest.mark.parametrize("stated", ["bytes=0-", "bytes=-1"])
def test_a_range_of_nothing(stated: str) -> None:
    with pytest.raises(claprt.ClaprtError, match="has 0 bytes"):
        parse_range(stated, 0)
