"""Build the native engine with sanitizers and run towers of random weights; `make fuzz WHAT=native` starts this.

    python native/check.py [--only address,undefined|thread]

Takes clang where there is one, which is faster to build with than g++.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.engines.packed_tower import packed_tower  # noqa: E402

ALTERATIONS = {"address,undefined": 400, "thread": 0}
"""Altered files with each combination of sanitizers; races do not depend on what a file holds."""
COMPILERS = ("clang++", "clang++-19", "clang++-16", "g++", "c++")


def main() -> int:
    """Build and run both; 1 if a sanitizer found something."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=list(ALTERATIONS))
    only = parser.parse_args().only
    work = ROOT / "build" / "native-check"
    work.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for fused in (False, True):
        files.append(work / f"{'fused' if fused else 'plain'}.native")
        files[-1].write_bytes(packed_tower(fused=fused, dim=48, heads=2, depths=(1, 2, 1, 1)))
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        print("There is no C++ compiler here: install g++ or clang.")
        return 1
    for sanitizers, alterations in ALTERATIONS.items():
        if only not in (None, sanitizers):
            continue
        build = work / sanitizers.partition(",")[0]
        options = [f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCLAPRT_SANITIZE={sanitizers}", "-DCMAKE_BUILD_TYPE=Release"]
        subprocess.run(["cmake", "-S", ROOT / "native", "-B", build, *options], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", build, "--parallel", "2"], check=True, stdout=subprocess.DEVNULL)
        print(f"{sanitizers}:", flush=True)
        environment = {**os.environ, "UBSAN_OPTIONS": "halt_on_error=1", "TSAN_OPTIONS": "halt_on_error=1"}
        run = subprocess.run([build / "claprt_native_check", str(alterations), *files], check=False, env=environment)
        if run.returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
