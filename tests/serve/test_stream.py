"""`/stream`: the same windows and events as in process, labels that change, limits, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient, WebSocketTestSession

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.serve.app import create_app
from claprt.serve.limits import Limits

RATE = 16_000
LABELS = ["rain", "a tone"]


@pytest.fixture(scope="module")
def client(clap: claprt.Clap) -> Iterator[TestClient]:
    limits = Limits(timeline_labels=3, streams=2, stream_block_s=5)
    with TestClient(create_app(clap, limits=limits)) as client:
        yield client


@pytest.fixture(scope="module")
def sound() -> Any:
    """13 seconds of two channels, 16 bits."""
    mono = np.concatenate([SOUNDS[name](7 * RATE, RATE) for name in ("rain", "tone")])[: 13 * RATE + 5]
    return (np.stack([mono, mono[::-1]], axis=1).clip(-1, 1) * 32767).astype("<i2")


def begun(socket: WebSocketTestSession, **options: Any) -> Any:
    socket.send_json({"labels": LABELS, "sample_rate": RATE, "format": "int16", "channels": 2, **options})
    return socket.receive_json()


def told(socket: WebSocketTestSession, sound: Any, step: int) -> tuple[list[Any], list[Any]]:
    """All windows and events of a sound."""
    windows, events = list[Any](), list[Any]()
    for start in range(0, len(sound), step):
        socket.send_bytes(sound[start : start + step].tobytes())
    socket.send_json({"type": "flush"})
    while True:
        reply = socket.receive_json()
        windows += reply["windows"]
        events += reply["events"]
        if reply["type"] == "flushed":
            return windows, events


@pytest.mark.parametrize("step", [777, 5 * RATE])
def test_the_same_as_in_process(client: TestClient, clap: claprt.Clap, sound: Any, step: int) -> None:
    options: dict[str, Any] = {"on": 0.3, "merge_s": 1.0}
    line = claprt.timeline(sound, labels=LABELS, model=clap, sample_rate=RATE, **options)
    with client.websocket_connect("/stream") as socket:
        ready = begun(socket, embeddings=True, **options)
        assert ready == {
            "type": "ready", "labels": LABELS, "window_s": 10.0, "hop_s": 1.0, "fingerprint": clap.fingerprint,
        }  # fmt: skip
        for _ in range(2):  # the next block after the flush begins another sound
            windows, events = told(socket, sound, step)
            assert [window["start_s"] for window in windows] == pytest.approx(line.starts_s.tolist(), abs=1e-5)
            assert np.allclose([window["embedding"] for window in windows], line.embeddings, atol=1e-6)
            assert np.allclose([list(w["probabilities"].values()) for w in windows], line.probabilities, atol=1e-5)
            assert sorted(event["label"] for event in events) == sorted(event.label for event in line.events)


def test_a_service_that_divides_sounds_by_their_peak(bundle: Path, sound: Any) -> None:
    """It takes streams with LAION's levels, and says so by the fingerprint."""
    kromosynth, laion = claprt.load(bundle, preprocess="kromosynth"), claprt.load(bundle)
    with TestClient(create_app(kromosynth)) as client, client.websocket_connect("/stream") as socket:
        ready = begun(socket, embeddings=True)
        windows, _ = told(socket, sound, RATE)
    assert ready["fingerprint"] == laion.fingerprint != kromosynth.fingerprint
    line = claprt.timeline(sound, labels=LABELS, model=laion, sample_rate=RATE)
    assert np.allclose([window["embedding"] for window in windows], line.embeddings, atol=1e-6)


