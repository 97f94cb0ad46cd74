"""A Triton server on this machine against the engine in process: vectors, overhead, throughput, start, and a long soak.

python benchmarks/triton_server.py [--bundle FOLDER] [--soak REQUESTS] [--only PART ...] [--out FILE]

The server is the one of PyPI with the python configurations, on the same bundle, provider and threads as the engine in
process. What is compared is timed in turns; before anything is timed, every protocol's vectors are held against those in
process. The soak runs on mini, whose sounds take milliseconds, with one restart of the server in the middle. Where
`perf_analyzer` is on PATH (it is among the scripts of the wheel tritonclient 2.51.0), its figures are added.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from tritonclient import grpc  # noqa: E402

import claprt  # noqa: E402
from benchmarks.bench import machine  # noqa: E402
from benchmarks.cases import RATE, Waveform, sounds  # noqa: E402
from benchmarks.soak import TEXTS, soak  # noqa: E402
from benchmarks.turns import PAUSE_S, rates  # noqa: E402
from claprt.audio.log_mel import log_mel  # noqa: E402
from claprt.audio.preprocess import int16_round_trip  # noqa: E402
from claprt.bundle.folder import Bundle, read_bundle  # noqa: E402
from claprt.bundle.graphs import Precision  # noqa: E402
from claprt.engines.triton.shared_memory import Placed, Region  # noqa: E402
from claprt.triton import AsyncTritonEngine, TritonEngine  # noqa: E402
from claprt.triton.repository.builder import Build, build  # noqa: E402
from tests.triton.asking import ask, ask_http, inputs_of, statistics  # noqa: E402
from tests.triton.server import Server  # noqa: E402

WINDOW = 10 * RATE
Call = Callable[[Waveform], Any]


def vectors(server: Server, local: claprt.Clap) -> dict[str, dict[str, float]]:
    """The largest difference and the smallest cosine of each protocol's vectors with those in process."""
    given = sounds(6, 10)
    expected = local.embed_audio(given)
    found: dict[str, Any] = {
        "gRPC, waveforms": ask(server, "clap_audio", "audio_embeddings", waveforms=np.stack(given))["audio_embeddings"],
        "HTTP, waveforms": ask_http(server, "clap_audio", "audio_embeddings", waveforms=np.stack(given))[
            "audio_embeddings"
        ],
        "HTTP with JSON, waveforms": ask_http(
            server, "clap_audio", "audio_embeddings", binary=False, waveforms=np.stack(given)
        )["audio_embeddings"],
    }
    for name, url, shared in (
        ("gRPC", server.grpc, False), ("HTTP", server.http, False), ("shared memory", server.grpc, True),
    ):  # fmt: skip
        clap = claprt.load(url, server={"shared_memory": shared})
        found[f"claprt.load, {name}"] = clap.embed_audio(given)
        texts = float(np.abs(clap.embed_text(TEXTS) - local.embed_text(TEXTS)).max())
        found[f"claprt.load, {name}, texts"] = texts

    async def asynchronous() -> Any:
        facts = local.manifest.audio
        mels = [np.stack([log_mel(int16_round_trip(sound), facts.mel)] * facts.views)[None] for sound in given]
        async with AsyncTritonEngine(server.grpc) as engine:
            return np.concatenate(await asyncio.gather(*(engine.audio(mel, None) for mel in mels)))

    found["asynchronous gRPC"] = asyncio.run(asynchronous())
    return {
        name: {"max_abs": rows}
        if isinstance(rows, float)
        else {"max_abs": float(np.abs(rows - expected).max()), "min_cosine": float((rows * expected).sum(1).min())}
        for name, rows in found.items()
    }


def in_memory(client: Any, region: Region, sound: Waveform, dim: int) -> Any:
    """The vector of a sound that is written to shared memory; what is left over the steps is the protocol alone."""
    waveforms, vector = grpc.InferInput("waveforms", [1, WINDOW], "FP32"), grpc.InferRequestedOutput("audio_embeddings")
    placed = region.put(sound[None], 0)
    output = Placed(region=region.name, offset=placed.size, size=4 * dim, shape=(1, dim), dtype="float32")
    waveforms.set_shared_memory(placed.region, placed.size, placed.offset)
    vector.set_shared_memory(output.region, output.size, output.offset)
    client.infer("clap_audio", [waveforms], outputs=[vector])
    return region.view(output).copy()


