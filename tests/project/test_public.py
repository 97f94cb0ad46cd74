"""Promises about the package as a whole: what it exports, what importing it costs, what stands where."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import claprt

ROOT = Path(__file__).parents[2]


def test_every_exported_name_exists() -> None:
    assert len(claprt.__all__) == len(set(claprt.__all__))
    for name in claprt.__all__:
        assert getattr(claprt, name) is not None


@pytest.mark.parametrize("module", ["claprt.errors", "claprt_export.errors"])
def test_the_error_tree_in_the_docstring_is_the_tree(module: str) -> None:
    """Names, parents and built-in parents."""
    defined = pytest.importorskip(module, reason="needs the exporter")
    drawn: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    for line in (defined.__doc__ or "").splitlines():
        if found := re.match(r"([ │├└─]*)(\w+Error)\b(?: +\((\w+)\))?", line):
            depth = len(found[1].removeprefix("    ")) // 4
            above[depth:] = [found[2]]
            drawn[found[2]] = (above[depth - 1] if depth else None, found[3])
    classes = {name: value for name, value in vars(defined).items() if isinstance(value, type) and name.endswith("Error")}
    classes = {name: value for name, value in classes.items() if value.__module__ == module}
    top = next(iter(drawn))
    assert drawn == {
        name: (
            None if name == top else value.__bases__[0].__name__,
            value.__bases__[1].__name__ if len(value.__bases__) > 1 else None,
        )
        for name, value in classes.items()
    }


def modules_after(statement: str) -> set[str]:
    """The packages that are imported, and the modules of this one."""
    program = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {part for name in done.stdout.split() for part in (name, name.partition(".")[0])}


def test_import_brings_neither_torch_nor_onnxruntime() -> None:
    brought = modules_after("import claprt, claprt.cli")
    assert not brought & {"torch", "onnxruntime", "onnx", "transformers", "scipy", "librosa", "claprt_export"}


def test_what_only_some_need_is_imported_when_it_is_used() -> None:
    """Models that are loaded, checkpoints, caches on disk and files each bring their own modules."""
    brought = modules_after("import claprt")
    assert not brought & {"sqlite3", "soundfile", "soxr", "tokenizers"}
    later = {
        "audio.files.sound_file", "engines.graph_cache", "bundle.onnx_file", "bundle.published", "checkpoints.resolve",
        "engines.onnxruntime_session", "engines.providers", "model.vector_cache_file",
    }  # fmt: skip
    assert all(find_spec(f"claprt.{name}") for name in later)
    assert not brought & {f"claprt.{name}" for name in later}


def test_using_it_brings_no_torch(bundle: Path) -> None:
    brought = modules_after(
        f"import claprt, numpy; clap = claprt.load({str(bundle)!r}); clap.embed_audio(numpy.zeros(9)); clap.embed_text('a')"
    )
    assert "onnxruntime" in brought
    assert not brought & {"torch", "onnx", "transformers", "scipy", "librosa", "claprt_export"}


def test_nothing_lies_directly_in_a_source_root() -> None:
    """Both roots are on the path: a module there would be importable under its bare name."""
    for root in ("runtime", "export"):
        assert list((ROOT / root).glob("*.py")) == []


ROOMS = [path.parent for root in ("runtime", "export") for path in sorted((ROOT / root).glob("*/*/**/__init__.py"))]


@pytest.mark.parametrize("folder", ROOMS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_room_describes_its_modules(folder: Path) -> None:
    """Each module and folder stands in the docstring of its room, and each line of a list there is one of them."""
    described = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    parts = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert {part for part in parts if not part.startswith("_") and not re.search(rf"\b{part}\b", described)} == set()
    assert set(re.findall(r"^ *(\w+) {2,}\w", described, re.MULTILINE)) <= parts


MODULES = [
    name
    for package in ("claprt", "claprt_export")
    if importlib.util.find_spec(package)
    for _, name, _ in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    if not name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"needs {error.name}{': the export extra' if name.startswith('claprt_export') else ''}")
    namespace = {**vars(module), "np": importlib.import_module("numpy")}
    failed, _ = doctest.testmod(module, extraglobs=namespace, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
