"""A long run of `claprt serve` under mixed clients and faults, with every vector compared with the one in process.

    python benchmarks/soak_service.py [--minutes M] [--clients N] [--seed S] [--out FILE]

Clients send sounds over WebSocket and HTTP, in several formats, lengths and rates, and texts and labels. Meanwhile, in
turns, the service is killed (SIGKILL) and started again on the same cache, stopped and continued (SIGSTOP), told to end
(SIGTERM) in the middle of requests, clients leave in the middle of a request, sockets send junk or ping without
reading, and the disk of the cache is filled. Kills and ends happen in the first half; in the second half one process
lives through the other faults, and its memory is watched. The exit status is 1 if a vector was wrong, a request failed
outside of a fault, the log has a traceback, the service ended with another status than 0 when it was told to, or memory
grew.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from websockets.asyncio.client import connect  # noqa: E402
from websockets.exceptions import WebSocketException  # noqa: E402

import claprt  # noqa: E402
from benchmarks.bench import machine  # noqa: E402
from claprt.audio.synthetic import SOUNDS  # noqa: E402
from tests.serve import raw_sockets  # noqa: E402
from tests.serve.process import Process  # noqa: E402

TOLERANCE = 2e-6
GROWTH_MB = 60
"""What memory may grow by in the second half; the allocator keeps some of the largest messages."""
_GRACE_S = 8.0
"""After a fault, in which failed requests are the fault's."""
_FAULT_EVERY_S = 12.0
_PAUSE_S = 0.5
"""The longest pause of a client between two requests."""


@dataclass(frozen=True, slots=True)
class Known:
    """An input and the vector that is right for it."""

    name: str
    data: bytes
    rate: int | None
    """Of raw float32 samples, in Hz; None for a file."""
    vector: np.ndarray[Any, Any]


@dataclass(slots=True)
class Soak:
    """What clients and faults share, and what came of it."""

    service: Process
    sounds: list[Known]
    texts: dict[str, np.ndarray[Any, Any]]
    random: random.Random
    until: float
    calm_from: float = 0.0
    """When requests have to succeed again after the last fault."""
    counts: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    statuses: list[int] = field(default_factory=list[int])
    memory: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    worst: float = 0.0

    def check(self, name: str, found: Any, right: np.ndarray[Any, Any]) -> None:
        """Compare a vector with the known one."""
        vector = np.asarray(found, np.float64)
        apart = float(np.abs(vector - right).max()) if vector.shape == right.shape and np.isfinite(vector).all() else np.inf
        self.worst = max(self.worst, apart)
        self.counts["vectors"] += 1
        if not apart <= TOLERANCE:
            self.wrong.append(f"{name}: {apart:.1e}")

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.until


def known_sounds(clap: claprt.Clap) -> list[Known]:
    """Sounds of several lengths, rates and formats with their vectors in process."""
    found: list[Known] = []
    for number, (kind, rate, length_s) in enumerate(
        [("rain", 16_000, 1.0), ("tone", 48_000, 3.0), ("rain", 44_100, 0.2), ("tone", 47_999, 1.0), ("rain", 22_050, 25.0)]
    ):
        sound = (SOUNDS[kind](int(length_s * rate), rate) * (0.2 + 0.15 * number)).astype(np.float32)
        raw = clap.embed_audio(sound, sample_rate=rate)
        found.append(Known(f"{kind} raw at {rate}", sound.astype("<f4").tobytes(), rate, raw))
        for name, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")):
            out = io.BytesIO()
            soundfile.write(out, sound, rate, format=name, subtype=subtype)
            vector = clap.embed_audio(out.getvalue())
            found.append(Known(f"{kind} {name} at {rate}", out.getvalue(), None, vector))
    return found


async def over_websocket(soak: Soak) -> None:
    """A few messages on one connection, binary or in JSON."""
    raw = [sound for sound in soak.sounds if sound.rate is not None]
    async with connect(soak.service.url("/clap?sample_rate=16000", "ws"), max_size=None, open_timeout=30) as connection:
        for _ in range(soak.random.randint(1, 4)):
            sound = soak.random.choice(raw)
            if sound.rate == 16_000 and soak.random.random() < 0.5:
                await connection.send(sound.data)
            else:
                data = base64.b64encode(sound.data).decode()
                await connection.send(json.dumps({"audio_buffer": data, "sample_rate": sound.rate}))
            reply = json.loads(await asyncio.wait_for(connection.recv(), 60))
            if "embedding" not in reply:
                raise RuntimeError(str(reply)[:200])
            soak.check(sound.name, reply["embedding"], sound.vector)


