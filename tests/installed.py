"""Install the wheels as users do, once with each extra, and run the tests that belong to the extra there.

    python tests/installed.py [--all] [--lowest] FOLDER [EXTRA …]

FOLDER holds the wheels of `claprt` and `claprt-export`, and where there is a C++ compiler that of `claprt-native`. Each
extra gets an environment of its own, so that a package which only another extra brings is missed. The tests are those of
this checkout; the packages are the installed ones. A test that skips for want of the extra's own packages is a failure.

The tests are those of what an installation can break: imports, files of the package, commands, and the extra's own library.
Two environments are made and tested at a time; tests of durations run alone, after all others. With `--all` the tests are
all that the extra can run, one environment after the other.

With `--lowest` what `pyproject.toml` names is installed in the lowest version that it allows, else as in `constraints.txt`;
all tests run, since old versions can break any.

Needs uv (`pip install uv`).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLEAN = ROOT / "build" / "clean"
_UV = (sys.executable, "-m", "uv")


@dataclass(frozen=True, slots=True)
class Extra:
    """What one environment is made of."""

    install: str
    """Extras that are installed together: most need a way to run graphs beside them."""
    tests: tuple[str, ...]
    """Tests of what an installation can break."""
    all: tuple[str, ...] = ()
    """All tests, where they are more."""
    needs: tuple[str, ...] = ()
    """What the tests need besides, which is not the package's."""


_TEST_PACKAGES = ("pytest", "hypothesis")
_RUNTIME = (
    "system", "bundle", "text", "audio", "scoring", "engines", "checkpoints", "model", "tasks", "evaluation", "cli",
    "compat",
)  # fmt: skip
EXTRAS = {
    "cpu": Extra("cpu", ("tests/golden", "tests/system/test_extras.py", "tests/model/test_mini.py",
                         "tests/cli/test_cli_help.py", *(f"tests/project/test_{name}.py" for name in ("moved", "public"))),
                 (*(f"tests/{room}" for room in _RUNTIME), "tests/project", "tests/golden")),
    "openvino": Extra("openvino", tuple(f"tests/engines/test_{name}.py" for name in ("openvino", "openvino_single")),
                      needs=("onnxruntime",)),
    "tensorrt-rtx": Extra("cpu,tensorrt-rtx", ("tests/engines/test_tensorrt_rtx.py",)),
    "native": Extra("native", ("tests/engines/test_native.py", "tests/engines/test_native_threads.py")),
    "evaluate": Extra("cpu,evaluate", ("tests/evaluation/test_evaluation.py",)),
    "library": Extra("cpu,library", tuple(f"tests/library/test_{name}.py" for name in ("search_hits", "store")),
                     ("tests/library",)),
    "remote": Extra("cpu,library,remote", ("tests/library/test_remote.py",), needs=("moto[s3]", "flask", "flask-cors")),
    "media": Extra("cpu,media", ("tests/audio/files/test_media.py",),
                   tuple(f"tests/audio/files/test_{name}.py" for name in ("media", "media_damage", "decode"))),
    "listen": Extra("cpu,listen", ("tests/cli/test_listen.py",)),
    "serve": Extra("cpu,serve", tuple(f"tests/serve/test_{name}.py" for name in ("http", "clients", "library")),
                   ("tests/serve",), ("httpx",)),
    "triton": Extra("cpu,triton", (*(f"tests/triton/test_{name}.py" for name in ("backend", "lint", "repository")),
                                   "tests/engines/test_triton_transport.py")),
    "export": Extra("cpu,export", ("tests/export/test_no_network.py",
                                   "tests/export/test_mini.py::test_the_shipped_bundle_is_the_shipped_checkpoint"),
                    tuple(f"tests/export/test_{name}.py" for name in ("checkpoint", "pipeline", "no_network"))),
}  # fmt: skip


