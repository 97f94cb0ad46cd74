"""The service as it runs: many clients, clients that leave, its end, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.errors import OptionError
from claprt.serve.server.run import Bounds, is_private, listen, urls
from tests.serve.case import Case, samples
from tests.serve.conftest import RATE
from tests.serve.malformed import ask
from tests.serve.process import Process
from tests.serve.raw_sockets import BINARY, frame, request

LONG = json.dumps({"audio_buffer": base64.b64encode(samples(60_000)).decode(), "sample_rate": 1000})


def test_what_it_says(service: Process, mini: claprt.Clap) -> None:
    assert service.fingerprint == mini.fingerprint
    facts = httpx.get(service.url("/readyz")).json()
    assert (facts["fingerprint"], facts["provider"]) == (mini.fingerprint, "cpu")
    lines = [line for line in service.said().splitlines() if not line.startswith("note: ")]
    where = f"{service.url('/')} and {service.url('/clap', 'ws')}"
    assert lines == [f"serving mini on cpu in fp32 at {where}, fingerprint {mini.fingerprint}"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_several_models(bundle: Path, fused_bundle: Path, logs: Path, clap: claprt.Clap, sound: Any, workers: str) -> None:
    """A line for each; all of them in each worker process, whose metrics are added up by model."""
    fused = claprt.load(fused_bundle)
    flags = ["--bundle", f"plain={bundle}", "--bundle", f"fused={fused_bundle}", "--preprocess", "laion", "--quiet"]
    with Process(logs / "several.log", *flags, "--device", "cpu", "--workers", workers) as process:
        lines = process.said().splitlines()
        root, prefix = (process.url(path) for path in ("/", "/models/fused/"))
        sockets = [process.url(path, "ws") for path in ("/clap", "/models/fused/clap")]
        assert lines == [
            f"serving plain (tiny) on cpu in fp32 at {root} and {sockets[0]}, fingerprint {clap.fingerprint}",
            f"serving fused (tiny) on cpu in fp32 at {prefix} and {sockets[1]}, fingerprint {fused.fingerprint}",
        ]
        for _ in range(4):  # connections, which any worker may accept
            for name, model in (("plain", clap), ("fused", fused)):
                reply = httpx.post(process.url("/v1/embeddings"), json={"input": "rain", "model": name}).json()
                assert reply["model"] == name
                assert np.abs(reply["data"][0]["embedding"] - model.embed_text("rain")).max() < 1e-6
        found = httpx.get(process.url("/metrics")).text
        for name in ("plain", "fused"):
            assert f'claprt_requests_total{{endpoint="/v1/embeddings",model="{name}",status="200"}} 4.0' in found
            assert re.search(rf'claprt_windows_waiting{{model="{name}"}} 0\.0', found)
        with connect(process.url(f"/models/fused?sample_rate={RATE}", "ws")) as socket:
            socket.send(sound.astype("<f4").tobytes())
            vector = np.asarray(json.loads(socket.recv(timeout=30))["embedding"])
        assert np.abs(vector - fused.embed_audio(sound, RATE)).max() < 1e-6
        with pytest.raises(InvalidStatus) as refused, connect(process.url("/models/other/clap", "ws")):
            pass
        assert refused.value.response.status_code == 404
        assert b"there are 'plain', 'fused'" in refused.value.response.body
        process.tell(signal.SIGTERM)
        assert process.ended() == 0
    assert process.said().splitlines() == lines  # nothing else was logged


@pytest.mark.timing
def test_no_part_of_an_answer_waits_for_an_acknowledgement(service: Process) -> None:
    with httpx.Client() as client:
        client.get(service.url("/healthz"))
        started = time.monotonic()
        for _ in range(20):
            client.get(service.url("/healthz"))
        assert (time.monotonic() - started) / 20 < 0.025


def test_thirty_two_connections_at_once(service: Process, mini: claprt.Clap) -> None:
    sounds = [SOUNDS["rain"](RATE, RATE) * np.float32(1 - n / 99) + SOUNDS["tone"](RATE, RATE) * n / 99 for n in range(32)]
    expected = mini.embed_audio(sounds, RATE)

    async def client(number: int) -> float:
        worst = 0.0
        async with connect_async(service.url("/clap", "ws")) as connection:
            for turn in range(2):
                position = (number + turn) % 32
                await connection.send(sounds[position].astype("<f4").tobytes())
                vector = np.asarray(json.loads(await connection.recv())["embedding"])
                worst = max(worst, float(np.abs(vector - expected[position]).max()))
        return worst

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*map(client, range(32)))

    assert max(asyncio.run(all_of_them())) < 1e-6


def test_clients_that_leave_in_the_middle(service: Process, mini: claprt.Clap, sound: Any) -> None:
    body = json.dumps({"input": base64.b64encode(samples(999)).decode(), "modality": "audio"}).encode()
    given = [
        Case(kind="", parts=(frame(LONG.encode()),), upgraded=True, leaves=True),
        Case(kind="", parts=(frame(LONG.encode())[:50_000],), upgraded=True, leaves=True),
        Case(kind="", parts=(request("POST", "/v1/embeddings", {"Content-Type": "application/json"}, body),), leaves=True),
    ]

    async def ask_all() -> None:
        await asyncio.gather(*(ask(case, service.port) for case in given * 8))

    asyncio.run(ask_all())
    with connect(service.url("/clap", "ws")) as connection:
        connection.send(sound.astype("<f4").tobytes())
        vector = np.asarray(json.loads(connection.recv(timeout=30))["embedding"])
    assert np.abs(vector - mini.embed_audio(sound, RATE)).max() < 1e-6
    until = time.monotonic() + 10
    while "claprt_waiting 0.0" not in (found := httpx.get(service.url("/metrics")).text):
        assert time.monotonic() < until, found
    assert 'claprt_connections{endpoint="/clap"} 0.0' in found
    assert "Traceback" not in service.said()


def test_what_was_accepted_is_answered_before_the_end(served_bundle: Path, logs: Path, mini: claprt.Clap) -> None:
    process = Process(logs / "ends.log", "--bundle", str(served_bundle), "--device", "cpu")
    expected = mini.embed_audio(np.frombuffer(samples(60_000), "<f4"), 1000)
    body = json.dumps({"audio": "data:audio/wav;base64," + wav(60_000, 1000), "labels": ["rain", "dog"]})

    async def clients() -> tuple[list[Any], int, list[int | None]]:
        connections = [await connect_async(process.url("/clap", "ws")) for _ in range(4)]
        idle = connections.pop()
        async with httpx.AsyncClient(timeout=60) as http:
            post = asyncio.ensure_future(http.post(process.url("/classify"), content=body, headers=JSON))
            for connection in connections:
                await connection.send(LONG)
            async with asyncio.timeout(20):
                while "claprt_waiting 4.0" not in (await http.get(process.url("/metrics"))).text:
                    await asyncio.sleep(0.01)
            process.tell(signal.SIGTERM)
            replies = [json.loads(await connection.recv()) for connection in connections]
            status = (await post).status_code
        codes: list[int | None] = []
        for connection in [*connections, idle]:
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
            codes.append(closed.value.rcvd.code if closed.value.rcvd else None)
        return replies, status, codes

    with process:
        replies, status, codes = asyncio.run(clients())
        assert process.ended() == 0
    for reply in replies:
        assert np.abs(np.asarray(reply["embedding"]) - expected).max() < 1e-6
    assert status == 200
    assert codes == [1001] * 4
    assert "Traceback" not in process.said()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", process.port), timeout=5)


JSON = {"Content-Type": "application/json"}


def wav(count: int, rate: int) -> str:
    import io

    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.frombuffer(samples(count), "<f4"), rate, format="WAV", subtype="FLOAT")
    return base64.b64encode(file.getvalue()).decode()


def test_an_interrupt_ends_it_too(served_bundle: Path, logs: Path) -> None:
    """While a client holds a connection, has sent half a message, and does not answer a close."""
    environment = {"PORT": "1", "CLAP_CHECKPOINT_PATH": str(served_bundle), "CLAP_DEVICE": "cpu"}
    with Process(logs / "interrupted.log", environment=environment) as process, connect(process.url("/clap", "ws")) as held:
        held.socket.sendall(frame(samples(500), BINARY)[:900])
        started = time.monotonic()
        process.tell(signal.SIGINT)
        assert process.ended() == 0
        assert time.monotonic() - started < 10
        held.socket.close()
    said = [line for line in process.said().splitlines() if "untrained weights" not in line]
    assert len(said) == 1  # the environment's bundle is not a small model that it would have to name


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says where it does not get as far as serving."""
    assert main(["serve", *arguments]) == 1
    return capsys.readouterr().err


