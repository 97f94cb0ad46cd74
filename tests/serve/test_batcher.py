"""Below the protocols: what is merged, bounded, given up and told, and how the service ends."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.graphs import Stage
from claprt.errors import AudioShapeError, ServerUnavailableError
from claprt.model.results import EmbeddedSound
from claprt.model.vector_cache import VectorCache
from claprt.serve.app import create_app
from claprt.serve.errors import OverloadedError, ServiceFault, ShuttingDownError
from claprt.serve.http.request_bodies import while_connected
from claprt.serve.limits import Limits
from claprt.serve.scheduling.admission import AdmissionControl
from claprt.serve.scheduling.audio_input import AudioInput
from claprt.serve.scheduling.batcher import Batcher
from claprt.serve.scheduling.features import extract, open_limited
from claprt.serve.scheduling.models import Models
from claprt.serve.scheduling.service import Service
from claprt.serve.scheduling.threads import Threads

RATE = 16_000
SOUND = np.ones(4800, np.float32)


@pytest.fixture
def clap(bundle: Path) -> claprt.Clap:
    """A model of the test's own, whose engine it may alter."""
    return claprt.load(bundle, preprocess="kromosynth")


class Tower:
    """Stands before the audio tower of a model: can be closed, and counts."""

    def __init__(self, clap: claprt.Clap) -> None:
        self.open = threading.Event()
        self.open.set()
        self.fault: BaseException | None = None
        self.windows: list[int] = []
        self.asked = 0
        self._through = clap.engine.audio
        clap.engine.audio = self._audio  # pyright: ignore[reportAttributeAccessIssue]
        clap.engine.batch_engine = lambda: clap.engine  # pyright: ignore[reportAttributeAccessIssue]

    def _audio(self, log_mels: Any, is_longer: Any) -> Any:
        self.asked += 1
        assert self.open.wait(20)
        self.windows.append(len(log_mels))
        if self.fault is not None:
            raise self.fault
        return self._through(log_mels, is_longer)


@pytest.fixture
def tower(clap: claprt.Clap) -> Iterator[Tower]:
    tower = Tower(clap)
    yield tower
    tower.open.set()


def with_batcher(
    clap: claprt.Clap, work: Callable[[Batcher], Coroutine[Any, Any, Any]], limits: Limits | None = None
) -> Any:
    async def run() -> Any:
        batcher = Batcher(clap, Threads(), limits or Limits())
        try:
            return await work(batcher)
        finally:
            await asyncio.to_thread(batcher.close)

    return asyncio.run(run())


async def embed(batcher: Batcher, source: Any, sample_rate: int | None = None) -> EmbeddedSound:
    return (await batcher.embed(AudioInput(source, sample_rate))).sound


def read(clap: claprt.Clap, audio: AudioInput, limits: Limits) -> list[Any]:
    return list(extract(clap, open_limited(clap, audio, limits), limits))


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that is about to happen."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


