"""Part of triton_server.py: mixed requests of eight clients to a Triton server that is killed once in the middle."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import claprt
from benchmarks.cases import sounds
from claprt.triton.repository.builder import Build, build
from tests.triton.server import Server

TEXTS = [f"sound number {number} in a forest of {number % 7} trees" for number in range(40)]


def soak(folder: Path, requests: int) -> dict[str, Any]:
    """Mixed requests from eight clients on mini, with the server killed and started again in the middle."""
    bundle = claprt.load("mini", provider="cpu")
    repository = build(Build(bundle=bundle.bundle), folder / "mini")
    given = [sound[: 480_000 - 40_000 * number] for number, sound in enumerate(sounds(6, 10))]
    audio, texts = bundle.embed_audio(given), bundle.embed_text(TEXTS)
    wrong: list[float] = []
    failed: list[str] = []
    answered = 0
    lock, numbers = threading.Lock(), iter(range(requests))
    memory: list[tuple[int, float]] = []

    def client(clap: claprt.Clap) -> None:
        nonlocal answered
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                if number % 3 == 0:
                    difference = np.abs(clap.embed_audio(given[number % 6]) - audio[number % 6]).max()
                else:
                    start = number % 30
                    difference = np.abs(clap.embed_text(TEXTS[start : start + 5]) - texts[start : start + 5]).max()
            except Exception as error:  # noqa: BLE001 - counted
                failed.append(repr(error)[:200])
                continue
            with lock:
                answered += 1
                if not difference <= 1e-6:
                    wrong.append(float(difference))

    with Server(repository, folder / "soak.log") as server:
        protocols = [(server.grpc, True), (server.grpc, False), (server.http, False), (server.http, True)] * 2
        claps = [claprt.load(url, server={"shared_memory": shared, "retry_for_s": 60}) for url, shared in protocols]
        threads = [threading.Thread(target=client, args=(clap,)) for clap in claps]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        killed = False
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            if answered > requests // 2 and not killed:
                server.kill()
                server.start().wait()
                killed = True
            elif killed:
                memory.append((answered, server.memory_mb()))
        took = time.perf_counter() - started
    settled = [mb for done, mb in memory if done > 0.65 * requests]
    return {
        "requests": requests, "answered": answered, "failed": len(failed), "failures": failed[:3], "wrong": len(wrong),
        "seconds": took, "memory_mb_at_two_thirds": settled[0], "memory_mb_at_the_end": settled[-1],
    }  # fmt: skip
