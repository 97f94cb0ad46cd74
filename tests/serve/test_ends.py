"""How the service begins and ends: signals at any moment, tokens of the environment, the log of requests."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from claprt.cli import main
from claprt.errors import ProviderError
from claprt.serve.scheduling.batcher import Batcher
from tests.serve.case import samples
from tests.serve.process import Process
from tests.serve.raw_sockets import http_reply, request

JSON = {"Content-Type": "application/json"}

SLOW_START = """\
import sys, time
import claprt.cli.serve_process as serve
from claprt.cli import main

loaded = serve.load_models
def slow(*given):
    print("loading", flush=True)
    time.sleep(60)
    return loaded(*given)
serve.load_models = slow
sys.exit(main(["serve", "--port", sys.argv[1], "--bundle", "mini"]))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_is_loaded(number: signal.Signals) -> None:
    """Clients that wait already are told, and the status is that of an end that was asked for."""
    port = free_port()
    command = [sys.executable, "-c", SLOW_START, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"

        async def client() -> tuple[int, bytes]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("GET", "/readyz"))
            await writer.drain()
            await asyncio.sleep(0.2)
            process.send_signal(number)
            async with asyncio.timeout(10):
                reply = await http_reply(reader)
                rest = await reader.read()
            writer.close()
            return reply.status, rest

        assert asyncio.run(client()) == (503, b"")
        assert process.wait(10) == 0
        assert process.stdout.read() == ""


def test_a_signal_before_anything_is_imported(tmp_path: Path) -> None:
    """From the moment that the command runs; a bundle that cannot be opened ends it otherwise."""
    process = Process(tmp_path / "log", "--bundle", "mini").start()
    assert process.popen is not None
    try:
        time.sleep(0.9)
        process.tell(signal.SIGTERM)
        assert process.ended() in (0, -signal.SIGTERM)  # the latter where Python had not come to the command yet
    finally:
        process.popen.kill()


def test_texts_at_the_end(served_bundle: Path, logs: Path) -> None:
    """Hundreds of them are answered, or refused; not with 500, and with status 0."""
    body = json.dumps({"input": [f"{number} " + "word " * 70 for number in range(512)]}).encode()
    with Process(logs / "texts.log", "--bundle", str(served_bundle), "--device", "cpu") as process:

        async def ask() -> int:
            async with httpx.AsyncClient(timeout=90) as client:
                asked = asyncio.ensure_future(client.post(process.url("/v1/embeddings"), content=body, headers=JSON))
                async with asyncio.timeout(20):
                    while "claprt_waiting 1.0" not in (await client.get(process.url("/metrics"))).text and not asked.done():
                        await asyncio.sleep(0.01)
                process.tell(signal.SIGTERM)
                return (await asked).status_code

        assert asyncio.run(ask()) in (200, 503)
        assert process.ended(60) == 0
    assert "Traceback" not in process.said()


@pytest.mark.parametrize("value", ["", " ", "\n", "a\nb", "schlüssel", "a\x07b"])
def test_a_token_of_the_environment_that_is_none(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty one is what a substitution leaves that failed; to serve without one would not be an answer to it."""
    monkeypatch.setenv("CLAPRT_TOKEN", value)
    assert main(["serve", "--port", "0", "--bundle", "mini"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("claprt: CLAPRT_TOKEN holds no token")
    assert said.count("\n") == 1


@pytest.mark.parametrize("fault", [ProviderError("The GPU is gone."), MemoryError()])
def test_a_model_that_cannot_be_run_keeps_it_from_starting(
    fault: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a sentence of ours; another error is one of the program, which says so by its traceback."""

    def prepare(_: Batcher) -> None:
        raise fault

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Batcher, "prepare", prepare)
    if isinstance(fault, ProviderError):
        assert main(["serve", "--port", "0", "--bundle", "mini"]) == 1
        assert "claprt: The GPU is gone." in capsys.readouterr().err
    else:
        with pytest.raises(MemoryError):
            main(["serve", "--port", "0", "--bundle", "mini"])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture(scope="module")
