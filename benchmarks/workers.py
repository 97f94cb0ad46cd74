"""Two worker processes behind one port against one process: sounds in a second with many connections.

python benchmarks/workers.py [--bundle MODEL] [--workers 2] [--clients 32] [--requests 96] [--rounds 3]

Both run all the time on the same cores, with the same threads in all; they are asked in turns, one after the other. Sounds
are of one second at 16 kHz, as binary messages on WebSockets.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.service import ask_from  # noqa: E402
from benchmarks.turns import rates  # noqa: E402
from tests.serve.process import Process  # noqa: E402


def main() -> None:
    """Print the rates and their ratio."""
    parser = argparse.ArgumentParser(description="Worker processes against one process.")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    flags = ["--bundle", options.bundle, "--provider", options.provider, "--precision", options.precision]
    with tempfile.TemporaryDirectory() as temporary:
        folder, shared = Path(temporary), ["--workers", str(options.workers)]
        with Process(folder / "one", *flags) as one, Process(folder / "many", *flags, *shared) as many:

            def ask(service: Process) -> None:
                asyncio.run(ask_from(service.url("/clap", "ws"), options.clients, options.requests))

            work = {"one": lambda: ask(one), "many": lambda: ask(many)}
            rate = rates(work, options.requests, options.rounds)
    first, second = (np.asarray(rate[name]) for name in ("one", "many"))
    ratio = f"{np.median(second / first):.2f}x"
    print(f"one process {np.median(first):.1f}, {options.workers} workers {np.median(second):.1f} sounds in a second:")
    print(f"{ratio}, of {options.rounds} turns {np.round(second / first, 2).tolist()}")


if __name__ == "__main__":
    main()
