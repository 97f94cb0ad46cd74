"""Ten thousand requests that are wrong, to a real service: each refused in time, the service as before, memory flat.

python benchmarks/fuzz_service.py [--count N] [--seed N]

The requests are those of tests/serve/malformed.py, which says what they are and what may come back. Ends with status 1 if
one was answered wrongly, if the service's vectors are others afterwards, if its memory grew, or if its log has a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
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
from claprt.synthetic import SOUNDS  # noqa: E402
from tests.projected import with_projection  # noqa: E402
from tests.serve.malformed import SERVICE, ask_all, cases  # noqa: E402
from tests.serve.process import Process  # noqa: E402

RATE = 16_000
GROWTH_MB = 60
"""More than what the allocator keeps of the largest messages of all connections at one time."""


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
    print(*faults[:20], sep="\n")
    return int(bool(faults or tracebacks or status) or after > before + GROWTH_MB or not apart < 1e-6)


def report(counts: Counter[tuple[str, str]]) -> None:
    """Each kind of request, and what came back how often."""
    for kind in sorted({kind for kind, _ in counts}):
        replies = {reply: number for (name, reply), number in sorted(counts.items()) if name == kind}
        print(f"{kind:48} {', '.join(f'{reply}: {number}' for reply, number in replies.items())}")


if __name__ == "__main__":
    sys.exit(main())
