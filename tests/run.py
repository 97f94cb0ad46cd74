"""Run the tests in parts, all at a time, and the tests of durations alone at the end; `make test` starts this.

    python tests/run.py [--slow] [OPTION …]

Every part is a pytest process of its own, which prints what it has to say when it ends. The two that compute most have
half of the processors each, so that onnxruntime starts as many threads as there are processors for them: threads that wait
for their turn cost a fifth of the time of all. Those of services and of servers, which wait for much, have what is left of
all processors. OPTIONs go to each of them; a part in which they select no test passes if another ran some. With `--slow`
the tests marked `slow` run too. Where a test takes ten minutes, the stacks of its threads are printed. Unless `TMPDIR` says
where, the gigabytes that tests write lie in memory if the system has a folder there with room, and are removed at the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
HALVES = 2
_IN_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30
_NO_TESTS = 5
"""Exit status of pytest where no test was selected."""
EXPORT = ("tests/export", "benchmarks", "tests/audio/test_tensors.py", "tests/integrations/test_shapes.py")
SERVICES, SERVERS = (
    ("tests/serve", "tests/browser"),
    ("tests/triton", "tests/project", "tests/cli", "tests/checkpoints", "tests/golden"),
)
"""Paths that share what is expensive: torch's import, services, a Triton server; others are where there is time left."""
Part = tuple[str, ...]
"""Options of pytest that name the tests of a part."""


def parts() -> list[tuple[Part, int | None]]:
    """What each process runs, and its half of the processors, or None for all; every test is in one part."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    everything: list[str] = project["tool"]["pytest"]["ini_options"]["testpaths"]
    apart = (*EXPORT, *SERVICES, *SERVERS)
    others = (*(path for path in everything if path not in apart), *(f"--ignore={path}" for path in apart))
    return [(EXPORT, 0), (others, 1), (SERVICES, None), (SERVERS, None)]


def keep_to(share: int, shares: int = HALVES) -> None:
    """Keep this thread, and the processes that it starts, to a share of the processors, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return
    processors = sorted(os.sched_getaffinity(0))
    size = len(processors) // shares
    if size:
        os.sched_setaffinity(0, processors[share * size : (share + 1) * size])


@contextlib.contextmanager
def files_in_memory() -> Generator[None]:
    """Let temporary files lie in memory, if nothing says where and there is room for several times what tests write."""
    if "TMPDIR" in os.environ or not _IN_MEMORY.is_dir() or shutil.disk_usage(_IN_MEMORY).free < _ROOM:
        yield
        return
    folder = _IN_MEMORY / f"claprt-tests-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["TMPDIR"]
        shutil.rmtree(folder, ignore_errors=True)


def timed_files() -> list[str]:
    """The files with tests of durations: only these are collected for them."""
    files = [path for top in ("tests", "benchmarks") for path in sorted((ROOT / top).rglob("test_*.py"))]
    return [str(path.relative_to(ROOT)) for path in files if "mark.timing" in path.read_text(encoding="utf-8")]


def run(title: str, marks: str, arguments: Sequence[str]) -> int:
    """Run one part, print its output when it has ended, and return pytest's exit status."""
    print(f"== {title}: begun ==", flush=True)
    started = time.monotonic()
    # parts run side by side: torch gets its half of the processors
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // HALVES)), **os.environ}
    # what a test that passed has written is removed at once, before the system brings it to a disk
    settings = ["-o", "faulthandler_timeout=600", "-o", "tmp_path_retention_policy=failed"]
    command = [sys.executable, "-m", "pytest", "-q", *settings, "-m", marks, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    took = time.monotonic() - started
    print(f"== {title}, {took:.0f} s ==\n{done.stdout}", flush=True)
    return done.returncode


def passed(statuses: Sequence[int], *, selected: bool) -> bool:
    """Whether all parts passed; where options of the caller's own selected tests, parts may have none, but not all."""
    allowed = {0, _NO_TESTS} if selected else {0}
    return set(statuses) <= allowed and 0 in statuses


def main(arguments: list[str]) -> int:
    """Run all parts and return 0 if all passed."""
    chosen = "" if "--slow" in arguments else "not slow"
    options = [argument for argument in arguments if argument != "--slow"]

    def run_part(part: tuple[Part, int | None]) -> int:
        names, half = part
        if half is not None:
            keep_to(half)
        marks = " and ".join(filter(None, ("not timing", chosen)))
        title = ", ".join(name for name in names if not name.startswith("--"))
        return run(title, marks, [*options, *names])

    with files_in_memory():
        with ThreadPoolExecutor(max_workers=len(parts())) as pool:
            statuses = list(pool.map(run_part, parts()))
        marks = " and ".join(filter(None, ("timing", chosen)))
        statuses.append(run("tests of durations", marks, [*options, *timed_files()]))
    well = passed(statuses, selected=bool(options))
    print("all parts passed" if well else "some parts failed: see above", flush=True)
    return int(not well)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