def overhead(server: Server, local: claprt.Clap, turns: int) -> dict[str, Any]:
    """Milliseconds that a whole call of one 10 s sound takes longer than one in process right before it: medians."""
    calls: dict[str, Call] = {}
    for name, url, shared in (
        ("claprt.load, gRPC", server.grpc, False),
        ("claprt.load, shared memory", server.grpc, True),
        ("claprt.load, HTTP", server.http, False),
    ):
        calls[name] = claprt.load(url, server={"shared_memory": shared}).embed_audio
    client: Any = grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
    calls["tritonclient, gRPC, waveforms"] = lambda sound: client.infer(
        "clap_audio", inputs_of(grpc, {"waveforms": sound[None]})
    ).as_numpy("audio_embeddings")
    region = Region(4 * (WINDOW + local.manifest.embedding_dim))
    client.register_system_shared_memory(region.name, region.key, region.size)
    calls["tritonclient, shared memory, waveforms"] = lambda sound: in_memory(
        client, region, sound, local.manifest.embedding_dim
    )
    given = sounds(8, 10)
    local_ms: dict[str, list[float]] = {name: [] for name in calls}
    served_ms: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-2, turns):
        for name, call in calls.items():
            for taken, one in ((local_ms, local.embed_audio), (served_ms, call)):
                time.sleep(PAUSE_S)
                started = time.perf_counter()
                one(given[turn % len(given)])
                if turn >= 0:
                    taken[name].append(1000 * (time.perf_counter() - started))
    client.unregister_system_shared_memory(region.name)
    client.close()
    region.end()
    return {
        name: {
            "in_process_ms": float(np.median(local_ms[name])),
            "median_ms": float(np.median(served_ms[name])),
            "overhead_ms": float(np.median(np.array(served_ms[name]) - np.array(local_ms[name]))),
        }
        for name in calls
    }


def throughput(server: Server, local: claprt.Clap, count: int, rounds: int) -> dict[str, Any]:
    """Sounds in a second: a list in process, then one and eight clients of `clap_audio`, in turns."""
    given = sounds(count, 10)

    def clients(number: int) -> None:
        with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client, ThreadPoolExecutor(number) as pool:
            list(pool.map(lambda row: client.infer("clap_audio", inputs_of(grpc, {"waveforms": row[None]})), given))

    def engine(number: int) -> None:
        with TritonEngine(server.grpc) as on_server, ThreadPoolExecutor(number) as pool:
            list(pool.map(claprt.Clap(local.bundle, on_server, recipe=local.recipe, long=local.long).embed_audio, given))

    def side_by_side() -> None:
        wide, facts = local.engine.batch_engine(), local.manifest.audio

        def one(sound: Waveform) -> None:
            wide.audio(np.stack([log_mel(int16_round_trip(sound), facts.mel)] * facts.views)[None], None)

        with ThreadPoolExecutor(wide.max_concurrency) as pool:
            list(pool.map(one, given))

    work: dict[str, Callable[[], Any]] = {
        "in process, a list": lambda: local.embed_audio(given),
        "in process, side by side": side_by_side,
        "1 client, waveforms": lambda: clients(1),
        "8 clients, waveforms": lambda: clients(8),
        "1 client, claprt.load": lambda: engine(1),
        "8 clients, claprt.load": lambda: engine(8),
    }
    rate = rates(work, count, rounds)
    one, base, eight = (rate[name] for name in ("1 client, waveforms", "in process, a list", "8 clients, waveforms"))
    return {
        "sounds_per_s": {name: float(np.median(taken)) for name, taken in rate.items()},
        "eight_to_one": float(np.median(eight / one)),
        "eight_to_in_process": float(np.median(eight / base)),
        "cores_to_one": float(np.median(rate["in process, side by side"] / one)),
        "eight_to_one_load": float(np.median(rate["8 clients, claprt.load"] / rate["1 client, claprt.load"])),
    }


def lone_wait(server: Server, requests: int) -> float:
    """Milliseconds that requests which come one after the other wait in the queues of both steps."""

    def queued() -> float:
        stats = [statistics(server, model)["inference_stats"]["queue"] for model in ("log_mel", "audio_tower")]
        return sum(int(stat.get("ns", 0)) for stat in stats) / 1e6

    before = queued()
    for sound in sounds(requests, 10):
        ask(server, "clap_audio", "audio_embeddings", waveforms=sound[None])
    return (queued() - before) / requests