def check(wheels: Path, name: str, *, lowest: bool, every: bool) -> list[str]:
    """Install the wheels with one extra and run its tests; what went wrong, in words."""
    extra, folder = EXTRAS[name], CLEAN / name
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([*_UV, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = _python(name)
    versions = _lowest(extra, folder, python) if lowest else ROOT / "constraints.txt"
    install = [*_UV, "pip", "install", "--quiet", "--python", python, "--constraint", versions]
    (wheel,) = wheels.glob("claprt-*.whl")
    packages = [f"{wheel}[{extra.install}]"]
    if name == "export":
        # pip: a CPU build where the machine's settings or mirrors, which uv does not read, give one
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", versions, "torch"], check=True)
        packages += map(str, wheels.glob("claprt_export-*.whl"))
    if name == "native":
        packages += map(str, wheels.glob("claprt_native-*.whl"))
    subprocess.run([*install, *packages], check=True)
    if name != "export":
        without = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('claprt_export', 'onnx', 'torch'))))"
        subprocess.run([python, "-c", without], check=True)
    subprocess.run([python, "-m", "claprt", "inspect", "mini"], check=True, cwd=folder, capture_output=True)
    subprocess.run([*install, *_TEST_PACKAGES, *extra.needs], check=True)
    # an old package may use what a newer one, which it did not know, deprecates
    warnings = ("-W", "ignore::DeprecationWarning") if lowest else ()
    if every or lowest:
        return _tested(name, *warnings, *(extra.all or extra.tests))
    return _tested(name, "-m", "not timing", *extra.tests)


def check_durations(name: str) -> list[str]:
    """Run the tests of durations of one extra, where nothing else runs; what went wrong, in words."""
    files = [ROOT / test.partition("::")[0] for test in EXTRAS[name].tests]
    files = [file for path in files for file in (sorted(path.rglob("test_*.py")) if path.is_dir() else [path])]
    timed = [str(file.relative_to(ROOT)) for file in files if "mark.timing" in file.read_text(encoding="utf-8")]
    return _tested(name, "-m", "timing", *timed) if timed else []


def _tested(name: str, *arguments: str) -> list[str]:
    """Run pytest in the environment of an extra, print its output and return what went wrong, in words."""
    done = subprocess.run(
        [_python(name), "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    print(f"== the wheel with {EXTRAS[name].install} ==\n{done.stdout}", flush=True)
    own = "|".join(re.escape(words) for words in (f"claprt[{name}]", f"the {name} extra"))
    missed = re.findall(rf"^SKIPPED.*(?:{own}).*$", done.stdout, re.MULTILINE)
    wrong = [f"{name}: a test of the extra skipped: {line}" for line in missed]
    return wrong + ([f"{name}: the tests ended with {done.returncode}"] if done.returncode else [])


def _python(name: str) -> Path:
    return CLEAN / name / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def _lowest(extra: Extra, folder: Path, python: Path) -> Path:
    """Write constraints: the lowest versions that the project allows, and this checkout's for the tests' packages."""
    file = folder / "lowest.txt"
    extras = [part for one in extra.install.split(",") for part in ("--extra", one)]
    command = [*_UV, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", python]
    subprocess.run(
        [*command, "--resolution", "lowest-direct", *extras, "--output-file", file, ROOT / "pyproject.toml"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    lines = file.read_text(encoding="utf-8").splitlines()
    fixed = {line.partition("==")[0] for line in lines}
    tested = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines += [line for line in tested if line.partition("==")[0] not in fixed]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def main(arguments: list[str]) -> int:
    """Check the extras that are named, or all of them (with `--lowest` all of the runtime)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--all", action="store_true", help="run all tests that the extra can run")
    parser.add_argument("--lowest", action="store_true", help="install the lowest versions that the project allows")
    parser.add_argument("wheels", type=Path, metavar="FOLDER", help="where the wheels are")
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"some of {', '.join(EXTRAS)}")
    options = parser.parse_args(arguments)
    os.environ.pop("PYTHONPATH", None)
    names = options.extras or [name for name in EXTRAS if not (options.lowest and name in {"export", "native"})]
    if "tensorrt-rtx" in names and sys.platform not in ("linux", "win32") and not options.extras:
        names.remove("tensorrt-rtx")
        print("TensorRT-RTX has packages for Linux and Windows alone")
    if not list(options.wheels.glob("claprt_native-*.whl")) and "native" in names and not options.extras:
        names.remove("native")
        print("the wheel of the native engine could not be built here: there is no C++ compiler")
    # all tests include those of durations, beside which nothing else may run; others run in two environments at a time
    with ThreadPoolExecutor(1 if options.all or options.lowest else 2) as pool:
        checks = [
            pool.submit(check, options.wheels.resolve(), name, lowest=options.lowest, every=options.all)
            for name in sorted(names, key=lambda name: name != "export")  # which takes longest
        ]
        wrong = [fault for one in checks for fault in one.result()]
    if not (options.all or options.lowest):
        wrong += [fault for name in names for fault in check_durations(name)]
    print("\n".join(wrong) or "every extra passes its tests from the wheels")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
