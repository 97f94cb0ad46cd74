"""How long a fresh process takes from its start to its first useful answer, and what of that is Python itself.

python benchmarks/first_answer.py [--bundle FOLDER] [--trials 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from claprt.audio.synthetic import SOUNDS

RATE = 48_000


def main() -> None:
    """Run the benchmark: trials of both programs alternate, so that a slow moment of the machine meets both."""
    parser = argparse.ArgumentParser(description="Time `claprt classify` of one file in a fresh process.")
    parser.add_argument("--bundle", help="bundle to use (the small model that ships with claprt)")
    parser.add_argument("--trials", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sound.wav"
        soundfile.write(file, SOUNDS["chirp"](5 * RATE, RATE), RATE)
        classify = [sys.executable, "-m", "claprt", "classify", str(file), "--labels", "a rising sweep,rain,a dog barking"]
        if options.bundle:
            classify += ["--bundle", options.bundle]
        programs = {"claprt classify": classify, "python -c 'import numpy'": [sys.executable, "-c", "import numpy"]}
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(options.trials + 1):
            for name, command in programs.items():
                started = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                times[name].append(time.perf_counter() - started)
    for name, taken in times.items():
        warm = sorted(taken[1:])  # the first fills the page cache
        print(f"{name:26} median {statistics.median(warm):.3f} s, {warm[0]:.3f} to {warm[-1]:.3f} s")


if __name__ == "__main__":
    main()