def test_what_arrives_together_is_run_together(clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claprt.serve.scheduling.audio_tower._RUN_S", 60)  # the first run takes long
    rows = [SOUNDS["rain"](RATE, RATE) * np.float32(1 - n / 50) for n in range(24)]
    expected = clap.embed_audio(rows, RATE)
    tower = Tower(clap)
    tower.open.clear()
    runs: list[int] = []

    async def ask() -> list[Any]:
        batcher = Batcher(clap, Threads(), Limits(), runs.append)
        asked = [asyncio.ensure_future(batcher.embed(AudioInput(rows[0], RATE)))]
        await until(lambda: tower.asked)
        asked += [asyncio.ensure_future(batcher.embed(AudioInput(row, RATE))) for row in rows[1:]]
        await until(lambda: batcher.queued_windows == 23)
        tower.open.set()
        found = await asyncio.gather(*asked)
        await asyncio.to_thread(batcher.close)
        return found

    found = asyncio.run(ask())
    vectors = np.stack([heard.sound.vector for heard in found])
    assert np.abs(vectors - expected).max() < 1e-6
    assert runs == [1, 16, 7]
    assert [heard.batch for heard in found].count(16) == 16
    for heard in found:
        assert heard.read_ms > 0
        assert heard.tower_ms > 0
        assert heard.wait_ms >= 0


@pytest.mark.timing
def test_a_lone_sound_is_not_kept_waiting(clap: claprt.Clap) -> None:
    async def work(batcher: Batcher) -> Any:
        await embed(batcher, SOUND)
        return await batcher.embed(AudioInput(SOUND))

    assert with_batcher(clap, work).wait_ms < 200


def test_readers_pause_while_many_windows_wait(clap: claprt.Clap, tower: Tower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claprt.serve.scheduling.audio_tower._QUEUE_LIMIT", 6)
    tower.open.clear()
    long = np.ones(480_000 * 4, np.float32)

    async def work(batcher: Batcher) -> Any:
        first = asyncio.ensure_future(embed(batcher, SOUND))
        await until(lambda: tower.asked)
        asked = [asyncio.ensure_future(embed(batcher, long)) for _ in range(6)]
        await until(lambda: batcher.queued_windows >= 6)
        await asyncio.sleep(0.3)
        most = batcher.queued_windows
        tower.open.set()
        return most, await asyncio.gather(first, *asked)

    most, found = with_batcher(clap, work)
    assert 6 <= most < 6 + 2 * 4
    assert all(len(sound.windows) == 4 for sound in found[1:])


def test_who_leaves_is_not_worked_for(clap: claprt.Clap, tower: Tower) -> None:
    tower.open.clear()

    async def work(batcher: Batcher) -> Any:
        first = asyncio.ensure_future(embed(batcher, SOUND))
        await until(lambda: tower.asked)
        gone = [asyncio.ensure_future(embed(batcher, np.ones(480_000 * 3, np.float32))) for _ in range(4)]
        await until(lambda: batcher.queued_windows >= 12)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        last = asyncio.ensure_future(embed(batcher, SOUND))
        tower.open.set()
        return await asyncio.gather(first, last)

    assert all(sound.vector is not None for sound in with_batcher(clap, work))
    assert tower.windows == [1, 1]


@pytest.mark.parametrize("fault", [RuntimeError("CUDA error at line 7"), MemoryError()])
def test_a_fault_of_the_tower_reaches_everybody_and_is_forgotten(
    clap: claprt.Clap, tower: Tower, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    tower.open.clear()
    tower.fault = fault

    async def work(batcher: Batcher) -> Any:
        asked = [asyncio.ensure_future(embed(batcher, SOUND))]
        await until(lambda: tower.asked)
        asked += [asyncio.ensure_future(embed(batcher, SOUND)) for _ in range(4)]
        await until(lambda: batcher.queued_windows == 4)
        tower.open.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        lost = batcher.failure
        tower.fault = None
        await embed(batcher, SOUND)
        return found, lost, batcher.failure

    found, lost, after = with_batcher(clap, work)
    assert all(isinstance(error, ServiceFault) for error in found)
    assert "CUDA" not in str(found[0])
    assert type(fault).__name__ in caplog.text
    assert lost
    assert after is None


def test_a_reader_that_fails_fails_its_sound_alone(clap: claprt.Clap) -> None:
    def bad(_: Callable[[], None]) -> None:
        raise LookupError("not ours")

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(batcher.read(bad), embed(batcher, SOUND), return_exceptions=True)

    error, sound = with_batcher(clap, work)
    assert isinstance(error, LookupError)
    assert sound.vector is not None


def test_a_model_with_a_cache_is_not_run_twice(bundle: Path) -> None:
    clap = claprt.load(bundle, cache=(cache := VectorCache()))
    tower = Tower(clap)
    app = create_app(clap)
    file = io.BytesIO()
    soundfile.write(file, SOUNDS["rain"](RATE, RATE), RATE, format="WAV")
    with TestClient(app) as client:
        tower.windows.clear()
        replies: list[Any] = []
        for _ in range(2):
            replies.append(client.post("/classify", files={"file": file.getvalue()}, data={"labels": "rain"}).json())
            assert client.portal is not None
            client.portal.call(until, lambda: cache.bytes_in_memory)
        assert client.post("/analyse", files={"file": file.getvalue()}).status_code == 200
    assert replies[0]["classes"] == replies[1]["classes"]
    assert replies[1]["timings_ms"]["tower"] == 0
    assert tower.windows == [1]


def test_closing_answers_what_was_accepted(clap: claprt.Clap) -> None:
    async def ask() -> Any:
        batcher = Batcher(clap, Threads(), Limits())
        asked = [asyncio.ensure_future(embed(batcher, SOUND)) for _ in range(40)]
        await asyncio.sleep(0)
        await asyncio.to_thread(batcher.close)
        return await asyncio.wait_for(asyncio.gather(*asked), 20)

    assert len(asyncio.run(ask())) == 40


class TestLimits:
    def test_samples_are_counted_before_they_are_resampled(
        self, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("claprt.audio.preprocess.KaiserResampler", None)  # which would be called next
        with pytest.raises(AudioShapeError, match="up to 1000 samples"):
            read(clap, AudioInput(np.ones(1001), 8000), Limits(samples=1000))
        with pytest.raises(AudioShapeError, match="more sound"):
            read(clap, AudioInput(np.ones(8000 * 11), 8000), Limits(windows=1))

    def test_windows_are_counted_however_they_overlap(self, bundle: Path) -> None:
        clap = claprt.load(bundle, hop_s=1)
        assert len(read(clap, AudioInput(np.ones(480_000 * 2)), Limits(windows=11))) == 11
        with pytest.raises(AudioShapeError, match="up to 10 windows"):
            read(clap, AudioInput(np.ones(480_000 * 2)), Limits(windows=10))

    def test_admission(self) -> None:
        rejected: list[str] = []
        admission = AdmissionControl(Limits(waiting=3, waiting_bytes=100), rejected.append)
        with admission.admit(1000), pytest.raises(OverloadedError), admission.admit(1):
            pass
        with admission.admit(50), admission.admit(50), admission.admit(0):
            assert (admission.waiting, admission.bytes) == (3, 100)
            with pytest.raises(OverloadedError), admission.admit(0):
                pass
        assert (admission.waiting, admission.bytes) == (0, 0)
        admission.closing = True
        with pytest.raises(ShuttingDownError), admission.admit():
            pass
        assert rejected == ["overloaded", "overloaded", "shutting_down"]

    def test_overload_is_told_and_passes(self, clap: claprt.Clap, tower: Tower) -> None:
        app = create_app(clap, limits=Limits(waiting=1))
        with TestClient(app) as client, client.websocket_connect("/clap") as socket:
            tower.open.clear()
            socket.send_bytes(SOUND.tobytes())
            assert client.portal is not None
            client.portal.call(until, lambda: app.state.service.admission.waiting)
            reply = client.post("/v1/embeddings", json={"input": "rain"})
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert reply.json()["error"]["type"] == "OverloadedError"
            with client.websocket_connect("/clap") as other:
                other.send_bytes(SOUND.tobytes())
                assert "overloaded" in other.receive_json()["message"]
            tower.open.set()
            assert socket.receive_json()["type"] == "clap"
            assert client.post("/v1/embeddings", json={"input": "rain"}).status_code == 200


class TestEnd:
    def test_what_was_accepted_is_answered_and_nothing_else(self, clap: claprt.Clap, tower: Tower) -> None:
        app = create_app(clap)
        service: Service = app.state.service
        with TestClient(app) as client:
            assert client.portal is not None
            with (
                client.websocket_connect("/clap") as busy,
                client.websocket_connect("/clap") as idle,
                client.websocket_connect("/project") as late,
            ):
                tower.open.clear()
                busy.send_bytes(SOUND.tobytes())
                client.portal.call(until, lambda: service.admission.waiting)
                drained = client.portal.start_task_soon(service.drain)
                client.portal.call(until, lambda: service.admission.closing)
                assert client.get("/readyz").json()["status"] == "shutting down"
                assert client.get("/healthz").status_code == 200
                reply = client.post("/v1/embeddings", json={"input": "rain"})
                assert (reply.status_code, reply.json()["error"]["type"]) == (503, "ShuttingDownError")
                late.send_text("{}")
                assert "shutting down" in late.receive_json()["error"]
                assert late.receive() == {"type": "websocket.close", "code": 1001, "reason": GOODBYE}
                busy.send_bytes(SOUND.tobytes())  # which is one too late
                tower.open.set()
                assert busy.receive_json()["type"] == "clap"
                assert "shutting down" in busy.receive_json()["message"]
                assert busy.receive()["code"] == 1001
                assert idle.receive()["code"] == 1001
                drained.result(20)
            assert b'claprt_rejected_total{reason="shutting_down"} 3.0' in service.metrics.text()

    def test_leaving_the_application_ends_it_whole(self, clap: claprt.Clap) -> None:
        before = set(threading.enumerate())
        app = create_app(clap)
        with TestClient(app) as client:
            with client.websocket_connect("/clap") as socket:
                socket.send_bytes(SOUND.tobytes())
                assert socket.receive_json()["type"] == "clap"
            begun = {thread.name.partition("_")[0] for thread in set(threading.enumerate()) - before}
            assert {"claprt-tower", "claprt-read"} <= begun
        left = {thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("claprt")}
        assert not left

    def test_it_does_not_wait_for_ever(self, clap: claprt.Clap, tower: Tower) -> None:
        async def ask() -> float:
            models = Models.of(clap, Limits(), (Stage.AUDIO, Stage.TEXT))
            with models.default.admit():
                began = time.perf_counter()
                await models.default.drain(0.1)
                took = time.perf_counter() - began
            await models.end()
            return took

        assert asyncio.run(ask()) < 5


def test_an_engine_that_was_lost_is_asked_again(clap: claprt.Clap, tower: Tower) -> None:
    with TestClient(create_app(clap)) as client, client.websocket_connect("/clap") as socket:
        tower.fault = ServerUnavailableError("The server at gpu:8001 cannot be reached.")
        socket.send_bytes(SOUND.tobytes())
        assert "cannot be reached" in socket.receive_json()["message"]
        reply = client.get("/readyz")
        assert reply.status_code == 503
        assert "cannot be reached" in reply.json()["status"]
        assert client.get("/healthz").status_code == 200
        tower.fault = None
        assert client.get("/readyz").status_code == 200


class TestLeaving:
    def test_an_http_client(self) -> None:
        """Its work is given up, and its place is free."""

        async def ask() -> tuple[int, bool]:
            admission, left, given_up = AdmissionControl(Limits()), asyncio.Event(), asyncio.Event()

            async def receive() -> Any:
                await left.wait()
                return {"type": "http.disconnect"}

            async def work() -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    given_up.set()

            async def answer() -> None:
                with admission.admit():
                    await while_connected(Request({"type": "http"}, receive), work())

            task = asyncio.ensure_future(answer())
            await until(lambda: admission.waiting)
            left.set()
            with pytest.raises(ClientDisconnect):
                await task
            await asyncio.wait_for(given_up.wait(), 5)
            return admission.waiting, given_up.is_set()

        assert asyncio.run(ask()) == (0, True)

    def test_a_websocket(self, clap: claprt.Clap, tower: Tower) -> None:
        app = create_app(clap)
        with TestClient(app) as client:
            assert client.portal is not None
            tower.open.clear()
            with client.websocket_connect("/clap") as socket:
                socket.send_bytes(SOUND.tobytes())
                client.portal.call(until, lambda: app.state.service.admission.waiting)
            client.portal.call(until, lambda: not app.state.service.admission.waiting)
            tower.open.set()


GOODBYE = "The service is shutting down."
