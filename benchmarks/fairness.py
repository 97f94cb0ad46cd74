"""A client with sounds of one second, alone and beside sixteen that cost much: how long it waits, what the service takes.

python benchmarks/fairness.py [--only KIND ...] [--seconds N]

The kinds are short messages at a rate of 1001 Hz, FLAC files of ten minutes, lists of 2048 texts, and all of them. The
machine must have nothing else to do: clients and service share it. Ends with status 1 if the honest client's 95th
percentile is more than three times what it is alone.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from websockets.asyncio.client import connect  # noqa: E402

from claprt.audio.synthetic import SOUNDS  # noqa: E402
from tests.serve.process import Process  # noqa: E402

RATE = 16_000
BAR = 3.0
CLIENTS = {"odd": ["odd"] * 16, "long": ["long"] * 16, "texts": ["texts"] * 16, "all": ["odd", "long", "texts", "long"] * 4}


def ten_minutes() -> bytes:
    """A request with ten minutes of silence as FLAC, which is 82 KB."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(44_100 * 599, np.float32), 44_100, format="FLAC")
    return json.dumps({"modality": "audio", "input": base64.b64encode(file.getvalue()).decode()}).encode()


async def costly(kind: str, service: Process, number: int, long: bytes) -> None:
    """Asks without a pause, until it is cancelled."""
    turn = 0
    if kind == "odd":
        sound = np.random.default_rng(number).normal(0, 0.1, 1001).astype("<f4").tobytes()
        async with connect(service.url("/clap?sample_rate=1001", "ws")) as connection:
            while True:
                await connection.send(sound)
                await connection.recv()
    async with httpx.AsyncClient(timeout=600) as client:
        while True:
            turn += 1
            texts = [f"{number} {turn} {position} " + "word " * 70 for position in range(2048)]
            body = long if kind == "long" else json.dumps({"input": texts}).encode()
            headers = {"content-type": "application/json"}
            reply = await client.post(service.url("/v1/embeddings"), content=body, headers=headers)
            assert reply.status_code == 200, reply.text


async def honest(service: Process, seconds: float) -> list[float]:
    """Seconds of each of its requests, ten or fewer a second."""
    sound, taken = SOUNDS["rain"](RATE, RATE).astype("<f4").tobytes(), list[float]()
    async with connect(service.url("/clap", "ws")) as connection:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            started = time.monotonic()
            await connection.send(sound)
            assert "embedding" in json.loads(await connection.recv())
            taken.append(time.monotonic() - started)
            await asyncio.sleep(0.1)
    return taken


def shown(taken: list[float]) -> str:
    """Percentiles in milliseconds."""
    p50, p95 = (1000 * float(value) for value in np.percentile(taken, (50, 95)))
    return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {1000 * max(taken):.0f} ms, {len(taken)} requests"


async def compared(service: Process, kind: str, seconds: float) -> bool:
    """Whether the bar is met; says what was measured."""
    long = ten_minutes()
    await honest(service, 1)
    alone = await honest(service, seconds)
    others = [asyncio.ensure_future(costly(name, service, number, long)) for number, name in enumerate(CLIENTS[kind])]
    await asyncio.sleep(2)
    before = service.cpu_s()
    beside = await honest(service, seconds)
    cores = (service.cpu_s() - before) / seconds
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    ratio = float(np.percentile(beside, 95) / np.percentile(alone, 95))
    print(
        f"{kind}: alone {shown(alone)}; beside {shown(beside)}; p95 {ratio:.2f} times; {cores:.1f} cores, "
        f"{service.rss_mb():.0f} MB"
    )
    return ratio <= BAR


def main() -> int:
    """Measure each kind on a service of its own."""
    parser = argparse.ArgumentParser(description="Measure one client beside sixteen that cost much.")
    parser.add_argument("--only", nargs="*", choices=CLIENTS, default=list(CLIENTS))
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    met: list[bool] = []
    for kind in options.only:
        flags = ["--bundle", "mini", "--device", "cpu"]
        with tempfile.TemporaryDirectory() as temporary, Process(Path(temporary) / "log", *flags) as service:
            met.append(asyncio.run(compared(service, kind, options.seconds)))
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
