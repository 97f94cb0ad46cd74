"""Docstrings of public functions: shapes of arrays, and arguments where there are more than three.

Exceptions that a function raises itself are in its docstring as well; ruff's rule DOC501 checks that.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT / "runtime" / "claprt", ROOT / "export" / "claprt_export")
ARRAYS = re.compile(
    r"\b(ndarray|NDArray|Tensor|Samples|Waveforms?|LogMels|Embeddings?|TokenIds|AttentionMask|IsLonger|BehaviorDescriptors|Array)\b"
)
SHAPE = re.compile(r"\[[^\[\]]*\]")
THIRD_PERSON = re.compile(r"[A-Z][a-z]+[^s]s (a|an|the|what|it|its|them|every|each|all|one)\b(?! of)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(source: str) -> Iterator[tuple[str, Function, str]]:
    """Name, node and docstring (with that of its class) of every public function and method that has a docstring."""

    def within(body: list[ast.stmt], prefix: str, outer: str) -> Iterator[tuple[str, Function, str]]:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from within(node.body, f"{prefix}{node.name}.", ast.get_docstring(node) or "")
            elif isinstance(node, Function) and (node.name == "__init__" or not node.name.startswith("_")):
                yield prefix + node.name, node, f"{ast.get_docstring(node) or ''}\n{outer}"

    yield from within(ast.parse(source).body, "", "")


def in_the_third_person(source: str) -> Iterator[str]:
    """First lines of functions such as "Reads a file": they are in the imperative, or say what is returned."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and THIRD_PERSON.match(first := (ast.get_docstring(node) or "").partition("\n")[0]):
            yield f"{node.name}: {first}"


def overrides_or_accessor(node: Function) -> bool:
    """Whether the docstring of a property, a setter or an overload speaks for another function."""
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
    return bool(marks & {"overload", "setter", "override"})


def faults(source: str) -> list[str]:
    """What is missing in the docstrings of a module."""
    found: list[str] = []
    for name, node, doc in public_functions(source):
        if overrides_or_accessor(node):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments = [argument for argument in arguments if argument.arg not in ("self", "cls")]
        types = [argument.annotation for argument in arguments] + [node.returns]
        if any(ARRAYS.search(ast.unparse(kind)) for kind in types if kind is not None) and not SHAPE.search(doc):
            found.append(f"{name}: arrays without a shape")
        if len(arguments) > 3 and "Args:" not in doc:
            found.append(f"{name}: {len(arguments)} parameters without Args:")
    return found


def test_functions_are_not_described_in_the_third_person() -> None:
    assert list(in_the_third_person('def f():\n    """Reads a file."""\ndef g():\n    """Rows of a file."""')) == [
        "f: Reads a file."
    ]
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for folder in (*PACKAGES, ROOT / "benchmarks", ROOT / "examples", ROOT / "native", ROOT / "tools")
        for path in sorted(folder.rglob("*.py"))
        for fault in in_the_third_person(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_the_check_finds_what_it_is_for() -> None:
    source = '''
def double(samples: Samples) -> Samples:
    """Samples [samples] times two."""

def halve(samples: Samples) -> Samples:
    """Samples divided by two."""

def four(a: int, b: int, c: int, d: int) -> int:
    """Their sum."""
'''
    assert faults(source) == ["halve: arrays without a shape", "four: 4 parameters without Args:"]


def test_public_functions_state_shapes_and_arguments() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for package in PACKAGES
        for path in sorted(package.rglob("*.py"))
        for fault in faults(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
