"""Installs the wheel as users do, once with each extra, and runs the tests that belong to the extra there.

    python tests/installed.py build/wheel/claprt-….whl [EXTRA …]

Each extra gets an environment of its own, so that a package which only another extra brings is missed. The tests are those
of this checkout; the package is the installed one. A test that skips for want of the extra's own packages is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLEAN = ROOT / "build" / "clean"


@dataclass(frozen=True, slots=True)
class Extra:
    """What one environment is made of."""

    install: str
    """Extras that are installed together: most need a way to run graphs beside them."""
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """What the tests need besides, which is not the package's."""


_TEST_PACKAGES = ("pytest", "hypothesis", "onnx")
EXTRAS = {
    "cpu": Extra("cpu", ("tests/unit",)),
    "openvino": Extra("openvino", ("tests/unit/test_openvino.py",), ("onnxruntime",)),
    "evaluate": Extra("cpu,evaluate", ("tests/unit/test_evaluate.py",)),
    "media": Extra("cpu,media", ("tests/unit/test_media.py", "tests/unit/test_media_damage.py",
                                 "tests/unit/test_decode.py")),
    "serve": Extra("cpu,serve", ("tests/unit/test_serve.py", "tests/unit/test_serve_http.py", "tests/serve"), ("httpx",)),
    "triton": Extra("cpu,triton", ("tests/unit/test_triton_lint.py", "tests/unit/test_triton_repository.py",
                                   "tests/unit/test_triton_transport.py")),
    "export": Extra("cpu,export", ("tests/export/test_checkpoint.py", "tests/export/test_pipeline.py",
                                   "tests/unit/test_telemetry.py")),
}  # fmt: skip


def check(wheel: Path, name: str) -> list[str]:
    """Install the wheel with one extra and run its tests; what went wrong, in words."""
    os.environ.pop("PYTHONPATH", None)
    extra, folder = EXTRAS[name], CLEAN / name
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    if name == "export":
        subprocess.run([*pip, "torch"], check=True)  # a CPU build where the machine's settings or mirrors give one
    subprocess.run([*pip, f"{wheel}[{extra.install}]"], check=True)
    if name != "export":
        without = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)"
        subprocess.run([python, "-c", without], check=True)
    subprocess.run([python, "-m", "claprt", "inspect", "mini"], check=True, cwd=folder, capture_output=True)
    subprocess.run([*pip, *_TEST_PACKAGES, *extra.needs], check=True)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *extra.tests],
        cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    print(done.stdout, flush=True)
    own = "|".join(re.escape(words) for words in (f"claprt[{name}]", f"the {name} extra"))
    missed = re.findall(rf"^SKIPPED.*(?:{own}).*$", done.stdout, re.MULTILINE)
    wrong = [f"{name}: a test of the extra skipped: {line}" for line in missed]
    return wrong + ([f"{name}: the tests ended with {done.returncode}"] if done.returncode else [])


def main(arguments: list[str]) -> int:
    """Check the extras that are named, or all of them."""
    wheel, *names = arguments
    wrong: list[str] = []
    for name in names or EXTRAS:
        print(f"== the wheel with {EXTRAS[name].install} ==", flush=True)
        wrong += check(Path(wheel).resolve(), name)
    print("\n".join(wrong) or "every extra passes its tests from the wheel")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