def logged(served_bundle: Path, logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """With a token that ends in a line break, a log of requests, and nowhere to put temporary files."""
    environment = {"CLAPRT_TOKEN": "secret\n", "TMPDIR": str(tmp_path_factory.mktemp("full") / "missing")}
    flags = ["--bundle", str(served_bundle), "--device", "cpu", "--access-log"]
    with Process(logs / "logged.log", *flags, environment=environment) as running:
        yield running


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_has_no_case(logged: Process, scheme: str) -> None:
    headers = {"authorization": f"{scheme} secret"}
    assert httpx.get(logged.url("/metrics"), headers=headers).status_code == 200
    with connect(logged.url("/clap", "ws"), additional_headers=headers) as client:
        client.send(samples(900))
        assert json.loads(client.recv())["type"] == "clap"


@pytest.mark.parametrize("header", ["secret", "Basic secret", "Bearer", "Bearer secre", "Bearersecret", "Bearer x secret"])
def test_what_is_no_token(logged: Process, header: str) -> None:
    assert httpx.get(logged.url("/metrics"), headers={"authorization": header}).status_code == 401


def test_forms_need_no_disk(logged: Process) -> None:
    """Of three megabytes, which would be spooled."""
    import io

    import numpy as np
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 48_000 * 30).astype(np.float32), 48_000, format="WAV")
    reply = httpx.post(
        logged.url("/classify"),
        files={"file": file.getvalue()},
        data={"labels": "rain, dog"},
        headers={"authorization": "Bearer secret"},
        timeout=60,
    )
    assert reply.status_code == 200, reply.text
    assert "Traceback" not in logged.said()


def test_the_log_has_a_line_for_each_request(logged: Process) -> None:
    """Refused ones too, and nothing that a client could write into it."""
    bearer = {"authorization": "Bearer secret"}
    with httpx.Client() as client:
        client.post(logged.url("/classify"), json={"audio": "data:;base64," + "A" * 8, "labels": ["rain"]}, headers=bearer)
        client.get(logged.url("/nothing%0Ahere%1B%5B31m"), headers=bearer)
        client.get(logged.url("/metrics"))
    with pytest.raises(InvalidStatus, match="403"):
        connect(logged.url("/clap", "ws"))
    with connect(logged.url("/clap", "ws"), additional_headers=bearer) as socket_client:
        socket_client.send(samples(900))
        socket_client.recv()
        socket_client.send(b"abc")
        socket_client.recv()
    with socket.create_connection(("127.0.0.1", logged.port), timeout=5) as raw:
        raw.sendall(b"\x00\x01\x02\r\n\r\n")
        raw.recv(100)
    time.sleep(0.2)
    lines = [line for line in logged.said().splitlines() if re.match(r"\d{4}-\d\d-\d\dT", line)]
    shown = [line.split(" ", 1)[1] for line in lines]
    assert any(re.fullmatch(r"POST /classify 4\d\d [\d.]+ ms in=\d+ out=\d+.*", line) for line in shown)
    assert any(line.startswith("GET /nothing%0Ahere%1B[31m 404 ") for line in shown)
    assert any(line.startswith("GET /metrics 401 ") for line in shown)
    assert any(line.startswith("WS /clap 403 ") for line in shown)
    assert any(
        re.fullmatch(r"WS /clap 200 [\d.]+ ms in=3600 out=\d+ read=[\d.]+ wait=[\d.]+ tower=[\d.]+", line) for line in shown
    )
    assert any(line.startswith("WS /clap 400 ") and " in=3 " in line for line in shown)
    assert any(line.startswith("- - 400 ") for line in shown)
    assert "\x1b" not in logged.said()
    assert "secret" not in logged.said()


def test_without_the_flag_there_is_no_log(service: Process) -> None:
    httpx.get(service.url("/healthz"))
    assert "/healthz" not in service.said()