def test_a_port_in_use(service: Process, capsys: pytest.CaptureFixture[str]) -> None:
    said = run("--port", str(service.port), "--bundle", "mini", capsys=capsys)
    assert f"Port {service.port} of 127.0.0.1 is in use" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "65536"], "port=65536 is not a port"),
        (["--host", "a..b"], "is not an address"),
        (["--host", "192.0.2.1"], "cannot be opened"),
        (["--bundle", "FILE"], "a file was found there that is neither"),
        (["--checkpoint-path", "FILE"], "a file was found there that is neither"),
        (["--engine", "nowhere"], "nowhere"),
        (["--token-file", "nothing"], "cannot be read"),
        (["--token-file", "FILE"], "holds no token"),
        (["--device", "cpu", "--provider", "openvino"], "exclude each other"),
        (["--timeout-s", "0"], "timeout_s=0.0 is not possible"),
        (["--timeout-s", "nan"], "timeout_s=nan is not possible"),
        (["--max-connections", "0"], "connections=0 is not possible"),
        (["--max-connections", "2000000000", "--bundle", "mini"], "fewer connections"),
        (["--max-windows", "0"], "windows=0 is not possible"),
    ],
)
def test_what_keeps_it_from_starting(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "music.pt"
    file.write_text("\n", encoding="utf-8")
    arguments = [str(file) if argument == "FILE" else argument for argument in arguments]
    given = arguments if "--port" in arguments else [*arguments, "--port", "0"]
    assert sentence in run(*given, capsys=capsys)


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PORT", "many")
    assert "PORT='many' is not a port" in run(capsys=capsys)
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("CLAP_CHECKPOINT_PATH", str(tmp_path / "nothing"))
    assert "nothing" in run(capsys=capsys)
    monkeypatch.setenv("CLAP_CHECKPOINT_PATH", "mini")
    monkeypatch.setenv("CLAP_DEVICE", "abacus")
    assert "abacus" in run(capsys=capsys)


def test_the_name_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ["--port", "0", "--bundle", str(tmp_path / "nothing")]
    monkeypatch.setitem(sys.modules, "setproctitle", None)
    assert "setproctitle is not installed" in run("--process-title", "ear", *missing, capsys=capsys)
    assert "setproctitle" not in run(*missing, capsys=capsys)
    names: list[str] = []
    monkeypatch.setitem(sys.modules, "setproctitle", SimpleNamespace(setproctitle=names.append))
    monkeypatch.setenv("PROCESS_TITLE", "environment's")
    run("--process-title", "ear", *missing, capsys=capsys)
    run(*missing, capsys=capsys)
    monkeypatch.delenv("PROCESS_TITLE")
    run(*missing, capsys=capsys)
    assert names == ["ear", "environment's", "clap_service"]


def test_whoever_can_reach_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = ["--port", "0", "--bundle", str(tmp_path / "nothing")]
    assert "warning: whoever can reach 0.0.0.0" in run("--host", "0.0.0.0", *missing, capsys=capsys)
    assert "warning" not in run("--host", "localhost", *missing, capsys=capsys)


def test_listening() -> None:
    sockets = listen("localhost", 0)
    try:
        assert len({one.getsockname()[1] for one in sockets}) == 1
        assert all(url.startswith(("http://127.0.0.1:", "http://[::1]:")) for url in urls(sockets))
        assert is_private(sockets)
        with socket.create_connection(sockets[0].getsockname()[:2], timeout=5):
            pass  # it waits there until it is served
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize("bound", ["connections", "idle_s", "shutdown_s"])
def test_bounds_are_checked(bound: str) -> None:
    with pytest.raises(OptionError, match=f"{bound}=0"):
        Bounds(**{bound: 0})