def test_labels_change(client: TestClient, sound: Any) -> None:
    with client.websocket_connect("/stream") as socket:
        begun(socket, on=0)
        for start in range(0, 11 * RATE, RATE):
            socket.send_bytes(sound[start : start + RATE].tobytes())
        first = socket.receive_json()
        assert list(first["windows"][0]["probabilities"]) == LABELS
        assert first["windows"][0]["active"] == LABELS
        socket.send_json({"type": "labels", "labels": ["rain", "a siren"]})
        assert socket.receive_json() == {"type": "labels", "labels": ["rain", "a siren"]}
        socket.send_bytes(sound[11 * RATE : 12 * RATE].tobytes())
        second = socket.receive_json()
        assert list(second["windows"][0]["probabilities"]) == ["rain", "a siren"]
        assert [event["label"] for event in second["events"]] == ["a tone"]
        socket.send_json({"type": "reset"})
        assert socket.receive_json() == {"type": "reset"}
        socket.send_json({"type": "flush"})
        assert socket.receive_json() == {"type": "flushed", "windows": [], "events": []}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("{", "not"),
        ({"sample_rate": 5}, "1000 to 768000"),
        ({"labels": ["a"]}, "sample_rate"),
        ({"labels": ["a", "b", "c", "d"], "sample_rate": RATE}, "1 to 3 labels"),
        ({"labels": ["a", "a"], "sample_rate": RATE}, "more than once"),
        ({"labels": ["a"], "sample_rate": RATE, "hop_s": 0}, "hop_s=0.0 is not possible"),
        ({"labels": ["a"], "sample_rate": RATE, "format": "mp3"}, "mp3"),
        ({"labels": ["a"], "sample_rate": RATE, "rate": 1}, "rate"),
        ({"sample_rate": RATE, "background": ["a"]}, "without labels"),
        ({"type": "flush"}, "Begin the stream"),
        ({"type": "stop"}, "stop"),
        (b"1234", "Begin the stream"),
    ],
)
def test_a_bad_begin_is_refused_and_another_one_taken(client: TestClient, message: Any, error: str) -> None:
    with client.websocket_connect("/stream") as socket:
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            socket.send_text(message if isinstance(message, str) else json.dumps(message))
        reply = socket.receive_json()
        assert reply["type"] == "error"
        assert error in reply["message"], reply
        assert begun(socket)["type"] == "ready"


def test_bad_blocks_are_left_out(client: TestClient, clap: claprt.Clap, sound: Any) -> None:
    line = claprt.timeline(sound, labels=LABELS, model=clap, sample_rate=RATE)
    with client.websocket_connect("/stream") as socket:
        begun(socket, embeddings=True)
        for message, error in (
            (b"12345", "no whole number of frames of 4: 2 times int16"),
            (bytes(4 * 6 * RATE), "up to 5 s"),
            ('{"type": "labels"}', "needs labels"),
            ('{"type": "labels", "labels": [""]}', "empty"),
            ('{"type": "flush", "labels": ["a"]}', "labels have no use"),
            ('{"sample_rate": 16000}', "The stream has begun"),
        ):
            if isinstance(message, bytes):
                socket.send_bytes(message)
            else:
                socket.send_text(message)
            assert error in socket.receive_json()["message"]
        windows, _ = told(socket, sound, RATE)
        assert np.allclose([window["embedding"] for window in windows], line.embeddings, atol=1e-6)


def test_not_a_number(client: TestClient) -> None:
    with client.websocket_connect("/stream") as socket:
        begun(socket, format="float32", channels=1, labels=None)
        socket.send_bytes(np.array([0, np.nan], "<f4").tobytes())
        assert socket.receive_json()["error"] == "NonFiniteAudioError"
        socket.send_json({"type": "flush"})
        assert socket.receive_json()["windows"] == []


def test_a_fault_in_the_middle_of_a_block(clap: claprt.Clap, sound: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows would be at wrong times, so it is refused until the stream is begun anew."""
    app = create_app(clap)

    async def fault(steps: Any) -> None:
        list(steps)
        raise RuntimeError("a fault")

    with TestClient(app) as client, client.websocket_connect("/stream") as socket:
        begun(socket)
        with monkeypatch.context() as patched:
            patched.setattr(app.state.service.batcher, "embed_features", fault)
            socket.send_bytes(sound[:RATE].tobytes())
            assert socket.receive_json()["error"] == "ServiceFault"
        socket.send_bytes(sound[:RATE].tobytes())
        assert "cannot go on" in socket.receive_json()["message"]
        socket.send_json({"type": "flush"})
        assert "cannot go on" in socket.receive_json()["message"]
        socket.send_json({"type": "reset"})
        assert socket.receive_json() == {"type": "reset"}
        socket.send_bytes(sound[:RATE].tobytes())
        socket.send_json({"type": "flush"})
        assert len(socket.receive_json()["windows"]) == 1


def test_only_so_many_at_a_time(client: TestClient) -> None:
    with client.websocket_connect("/stream") as first:
        assert begun(first)["type"] == "ready"
        with client.websocket_connect("/stream") as second, client.websocket_connect("/stream") as third:
            assert begun(second)["type"] == "ready"
            assert begun(third)["error"] == "OverloadedError"
    with client.websocket_connect("/stream") as fourth:
        assert begun(fourth)["type"] == "ready"


def test_over_http(client: TestClient) -> None:
    assert client.get("/stream").status_code == 426
    assert "<code>/stream</code>" in client.get("/docs").text
