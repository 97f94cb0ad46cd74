"""Memory of services with one tower, with a second model, with towers that are unloaded; and how long these take to wake.

python benchmarks/service_memory.py [--bundle MODEL] [--beside MODEL] [--provider cpu] [--precision fp32] [--rounds 3]

Each service is a process of its own. With `--beside` those of each model alone and of both are measured, and nothing else.
The second load is that of `claprt.load` and the first vector in one process that has loaded the model before; the first
answer after waking is that of a sound of one second over `POST /v1/embeddings`, the connection included. Bars: 120 MB after
unloading, the second load and 0.1 s for the first answer.
"""

from __future__ import annotations

import argparse
import base64
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import soundfile  # noqa: E402

import claprt  # noqa: E402
from claprt.audio.synthetic import SOUNDS  # noqa: E402
from tests.serve.process import Process  # noqa: E402

RATE = 16_000
IDLE_S = 1.0


def sound() -> bytes:
    """A second of rain, as WAV."""
    file = io.BytesIO()
    soundfile.write(file, SOUNDS["rain"](RATE, RATE), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def second_load(options: dict[str, Any]) -> float:
    """Seconds of loading and of the first vector, in a process that has done so before."""
    took = list[float]()
    for _ in range(3):
        started = time.perf_counter()
        with claprt.load(**options) as clap:
            clap.embed_audio(sound())
        took.append(time.perf_counter() - started)
    return min(took[1:])


def unloaded(service: Process) -> float:
    """Megabytes once the towers are unloaded and it has become quiet."""
    last, until = service.rss_mb(), time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(IDLE_S + 1.5)
        if abs((now := service.rss_mb()) - last) < 0.5:
            return now
        last = now
    return last


def print_several(log: Path, models: list[str], flags: list[str], body: dict[str, str]) -> None:
    """Print the memory of services with each model alone, with all, and with all of them unloaded."""
    bundles = [["--bundle", f"m{number}={model}"] for number, model in enumerate(models)]
    services = [(f"{model} alone", chosen, []) for model, chosen in zip(models, bundles, strict=True)]
    together = [word for chosen in bundles for word in chosen]
    services += [("all in one service", together, []), ("the same, unloaded", together, ["--idle-unload", str(IDLE_S)])]
    for name, chosen, more in services:
        with Process(log, *flags, *chosen, *more) as service:
            for model in httpx.get(service.url("/v1/models")).json()["data"]:
                for asked in ({"input": "a dog"}, body):
                    url = service.url(f"/models/{model['id']}/v1/embeddings")
                    httpx.post(url, json=asked, timeout=60).raise_for_status()
            print(f"| {name} | {unloaded(service) if more else service.rss_mb():.0f} | |", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Memory of services, and the time to wake.")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--beside", metavar="MODEL", help="a second model")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = {name: getattr(options, name) for name in ("bundle", "provider", "precision")}
    flags = [word for name, value in model.items() for word in (f"--{name}", value)]
    body = {"input": base64.b64encode(sound()).decode(), "modality": "audio"}
    print("| service | memory, MB | first answer, s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary) / "log"
        if options.beside is not None:
            print_several(log, [options.bundle, options.beside], flags[2:], body)
            return
        for name, more in (("both towers", []), ("--only text", ["--only", "text"]), ("--only audio", ["--only", "audio"])):
            with Process(log, *flags, *more) as service:
                asked = {"input": "a dog"} if name == "--only text" else body
                httpx.post(service.url("/v1/embeddings"), json=asked, timeout=60).raise_for_status()
                print(f"| {name} | {service.rss_mb():.0f} | |", flush=True)
        loads, waking, memory = list[float](), list[float](), list[float]()
        with Process(log, *flags, "--idle-unload", str(IDLE_S)) as service:
            for _ in range(options.rounds):
                memory.append(unloaded(service))
                loads.append(second_load(model))
                started = time.perf_counter()
                httpx.post(service.url("/v1/embeddings"), json=body, timeout=60).raise_for_status()
                waking.append(time.perf_counter() - started)
    median = statistics.median
    print(f"| --idle-unload, unloaded | {median(memory):.0f} | {median(waking):.3f} |")
    print(f"| a second load in process | | {median(loads):.3f} |")


if __name__ == "__main__":
    main()