async def files_over_http(soak: Soak) -> None:
    """Files in base64, one or several."""
    chosen = soak.random.sample([sound for sound in soak.sounds if sound.rate is None], soak.random.randint(1, 3))
    body = {"modality": "audio", "input": [base64.b64encode(sound.data).decode() for sound in chosen]}
    for sound, row in zip(chosen, (await post(soak, "/v1/embeddings", json=body))["data"], strict=True):
        soak.check(sound.name, row["embedding"], sound.vector)


async def texts_over_http(soak: Soak) -> None:
    """Texts, some of them asked for before."""
    chosen = soak.random.sample(sorted(soak.texts), soak.random.randint(1, 40))
    for text, row in zip(chosen, (await post(soak, "/v1/embeddings", json={"input": chosen}))["data"], strict=True):
        soak.check(text, row["embedding"], soak.texts[text])


async def classified(soak: Soak) -> None:
    """A form with a file and labels."""
    sound = soak.random.choice([sound for sound in soak.sounds if sound.rate is None])
    labels = soak.random.sample(sorted(soak.texts), 3)
    found = await post(soak, "/classify", files={"file": ("a.wav", sound.data)}, data={"labels": json.dumps(labels)})
    cosines = {one["label"]: one["similarity"] for one in found["classes"]}
    right = np.array([float(soak.texts[label] @ sound.vector) for label in labels])
    soak.check(f"classify {sound.name}", [cosines[label] for label in labels], right)


async def post(soak: Soak, path: str, **request: Any) -> Any:
    """The reply to a request that has to be answered with 200."""
    async with httpx.AsyncClient(timeout=90) as client:
        reply = await client.post(soak.service.url(path), **request)
    if reply.status_code != 200:
        raise RuntimeError(f"{path}: {reply.status_code} {reply.text[:200]}")
    return reply.json()


CLIENTS: tuple[Callable[[Soak], Awaitable[None]], ...] = (over_websocket, files_over_http, texts_over_http, classified)


async def client(soak: Soak) -> None:
    """Ask one thing after another; a failure counts unless a fault explains it."""
    while not soak.over:
        ask, began = soak.random.choice(CLIENTS), time.monotonic()
        try:
            await ask(soak)
            soak.counts["requests"] += 1
            await asyncio.sleep(soak.random.uniform(0, _PAUSE_S))
        except (OSError, RuntimeError, WebSocketException, httpx.HTTPError, TimeoutError, EOFError) as error:
            if began > soak.calm_from and time.monotonic() > soak.calm_from and not soak.over:
                soak.failed.append(f"{ask.__name__}: {type(error).__name__} {str(error)[:200]}")
            soak.counts["requests during faults that failed"] += 1
            await asyncio.sleep(0.3)