def analysed(server: Server, folder: Path) -> dict[str, dict[str, float]]:
    """What NVIDIA's perf_analyzer says of `clap_audio` over shared memory, by the number of its clients.

    Nothing where it is not on PATH or does not run: it needs libb64 and libcudart (docs/triton.md).
    """
    table, inputs = folder / "perf_analyzer.csv", folder / "inputs"
    inputs.mkdir(exist_ok=True)
    sounds(1, 10)[0].astype("<f4").tofile(inputs / "waveforms")  # its own random bytes are NaN now and then
    command = ["perf_analyzer", "-m", "clap_audio", "-u", f"127.0.0.1:{server.ports.grpc}", "-i", "grpc", "-f", str(table)]
    command += ["--shared-memory", "system", "--concurrency-range", "1:8:7", "--stability-percentage", "25"]
    command += ["--input-data", str(inputs)]
    if shutil.which(command[0]) is None or subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        print("perf_analyzer is not there or does not run; there are no figures of it", file=sys.stderr)
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        rows = {row["Concurrency"]: row for row in csv.DictReader(file)}
    return {
        clients: {
            "sounds_per_s": float(row["Inferences/Second"]),
            **{f"{name}_ms": float(row[f"{name} latency"]) / 1000 for name in ("p50", "p95", "p99")},
        }
        for clients, row in rows.items()
    }


def starts(bundle: Bundle, folder: Path) -> dict[str, float]:
    """Seconds from the start of the server to all models ready: the first time, and later ones."""
    repository = build(Build(bundle=bundle), folder / "repository")
    taken: list[float] = []
    for _ in range(4):
        started = time.perf_counter()
        with Server(repository, folder / "triton.log"):
            taken.append(time.perf_counter() - started)
    return {"first": taken[0], "again": float(np.median(taken[1:]))}


def served(bundle: Bundle, local: claprt.Clap, folder: Path, turns: int) -> dict[str, Any]:
    """What is measured on one server: vectors, overhead, and the wait in queues."""
    with Server(build(Build(bundle=bundle), folder / "repository"), folder / "triton.log") as server:
        return {
            "vectors": vectors(server, local),
            "overhead": overhead(server, local, turns),
            "lone_wait_ms": lone_wait(server, 20),
            "perf_analyzer": analysed(server, folder),
        }


def of_mini(folder: Path, turns: int) -> dict[str, Any]:
    """Overhead where the tower takes little of the time, and its noise hides little."""
    local = claprt.load("mini", provider="cpu")
    with Server(build(Build(bundle=local.bundle), folder / "mini"), folder / "triton.log") as server:
        return overhead(server, local, turns)


def throughputs(bundle: Bundle, folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Throughput in each precision."""
    found: dict[str, Any] = {}
    for precision in (Precision.FP32, Precision.INT8):
        repository = build(Build(bundle=bundle, precision=precision), folder / "repository")
        local = claprt.load(bundle.path, provider="cpu", precision=precision)
        with Server(repository, folder / "triton.log") as server:
            found[str(precision)] = throughput(server, local, count, rounds)
    return found


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description="Hold a Triton server against the engine in process.")
    parser.add_argument("--bundle", type=Path, default=ROOT / "build" / "bundles" / "triton-tiny")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--sounds", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=5000, metavar="REQUESTS")
    parser.add_argument("--only", nargs="*", default=[], metavar="PART", help="measure these again, keep the others")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "triton.json")
    options = parser.parse_args()
    if not (options.bundle / "manifest.json").exists():
        export = [str(Path(sys.executable).with_name("claprt-export")), "untrained-tiny", "--precision", "fp32,int8"]
        subprocess.run([*export, "--out", str(options.bundle)], check=True)
    bundle = read_bundle(options.bundle)
    local = claprt.load(options.bundle, provider="cpu")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(), "bundle": bundle.manifest.name}
    if options.only:
        results = json.loads(options.out.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        parts: dict[str, Callable[[], Any]] = {
            "start_s": lambda: starts(bundle, Path(temporary)),
            "served": lambda: served(bundle, local, Path(temporary), options.turns),
            "overhead_of_mini": lambda: of_mini(Path(temporary), options.turns),
            "throughput": lambda: throughputs(bundle, Path(temporary), options.sounds, options.rounds),
            "soak": lambda: soak(Path(temporary), options.soak),
        }
        for name, run in parts.items():
            if not options.only or name in options.only:
                results[name] = run()
                print(name, json.dumps(results[name], indent=1), file=sys.stderr, flush=True)
                options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    from benchmarks.tables.services import triton_table

    print(triton_table(results))


if __name__ == "__main__":
    main()
