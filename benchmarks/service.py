"""The service against the same model in process: latency, what the service adds, many connections against one, memory.

python benchmarks/service.py [--only PART …] [--out FILE]

Each service is a process of its own on this machine, and every vector that comes back is held against the one in process
before anything is timed. What is compared is timed in turns, one call right after the other. Questions are 1 s sounds at
16 kHz as binary messages, what kromosynth sends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from websockets.asyncio.client import connect as connect_async  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

import claprt  # noqa: E402
from benchmarks.bench import machine, say  # noqa: E402
from benchmarks.cases import Waveform, sounds  # noqa: E402
from benchmarks.turns import PAUSE_S, rates  # noqa: E402
from tests.serve.process import Process  # noqa: E402

RATE = 16_000
CLIENTS = 32
PRECISIONS = {"fp32": ("cpu", "fp32"), "auto": ("auto", "auto")}
BUNDLES = ROOT / "build" / "bundles"


def bundle_of(size: str) -> str:
    """`mini`, or the bundle of an untrained checkpoint of LAION's size, exported where it is not there yet."""
    if size == "mini":
        return "mini"
    folder = BUNDLES / f"untrained-{size}"
    if not (folder / "manifest.json").exists():
        export = [
            str(Path(sys.executable).with_name("claprt-export")),
            f"untrained-{size}",
            "--precision",
            "fp32,int8,bf16",
        ]
        subprocess.run([*export, "--out", str(folder)], check=True)
    return str(folder)


@contextlib.contextmanager
def both(size: str, which: str, folder: Path, *more: str) -> Generator[tuple[Process, claprt.Clap]]:
    """A service, with more flags, and the same in process, whose vectors have been compared."""
    bundle, (provider, precision) = bundle_of(size), PRECISIONS[which]
    local = claprt.load(bundle, provider=provider, precision=precision, preprocess="kromosynth")
    flags = ["--bundle", bundle, "--provider", provider, "--precision", precision, *more]
    with Process(folder / f"{size}-{which}.log", *flags) as service:
        assert service.fingerprint == local.fingerprint, (service.fingerprint, local.fingerprint)
        with connect(service.url("/clap", "ws")) as connection:
            for sound in sounds(4, 1, RATE):
                difference = np.abs(vector_of(ask(connection, sound)) - local.embed_audio(sound, RATE)).max()
                assert difference < 1e-5, f"{size} {which}: the service's vectors differ by {difference}"
        yield service, local


def ask(connection: ClientConnection, sound: Waveform) -> str:
    """A reply, as it comes."""
    connection.send(sound.astype("<f4").tobytes())
    return str(connection.recv(timeout=60))


def vector_of(reply: str) -> Waveform:
    """The vector in it."""
    return np.asarray(json.loads(reply)["embedding"], np.float32)