async def leaver(soak: Soak) -> None:
    """Send half of a request, or all of it, and leave; sometimes send junk, or pings without reading."""
    while not soak.over:
        await asyncio.sleep(soak.random.uniform(0.05, 0.5))
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", soak.service.port)
            sound = soak.random.choice(soak.sounds).data
            body = json.dumps({"modality": "audio", "input": base64.b64encode(sound).decode()}).encode()
            whole = raw_sockets.request("POST", "/v1/embeddings", {"Content-Type": "application/json"}, body)
            kind = soak.random.choice(["half", "whole", "junk", "pings"])
            if kind == "junk":
                whole = soak.random.randbytes(2000)
            elif kind == "pings":
                whole = raw_sockets.upgrade("/clap") + raw_sockets.frame(b"", raw_sockets.PING) * 20_000
            writer.write(whole[: len(whole) // 2] if kind == "half" else whole)
            soak.counts[f"left: {kind}"] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(writer.drain(), 1)
            await asyncio.sleep(soak.random.uniform(0, 0.3))
            writer.transport.abort()


async def killed(soak: Soak) -> None:
    """Kill the process without warning and start it again on the same cache and port."""
    soak.service.tell(signal.SIGKILL)
    soak.service.ended()
    await started_again(soak)


async def told_to_end(soak: Soak) -> None:
    """SIGTERM in the middle of requests: what was accepted is answered, and the status is 0."""
    soak.service.tell(signal.SIGTERM)
    soak.statuses.append(await asyncio.to_thread(soak.service.ended, 60))
    await started_again(soak)


async def started_again(soak: Soak) -> None:
    """The same command once more."""
    soak.counts["tracebacks"] += soak.service.said().count("Traceback")
    await asyncio.to_thread(lambda: soak.service.start().wait())


async def stopped(soak: Soak) -> None:
    """SIGSTOP for some seconds."""
    soak.service.tell(signal.SIGSTOP)
    await asyncio.sleep(soak.random.uniform(1, 5))
    soak.service.tell(signal.SIGCONT)


def full_disk(folder: Path) -> Callable[[Soak], Awaitable[None]]:
    """Fill the file system that the cache is on, for some seconds."""

    async def filled(soak: Soak) -> None:
        filler = folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        await asyncio.sleep(soak.random.uniform(2, 6))
        filler.unlink()

    return filled


async def faults(soak: Soak, small: Path | None, calm: float) -> None:
    """One fault after another; no process is ended from `calm` on."""
    lasting: list[Callable[[Soak], Awaitable[None]]] = [stopped]
    if small is not None:
        lasting.append(full_disk(small))
    while not soak.over:
        await asyncio.sleep(_FAULT_EVERY_S)
        ending = [] if time.monotonic() > calm else [killed, told_to_end]
        fault = soak.random.choice(lasting + ending)
        soak.calm_from = float("inf")
        await fault(soak)
        soak.faults[fault.__name__.replace("_", " ")] += 1
        soak.calm_from = time.monotonic() + _GRACE_S


async def watched(soak: Soak) -> None:
    """Resident memory once a second."""
    while not soak.over:
        with contextlib.suppress(OSError, StopIteration, AssertionError):
            soak.memory.append((time.monotonic(), soak.service.rss_mb()))
        await asyncio.sleep(1)


@contextlib.contextmanager
def small_disk(folder: Path) -> Any:
    """A file system of 8 MB, where this user may mount one; None elsewhere."""
    folder.mkdir()
    mounted = sys.platform == "linux" and os.geteuid() == 0
    mounted = (
        mounted and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode == 0
    )
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=False)


async def run(soak: Soak, clients: int, small: Path | None, seconds: float) -> None:
    """Everything at once, until the time is up."""
    calm = time.monotonic() + seconds / 2
    asking = [client(soak) for _ in range(clients)]
    await asyncio.gather(*asking, leaver(soak), leaver(soak), faults(soak, small, calm), watched(soak))


def flat(soak: Soak, seconds: float) -> tuple[float, float]:
    """Median memory, in MB, in the first and in the last quarter of the second half, its first tenth left out."""
    begin, end = soak.until - 0.45 * seconds, soak.until
    quarter = (end - begin) / 4
    first = [mb for at, mb in soak.memory if begin <= at < begin + quarter]
    last = [mb for at, mb in soak.memory if at >= end - quarter]
    return float(np.median(first)), float(np.median(last))


def main() -> int:
    """Run it, and report."""
    parser = argparse.ArgumentParser(description="Run the service under mixed clients and faults.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    clap = claprt.load("mini", provider="cpu", preprocess="kromosynth")
    words = [f"sound number {number} in a forest of {number % 7} trees" for number in range(400)]
    texts = dict(zip(words, clap.embed_text(words), strict=True))
    seconds = 60 * options.minutes
    with tempfile.TemporaryDirectory() as temporary, small_disk(Path(temporary) / "small") as small:
        cache = (small or Path(temporary)) / "cache"
        with socket_port() as port:
            arguments = ("--bundle", "mini", "--device", "cpu", "--cache", str(cache), "--port", str(port))
        with Process(Path(temporary) / "log", *arguments) as service:
            soak = Soak(service, known_sounds(clap), texts, random.Random(options.seed), time.monotonic() + seconds)
            asyncio.run(run(soak, options.clients, small, seconds))
            soak.statuses.append(service.stop())
            soak.counts["tracebacks"] += service.said().count("Traceback")
    before, after = flat(soak, seconds)
    bad = bool(soak.wrong or soak.failed or any(soak.statuses) or soak.counts["tracebacks"]) or after > before + GROWTH_MB
    result = {
        "minutes": options.minutes, "clients": options.clients, "seed": options.seed, "machine": machine(),
        **dict(soak.counts), "wrong vectors": len(soak.wrong), "worst difference": soak.worst,
        "requests that failed outside of a fault": len(soak.failed), "faults": dict(soak.faults),
        "statuses after SIGTERM": dict(Counter(map(str, soak.statuses))), "disk filled": small is not None,
        "memory_mb": {"first": round(before), "last": round(after), "most": round(max(mb for _, mb in soak.memory))},
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    print(*soak.wrong[:20], *soak.failed[:20], sep="\n")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(bad)


@contextlib.contextmanager
def socket_port() -> Any:
    """A port that is free now, so that every start can use the same one."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
