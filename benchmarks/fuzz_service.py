"""Ten thousand requests that are wrong, to a real service: each refused in time, the service as before, memory flat.

python benchmarks/fuzz_service.py [--count N] [--seed N]

The requests are those of tests/serve/malformed.py, which says what they are and what may come back. Of each kind some are
sent alone before the rest, and may cost what docs/serve.md states: six bytes of memory for each that is sent, and 64 MB;
of processor time three times what an honest sound of twenty seconds takes, or three times what a message of their size does
that is refused at once. Ends with status 1 if one cost more or was answered wrongly, if the service's vectors are others
afterwards, if its memory grew, or if its log has a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

import claprt  # noqa: E402
from claprt.audio.synthetic import SOUNDS  # noqa: E402
from tests.projected import with_projection  # noqa: E402
from tests.serve.case import Case  # noqa: E402
from tests.serve.malformed import MAKERS, SERVICE, ask_all, cases  # noqa: E402
from tests.serve.process import Cost, Process  # noqa: E402

RATE = 16_000
GROWTH_MB = 60
"""More than what the allocator keeps of the largest messages of all connections at one time."""

ALONE = 4
"""Requests of each kind whose cost is measured."""
MEMORY_MB, MEMORY_BYTES = 64, 6
"""Memory of one request, and for each byte of it."""
CPU_TIMES = 3
TICKS_S = 0.1
"""What the clock of processor time does not tell apart, and the service does without being asked."""
WINDOWS = 2
"""Of ten seconds, as many as a sound may have here."""


def honest_s(service: Process) -> tuple[float, float]:
    """Processor time of the longest sound that is taken, and of a megabyte that is refused at once, in seconds."""
    sound = np.tile(SOUNDS["rain"](RATE, RATE), 10 * WINDOWS).astype("<f4").tobytes()[: (1 << 20) - 4]
    with connect(service.url("/clap", "ws"), max_size=None) as connection:

        def five(message: bytes) -> None:
            for _ in range(5):
                connection.send(message)
                connection.recv(timeout=30)

        whole = service.cost_of(lambda: five(sound))[1].cpu_s / 5
        refused = service.cost_of(lambda: five(b"{" + sound))[1].cpu_s / 5
    return whole, refused


def costly(service: Process, seed: int) -> list[str]:
    """What was wrong with requests that were sent one at a time, by what they cost."""
    sound_s, megabyte_s = honest_s(service)
    found, most, most_s = list[str](), 0.0, 0.0
    for name, (make, _) in MAKERS.items():
        for number in range(ALONE):
            case = make(random.Random(f"{seed}/alone/{number}"))
            cost = _cost(service, case)
            sent = sum(map(len, case.parts)) / 1e6
            allowed_s = CPU_TIMES * (sound_s + sent * megabyte_s) + TICKS_S
            most, most_s = max(most, cost.memory_mb - MEMORY_BYTES * sent), max(most_s, cost.cpu_s / allowed_s)
            if cost.memory_mb > MEMORY_BYTES * sent + MEMORY_MB or cost.cpu_s > allowed_s:
                found.append(
                    f"{name}: {cost.memory_mb:.0f} MB and {cost.cpu_s:.2f} s for {sent:.2f} MB ({allowed_s:.2f} s)"
                )
    print(
        f"{ALONE} of each kind alone: at most {most:.0f} MB more than {MEMORY_BYTES} times what was sent, and "
        f"{100 * most_s:.0f} % of the processor time that there may be"
    )
    return found


def _cost(service: Process, case: Case) -> Cost:
    _, cost = service.cost_of(lambda: asyncio.run(ask_all([case], service.port)))
    return cost


def difference(service: Process, local: claprt.Clap) -> float:
    """Of the service's vector of a sound from the one in process."""
    sound = SOUNDS["rain"](RATE, RATE)
    with connect(service.url("/clap", "ws")) as connection:
        connection.send(sound.astype("<f4").tobytes())
        vector = np.asarray(json.loads(connection.recv(timeout=30))["embedding"], np.float32)
    return float(np.abs(vector - local.embed_audio(sound, RATE)).max())


def main() -> int:
    """Asks, and says how it went."""
    parser = argparse.ArgumentParser(description="Send the service what no good client sends.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    local = claprt.load("mini", provider="cpu", preprocess="kromosynth")
    with tempfile.TemporaryDirectory() as temporary:
        bundle = with_projection(local.bundle.path, Path(temporary) / "mini")
        with Process(Path(temporary) / "log", "--bundle", str(bundle), "--device", "cpu", *SERVICE) as service:
            asyncio.run(ask_all(cases(options.count // 20, options.seed + 1), service.port))  # what is kept once
            dear = costly(service, options.seed)
            before, started = service.rss_mb(), time.perf_counter()
            counts, faults = asyncio.run(ask_all(cases(options.count, options.seed), service.port))
            took, after, apart = time.perf_counter() - started, service.rss_mb(), difference(service, local)
            tracebacks = service.said().count("Traceback")
            status = service.stop()
    report(counts)
    print(
        f"{options.count} requests of {len({kind for kind, _ in counts})} kinds in {took:.0f} s: {len(faults)} answered "
        f"wrongly; memory {before:.0f} MB before, {after:.0f} MB after; vectors differ by {apart:.1e}; {tracebacks} "
        f"tracebacks; exit status {status}"
    )
    print(*dear, *faults[:20], sep="\n")
    return int(bool(dear or faults or tracebacks or status) or after > before + GROWTH_MB or not apart < 1e-6)


def report(counts: Counter[tuple[str, str]]) -> None:
    """Each kind of request, and what came back how often."""
    for kind in sorted({kind for kind, _ in counts}):
        replies = {reply: number for (name, reply), number in sorted(counts.items()) if name == kind}
        print(f"{kind:48} {', '.join(f'{reply}: {number}' for reply, number in replies.items())}")


if __name__ == "__main__":
    sys.exit(main())