def in_turns(
    first: Callable[[Waveform], Any], second: Callable[[Waveform], Any], turns: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of both calls, turn by turn; which one begins changes."""
    given = sounds(8, 1, RATE)
    taken: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(-3, turns):
        for position in (0, 1) if turn % 2 else (1, 0):
            time.sleep(PAUSE_S)
            started = time.perf_counter()
            (first, second)[position](given[turn % len(given)])
            if turn >= 0:
                taken[position].append(1000 * (time.perf_counter() - started))
    return taken[0], taken[1]


def one_sound(size: str, which: str, folder: Path, turns: int) -> dict[str, Any]:
    """Milliseconds from sending a sound to its whole reply, and those that the same call takes in process."""
    with both(size, which, folder) as (service, local), connect(service.url("/clap", "ws")) as connection:
        served, inside = in_turns(lambda sound: ask(connection, sound), lambda sound: local.embed_audio(sound, RATE), turns)
        return {
            "provider": local.provider,
            "precision": local.precision,
            "p50_ms": float(np.median(served)),
            "p95_ms": float(np.percentile(served, 95)),
            "in_process_ms": float(np.median(inside)),
            "overhead_ms": float(np.median(np.array(served) - np.array(inside))),
            "trials": turns,
        }


async def ask_from(url: str, clients: int, requests: int) -> None:
    """Asks from so many connections as fast as they are answered. One refusal is an error."""
    given = [sound.astype("<f4").tobytes() for sound in sounds(8, 1, RATE)]
    numbers = iter(range(requests))

    async def client() -> None:
        async with connect_async(url, compression=None, ping_interval=None) as connection:
            for number in numbers:
                await connection.send(given[number % len(given)])
                reply = await connection.recv()
                assert '"status":"received' in str(reply)[:60].replace(" ", ""), str(reply)[:200]

    await asyncio.gather(*(client() for _ in range(clients)))


def throughput(size: str, which: str, folder: Path, requests: int, rounds: int) -> dict[str, Any]:
    """Replies in a second: one connection and many, in turns; and what the cores do in process, side by side and not."""
    with both(size, which, folder) as (service, local):
        given = sounds(requests, 1, RATE)
        work: dict[str, Callable[[], Any]] = {
            "one": lambda: asyncio.run(ask_from(service.url("/clap", "ws"), 1, requests)),
            "many": lambda: asyncio.run(ask_from(service.url("/clap", "ws"), CLIENTS, requests)),
            "one after the other": lambda: [local.embed_audio(sound, RATE) for sound in given],
            "side by side": lambda: local.embed_audio(given, RATE),
        }
        rate = rates(work, requests, rounds)
        many, one, side, after = (rate[name] for name in ("many", "one", "side by side", "one after the other"))
        return {
            "provider": local.provider,
            "precision": local.precision,
            "one_per_s": float(np.median(one)),
            "many_per_s": float(np.median(many)),
            "ratio": float(np.median(many / one)),
            "ratio_in_process": float(np.median(side / after)),
        }


def soak(folder: Path, requests: int) -> dict[str, Any]:
    """Memory of mini's service over many requests of many connections, at a fifth of them and at the end."""
    with both("mini", "fp32", folder) as (service, _):
        memory: list[float] = []
        for _ in range(5):
            asyncio.run(ask_from(service.url("/clap", "ws"), CLIENTS, requests // 5))
            memory.append(service.rss_mb())
        assert "Traceback" not in service.said(), service.said()
        return {"requests": requests, "memory_mb": memory}


def cached(size: str, folder: Path, turns: int) -> dict[str, Any]:
    """Milliseconds from sending a sound that the service has heard before to its whole reply."""
    with (
        both(size, "auto", folder, "--cache", str(folder / "cache")) as (service, local),
        connect(service.url("/clap", "ws")) as connection,
    ):
        given, taken = sounds(8, 1, RATE), list[float]()
        for turn in range(-len(given), turns):
            time.sleep(PAUSE_S)
            started = time.perf_counter()
            ask(connection, given[turn % len(given)])
            if turn >= 0:
                taken.append(1000 * (time.perf_counter() - started))
        p50, p95 = (float(np.percentile(taken, share)) for share in (50, 95))
        return {"provider": local.provider, "precision": local.precision, "p50_ms": p50, "p95_ms": p95, "trials": turns}


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Callable[[], Any]]:
    """Everything that is measured, by name."""
    parts: dict[str, Callable[[], Any]] = {}
    for size in ("base", "tiny", "mini"):
        for which in ("auto", "fp32") if size != "mini" else ("fp32",):
            parts[f"one {size} {which}"] = lambda size=size, which=which: one_sound(size, which, folder, options.turns)
    for size, which, requests in (
        ("tiny", "fp32", options.requests),
        ("tiny", "auto", options.requests),
        ("mini", "fp32", 320),
    ):
        parts[f"many {size} {which}"] = lambda size=size, which=which, requests=requests: throughput(
            size, which, folder, requests, options.rounds
        )
    parts["cache base"] = lambda: cached("base", folder, options.turns)
    parts["soak"] = lambda: soak(folder, options.soak)
    return parts


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description="Hold the service against the same model in process.")
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=5000, metavar="REQUESTS")
    parser.add_argument("--only", nargs="*", default=[], metavar="PART", help="measure these again, keep the others")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "service.json")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.only else {}
    results["machine"] = machine()
    with tempfile.TemporaryDirectory() as temporary:
        for name, run in measured(options, Path(temporary)).items():
            if not options.only or name in options.only:
                say(name)
                results[name] = run()
                print(json.dumps(results[name], indent=1), file=sys.stderr, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    from benchmarks.tables.services import service_table

    print(service_table(results))


if __name__ == "__main__":
    main()
