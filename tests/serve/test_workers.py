"""Several worker processes behind one port: one that is killed, the shutdown, and what keeps them from starting."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

import claprt
from claprt.cli import main
from claprt.serve.server.workers import Supervisor, Worker
from tests.serve.process import Process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def workers_of(process: Process) -> set[int]:
    """Process ids of the workers, without the resource tracker's."""
    assert process.popen is not None
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text(encoding="ascii").split()
    return {int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def until(condition: object, timeout_s: float = 30) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_that_is_killed_is_replaced(bundle: Path, clap: claprt.Clap, logs: Path) -> None:
    """Requests meanwhile are answered by the other or cut off; port and counters stay, and the end is an orderly one."""
    expected = clap.embed_text(["a dog"])[0]
    answered, cut = list[float](), list[str]()

    async def client(url: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with httpx.AsyncClient(timeout=20) as http:
                    reply = await http.post(url, json={"input": "a dog"})
                assert reply.status_code == 200, reply.text
                answered.append(float(np.abs(reply.json()["data"][0]["embedding"] - expected).max()))
            except (httpx.RemoteProtocolError, httpx.ReadError) as error:
                cut.append(repr(error))  # what it had begun to answer
            await asyncio.sleep(0.02)

    async def kill_one(process: Process, before: set[int]) -> None:
        stop = asyncio.Event()
        clients = [asyncio.ensure_future(client(process.url("/v1/embeddings"), stop)) for _ in range(4)]
        await asyncio.sleep(0.3)
        os.kill(min(before), signal.SIGKILL)
        await asyncio.to_thread(until, lambda: len(workers_of(process) - before) == 1)
        so_far = len(answered)
        await asyncio.to_thread(until, lambda: len(answered) > so_far + 4)
        stop.set()
        await asyncio.gather(*clients)

    flags = ["--bundle", str(bundle), "--device", "cpu", "--preprocess", "laion", "--workers", "2"]
    with Process(logs / "workers.log", *flags) as process:
        before = workers_of(process)
        assert len(before) == 2
        asyncio.run(kill_one(process, before))
        assert max(answered) < 1e-6
        assert len(cut) <= 4  # one of each client at most
        assert "ended with -9; another is started" in process.said()
        facts = httpx.get(process.url("/readyz")).json()
        assert (facts["workers"], facts["worker"] in (1, 2)) == (2, True)
        counted = f'claprt_requests_total{{endpoint="/v1/embeddings",status="200"}} {len(answered)}.0'
        found = httpx.get(process.url("/metrics")).text
        assert counted in found, found
        assert "claprt_build_info{" in found
        process.tell(signal.SIGTERM)
        assert process.ended() == 0
    assert "Traceback" not in process.said()


@pytest.mark.slow
def test_they_end_with_their_supervisor(bundle: Path, logs: Path) -> None:
    with Process(logs / "orphans.log", "--bundle", str(bundle), "--device", "cpu", "--workers", "2") as process:
        workers = workers_of(process)
        process.tell(signal.SIGKILL)
        process.ended()
        until(lambda: not any(_is_running(pid) for pid in workers))


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_model_that_cannot_be_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ends them all, with one sentence, instead of trying for ever."""
    assert main(["serve", "--port", "0", "--workers", "2", "--bundle", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capfd.readouterr().err


def is_killed(_: Worker) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_that_is_killed_before_it_serves(capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot say why, so the supervisor does, and ends."""
    assert Supervisor(1, [], is_killed, shutdown_s=5).run(print) == 1
    assert "worker 1 ended with -9 before it served" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "65"])
def test_their_number_is_checked(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", "--workers", count]) == 1
    assert f"workers={count} is not possible; give 1 to 64." in capsys.readouterr().err
